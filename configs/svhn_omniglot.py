"""SVHN & Omniglot: Li & Bilen (2020), table 1 (LeNet) - single-task teachers, then KD-MTL.

    python -m mtkd_jax.prepare --dataset=svhn_omniglot --source=DIR
    python -m mtkd_jax.main --config=configs/svhn_omniglot.py --workdir=runs/svhn_omniglot

DIR holds the Visual Decathlon's decathlon-1.0-devkit.tar.gz and decathlon-1.0-data.tar.gz, or what is in them. The
paper's row for KD-MTL: SVHN 88.05 %, Omniglot 70.12 %.

The paper gives neither learning rate nor image size, and its figure of the network is lost. Learning rate: that of the
published code of MGDA, which the paper compares with (Adam, 5e-4, times 0.85 at intervals). Size: 64×64 of the
challenge's 72, as is usual there.
"""

from ml_collections import ConfigDict

from mtkd_jax import recipe
from mtkd_jax.build import sections

TASKS = ('svhn', 'omniglot')
RECIPE = {'method': 'kd_mtl', 'backbone': 'lenet_mtl', 'weighting': 'uniform', 'tasks': 'svhn+omniglot'}


def get_config(argument: str = '') -> ConfigDict:
    """Every field, with its unit and source."""
    chosen = recipe.parse(argument, RECIPE)
    c = ConfigDict()
    c.recipe = ConfigDict(chosen)  # what fields below follow

    c.data = ConfigDict()
    c.data.dataset = 'svhn_omniglot'
    c.data.data_dir = ''  # where prepared data lie; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
    c.data.height, c.data.width = 64, 64  # pixels, multiples of 16
    c.data.partial = False  # True: data that was prepared with --partial
    c.data.classes = ConfigDict({'svhn': 10, 'omniglot': 1623})  # by task (spec A4)
    c.data.validation_fraction = 0.0  # share of the training set held out; selection='best_validation' needs it
    c.data.read_threads = 8  # that read batches ahead of the step
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
    c.bam = sections.bam(dict.fromkeys(TASKS, 'kl'))  # (spec A5)

    c.learning_rate = 5e-4  # Adam (see above)
    c.halve_at_epochs = ()
    c.decay_every_epochs, c.decay_factor = 15.0, 0.85  # (spec A4)
    c.adaptor_learning_rate = 0.01  # Adam, constant (spec A4)
    c.adaptor_l2 = 5e-4  # added to the adaptors' gradient (spec A4)
    c.epochs = 300  # of every stage (spec A4); once through the larger part, the smaller one is cycled
    # A single-task stage takes its own half of the same batches.
    c.batch_size = 512  # images per step, over all devices, half of them of each part (spec A4)
    c.eval_batch_size = 512
    c.devices = 0  # 0 = all

    c.selection = 'last20_median'  # last | last10_mean | last20_median | best_validation (spec A4)
    c.evaluate_every_epochs = 5
    c.log_every_steps = 92
    c.checkpoint_every_steps = 0  # besides the end of every epoch; 0 = only there
    c.diagnose_every_steps = 0  # task gradients' cosines and norms, CKA with teachers; costs T + 1 passes; 0 = never
    c.panel_images = 8  # test images in the prediction panels

    # The paper's row stands beside ours only where all of this holds (ours where the paper is silent).
    c.paper = ConfigDict()
    c.paper.table = 'kdmtl_table1_svhn_omniglot'
    c.paper.prefix = ''
    c.paper.protocol = ConfigDict(
        {
            'tasks': TASKS,
            'data': {
                'height': 64,
                'width': 64,
                'partial': False,
                'classes': {'svhn': 10, 'omniglot': 1623},
                'validation_fraction': 0.0,
            },
            'widths': (10, 20, 50, 50),
            'compute_dtype': 'float32',
            'task_weights': dict.fromkeys(TASKS, 1.0),
            'distillation': {'points': ('last',), 'weights': dict.fromkeys(TASKS, 10.0)},
            'learning_rate': 5e-4,
            'halve_at_epochs': (),
            'decay_every_epochs': 15.0,
            'decay_factor': 0.85,
            'adaptor_learning_rate': 0.01,
            'adaptor_l2': 5e-4,
            'epochs': 300,
            'batch_size': 512,
            'selection': 'last20_median',
        }
    )
    return c
