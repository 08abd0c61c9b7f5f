"""Rendered digits and characters: no download, no data needed; minutes on two CPU cores.

    python -m mtkd_jax.main --config=configs/glyphs.py --workdir=runs/glyphs

trains the two single-task networks and the KD-MTL network (Li & Bilen 2020) on LeNet-MTL, as `configs/svhn_omniglot.py`
does with the real data. Recipes: `--config=configs/glyphs.py:method=uniform`; any field: `--config.epochs=60`.
"""

from ml_collections import ConfigDict

from mtkd_jax import recipe
from mtkd_jax.build import sections

TASKS = ('digits', 'characters')
RECIPE = {'method': 'kd_mtl', 'backbone': 'lenet_mtl', 'weighting': 'uniform', 'tasks': 'digits+characters'}


def get_config(argument: str = '') -> ConfigDict:
    """Every field, with its unit and source."""
    chosen = recipe.parse(argument, RECIPE)
    c = ConfigDict()
    c.recipe = ConfigDict(chosen)  # what fields below follow

    c.data = ConfigDict()
    c.data.dataset = 'glyphs'
    c.data.data_dir = ''  # where prepared data lie; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
    c.data.height, c.data.width = 32, 32  # pixels, multiples of 16
    c.data.digits_train, c.data.digits_test = 4000, 1000  # rendered digits
    c.data.glyph_seed = 0  # other seeds draw other digits and variations
    # By task. Of every character there are 15 training and 5 test images.
    c.data.classes = ConfigDict({'digits': 10, 'characters': 200})
    c.data.validation_fraction = 0.0  # share of the training set held out; selection='best_validation' needs it
    c.data.read_threads = 4  # that read batches ahead of the step
    c.data.read_workers = 0  # processes that share these threads; 0: they are the training process's own

    c.method = chosen['method']  # stl | kd_mtl | bam | a weighting (uniform, mgda, ...: docs/weightings.md)
    c.backbone = chosen['backbone']  # lenet_mtl
    c.tasks = tuple(chosen['tasks'].split('+'))
    c.widths = (10, 20, 50, 50)  # two convolutions, the shared layer, the hidden layer of a head (spec A5)
    c.compute_dtype = 'float32'  # or bfloat16; parameters stay float32
    c.seed = 0  # of initialisation and data order

    c.task_weights = ConfigDict(dict.fromkeys(TASKS, 1.0))  # w_t (spec A3)

    c.distillation = ConfigDict()
    c.distillation.points = ('last',)  # (spec A2)
    c.distillation.weights = ConfigDict(dict.fromkeys(TASKS, 10.0))  # λ_t (spec A3)
    c.distillation.teacher_batch_stats = False  # no batch normalisation here: it changes nothing
    c.teachers = ConfigDict(dict.fromkeys(TASKS, ''))  # model folders; '' = train it here

    c.weighting = sections.weighting(chosen)  # of every weighting: docs/weightings.md
    c.weighting.stch.warmup_steps = 200  # the default is for longer schedules
    c.bam = sections.bam(dict.fromkeys(TASKS, 'kl'))  # (spec A5)

    c.learning_rate = 2e-3  # Adam; four times that of svhn_omniglot, for a fiftieth of its steps
    c.halve_at_epochs = ()
    c.decay_every_epochs, c.decay_factor = 1.5, 0.85  # 300 epochs and every 15 (spec A4) in proportion
    c.adaptor_learning_rate = 0.01  # Adam, constant (spec A4)
    c.adaptor_l2 = 5e-4  # added to the adaptors' gradient (spec A4)
    c.epochs = 30  # of every stage; once through the larger part, the smaller one is cycled
    # A single-task stage takes its own half of the same batches.
    c.batch_size = 128  # images per step, over all devices, half of them of each part
    c.eval_batch_size = 200
    c.devices = 0  # 0 = all

    c.selection = 'last20_median'  # last | last10_mean | last20_median | best_validation (spec A4)
    c.evaluate_every_epochs = 2
    c.log_every_steps = 31
    c.checkpoint_every_steps = 0  # besides the end of every epoch; 0 = only there
    c.diagnose_every_steps = 0  # task gradients' cosines and norms, CKA with teachers; costs T + 1 passes; 0 = never
    c.panel_images = 8  # test images in the prediction panels

    c.paper = ConfigDict({'table': '', 'prefix': '', 'protocol': ConfigDict()})  # no paper reports on glyphs
    return c
