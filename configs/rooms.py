"""Rendered rooms: no download, no data needed; minutes on two CPU cores.

    python -m mtkd_jax.main --config=configs/rooms.py --workdir=runs/rooms

trains the three single-task networks and the KD-MTL network (Li & Bilen 2020) on a narrow SegNet. Recipes:
`--config=configs/rooms.py:method=uniform,tasks=depth+normals`; any field: `--config.epochs=20`.

    python -m mtkd_jax.main --config=configs/rooms.py:method=sd_mtcnn --workdir=runs/rooms_sd

trains a self-distilled network (Jha et al. 2020).
"""

from collections.abc import Sequence

from ml_collections import ConfigDict

from mtkd_jax import recipe
from mtkd_jax.build import sections

TASKS = ('segmentation', 'depth', 'normals', 'keypoints', 'edges')
RECIPE = {
    'method': 'kd_mtl',
    'backbone': '',  # segnet, or segnet_sd where the method needs teacher and student branches
    'weighting': 'uniform',
    'tasks': 'segmentation+depth+normals',
    'objective': 'eq5',
    'attention': 'on',
}


def get_config(argument: str = '', names: Sequence[str] = TASKS) -> ConfigDict:
    """Every field, with its unit and source; `names`: the tasks there are (docs/your_data.md)."""
    chosen = recipe.with_backbone(recipe.parse(argument, RECIPE))
    self_distilled = chosen['backbone'].endswith('_sd')
    c = ConfigDict()
    c.recipe = ConfigDict(chosen)  # what fields below follow; to change the backbone, change it there

    c.data = ConfigDict()
    c.data.dataset = 'rooms'
    c.data.data_dir = ''  # where prepared data lie; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
    c.data.height, c.data.width = 64, 96  # pixels, multiples of 32
    c.data.train_images, c.data.test_images = 480, 120  # rendered scenes
    c.data.scene_seed = 0  # other seeds give other rooms
    c.data.classes = 13  # NYUv2's
    c.data.depth_maximum = 8.0  # metres; scales pictures and the bins of the baseline
    c.data.augment = 'none'  # of training batches: none, the papers (spec A4) | scale_crop_flip
    c.data.validation_fraction = 0.0  # share of the training set held out; selection='best_validation' needs it
    c.data.read_threads = 4  # that read batches ahead of the step
    c.data.read_workers = 0  # processes that share these threads; 0: they are the training process's own

    # stl | kd_mtl | bam | a weighting (uniform, mgda, ...: docs/weightings.md), or with segnet_sd and unet_sd:
    # sd_mtcnn | no_distillation | traditional_kd
    c.method = chosen['method']
    # segnet | mtan | cross_stitch | dense | split_standard | split_wide | split_deep | segnet_sd | unet_sd
    c.backbone = chosen['backbone']
    c.tasks = tuple(chosen['tasks'].split('+'))
    # Channels of the encoder blocks; the papers' are 64, 128, 256, 512, and 512, or 1024 (split_wide, and the
    # bottleneck of segnet_sd and unet_sd).
    c.widths = (16, 24, 32, 64, 128 if chosen['backbone'] == 'split_wide' else 64)
    c.compute_dtype = 'float32'  # or bfloat16; parameters stay float32
    c.seed = 0  # of initialisation and data order

    c.task_weights = ConfigDict(dict.fromkeys(names, 1.0))  # w_t (spec A3)

    c.distillation = ConfigDict()
    c.distillation.points = ('mid',) if self_distilled else ('mid', 'last')  # or ('last',) (spec A2)
    c.distillation.weights = ConfigDict({**dict.fromkeys(names, 1.0), 'normals': 2.0})  # λ_t (spec A3)
    c.distillation.teacher_batch_stats = False  # True: teachers normalise with batch statistics (spec A2)
    c.teachers = ConfigDict(dict.fromkeys(names, ''))  # model folders; '' = train it here

    c.weighting = sections.weighting(chosen)  # of every weighting: docs/weightings.md
    c.weighting.stch.warmup_steps = 120  # the default is for longer schedules
    distances = {**dict.fromkeys(names, 'l2'), 'segmentation': 'kl'}  # (spec A5, B3)
    c.bam = sections.bam(distances)
    c.self_distillation = sections.self_distillation(chosen, distances, student_widths=(32, 24, 16, 12))

    c.learning_rate = 1e-3  # Adam; the paper's 1e-4 is for 80,000 steps, this budget has a thousand
    c.halve_at_epochs = (6.0, 7.0)  # the learning rate is halved from these epochs on
    c.decay_every_epochs, c.decay_factor = 0.0, 1.0  # further: times the factor after every so many; 0 = never
    c.adaptor_learning_rate = 1e-2  # Adam, constant; the paper's 0.1 is for the same long schedule
    c.adaptor_l2 = 5e-4  # added to the adaptors' gradient (spec A4)
    c.epochs = 8  # of every stage
    c.batch_size = 4  # images per step, over all devices
    c.eval_batch_size = 24
    c.devices = 0  # 0 = all

    c.selection = 'last'  # last | last10_mean | last20_median | best_validation (spec C)
    c.evaluate_every_epochs = 2
    c.log_every_steps = 40
    c.checkpoint_every_steps = 0  # besides the end of every epoch; 0 = only there
    c.diagnose_every_steps = 0  # task gradients' cosines and norms, CKA with teachers; costs T + 1 passes; 0 = never
    c.panel_images = 4  # test images in the prediction panels

    c.paper = ConfigDict({'table': '', 'prefix': '', 'protocol': ConfigDict()})  # no paper reports on rooms
    return c
