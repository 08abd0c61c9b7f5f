"""Cityscapes, two tasks: Li & Bilen (2020), table 3 (SegNet) - single-task teachers, then KD-MTL.

    python -m mtkd_jax.prepare --dataset=cityscapes --source=DIR
    python -m mtkd_jax.main --config=configs/cityscapes.py --workdir=runs/cityscapes

The paper's row for KD-MTL: mIoU 52.18 %, pixel accuracy 91.24 %, inverse depth 0.0140, relative 28.90 % (per-image
protocol). Depth is inverse, in the preprocessed files' unit (docs/data.md).

With `:method=sd_mtcnn,backbone=segnet_sd`, Jha et al. (2020), table 5; for eq. 5 the teacher: mIoU 56.70 %, pixel
accuracy 92.54 %, inverse depth 0.0131, relative 27.68 %.
"""

from ml_collections import ConfigDict

from mtkd_jax import recipe
from mtkd_jax.build import sections

TASKS = ('segmentation', 'depth')
RECIPE = {
    'method': 'kd_mtl',
    'backbone': '',  # segnet, or segnet_sd where the method needs teacher and student branches
    'weighting': 'uniform',
    'tasks': 'segmentation+depth',
    'objective': 'eq5',
    'attention': 'on',
}


def get_config(argument: str = '') -> ConfigDict:
    """Every field, with its unit and source."""
    chosen = recipe.with_backbone(recipe.parse(argument, RECIPE))
    self_distilled = chosen['backbone'].endswith('_sd')
    doubled = self_distilled or chosen['backbone'] == 'split_wide'  # the last of the widths
    c = ConfigDict()
    c.recipe = ConfigDict(chosen)  # what fields below follow; to change the backbone, change it there

    c.data = ConfigDict()
    c.data.dataset = 'cityscapes'
    c.data.data_dir = ''  # where prepared data lie; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
    c.data.height, c.data.width = 128, 256  # pixels (spec A4)
    c.data.classes = 7  # or 19
    c.data.depth = 'inverse'  # or metric: metres, from raw files only
    c.data.depth_maximum = 0.2  # in the unit of depth; scales pictures and the bins of the baseline
    c.data.augment = 'none'  # of training batches: none, the papers (spec A4) | scale_crop_flip
    c.data.validation_fraction = 0.0  # share of the training set held out; selection='best_validation' needs it
    c.data.read_threads = 8  # that read batches ahead of the step
    c.data.read_workers = 0  # processes that share these threads; 0: they are the training process's own

    # stl | kd_mtl | bam | a weighting (uniform, mgda, ...: docs/weightings.md), or with segnet_sd and unet_sd:
    # sd_mtcnn | no_distillation | traditional_kd
    c.method = chosen['method']
    # segnet | mtan | cross_stitch | dense | split_standard | split_wide | split_deep | segnet_sd | unet_sd
    c.backbone = chosen['backbone']
    c.tasks = tuple(chosen['tasks'].split('+'))
    c.widths = (64, 128, 256, 512, 1024 if doubled else 512)  # channels of the encoder blocks (spec A6, B1)
    c.compute_dtype = 'float32'  # or bfloat16; parameters stay float32
    c.seed = 0  # of initialisation and data order

    c.task_weights = ConfigDict({'segmentation': 1.0, 'depth': 1.0})  # w_t (spec A3)

    c.distillation = ConfigDict()
    c.distillation.points = ('mid',) if self_distilled else ('last',)  # (spec A2)
    c.distillation.weights = ConfigDict({'segmentation': 2.0, 'depth': 6.0})  # λ_t (spec A3)
    c.distillation.teacher_batch_stats = False  # True: the authors' code (spec A2)
    c.teachers = ConfigDict({'segmentation': '', 'depth': ''})  # model folders; '' = train it here

    c.weighting = sections.weighting(chosen)  # of every weighting: docs/weightings.md
    distances = {**dict.fromkeys(TASKS, 'l2'), 'segmentation': 'kl'}  # (spec A5, B3)
    c.bam = sections.bam(distances)
    c.self_distillation = sections.self_distillation(chosen, distances, student_widths=(256, 128, 64, 32))

    c.learning_rate = 1e-4  # Adam (spec A4)
    c.halve_at_epochs = () if self_distilled else (100.0,)  # (spec A4, B5)
    c.decay_every_epochs, c.decay_factor = 0.0, 1.0  # further: times the factor after every so many; 0 = never
    c.adaptor_learning_rate = 0.1  # Adam, constant (spec A4)
    c.adaptor_l2 = 5e-4  # added to the adaptors' gradient (spec A4)
    c.epochs = 200  # of every stage (spec A4)
    c.batch_size = 8  # images per step, over all devices (spec A4)
    c.eval_batch_size = 8
    c.devices = 1  # the paper's batch of 8 fits one device; 0 = all

    c.selection = 'last'  # last | last10_mean | last20_median | best_validation (spec C)
    c.evaluate_every_epochs = 1
    c.log_every_steps = 50
    c.checkpoint_every_steps = 0  # besides the end of every epoch; 0 = only there
    c.diagnose_every_steps = 0  # task gradients' cosines and norms, CKA with teachers; costs T + 1 passes; 0 = never
    c.panel_images = 4  # test images in the prediction panels

    # The paper's row stands beside ours only where all of this holds.
    c.paper = ConfigDict()
    compared = chosen['backbone'] in ('cross_stitch', 'dense', 'split_wide', 'split_deep')
    c.paper.table = 'sdmtcnn_table5_2task' if self_distilled or compared else 'kdmtl_table3_cityscapes'
    c.paper.prefix = 'cityscapes_' if c.paper.table.endswith('2task') else ''  # of its columns for this data set
    common = {
        'data': {
            'height': 128,
            'width': 256,
            'classes': 7,
            'depth': 'inverse',
            'validation_fraction': 0.0,
            'augment': 'none',
        },
        'compute_dtype': 'float32',
        'tasks': TASKS,
        'task_weights': {'segmentation': 1.0, 'depth': 1.0},
        'epochs': 200,
        'batch_size': 8,
        'learning_rate': 1e-4,
        'halve_at_epochs': () if self_distilled else (100.0,),
        'widths': (64, 128, 256, 512, 1024 if doubled else 512),
    }
    own = {} if compared else _self_distilled_paper() if self_distilled else _kd_mtl_paper()
    c.paper.protocol = ConfigDict({**common, **own})
    return c


def _kd_mtl_paper() -> dict:
    """The rest of the protocol of Li & Bilen (2020), table 3 (spec A4)."""
    return {
        'distillation': {
            'points': ('last',),
            'weights': {'segmentation': 2.0, 'depth': 6.0},
            'teacher_batch_stats': False,
        },
        'adaptor_learning_rate': 0.1,
        'adaptor_l2': 5e-4,
    }


def _self_distilled_paper() -> dict:
    """The rest of the protocol of Jha et al. (2020), table 5 (spec B5)."""
    return {
        'self_distillation': {
            'weight': 1.0,
            'distances': {'segmentation': 'kl', 'depth': 'l2'},
            'kl_direction': 'student_teacher',
            'squared': False,
            'stop_teacher_gradient': False,
        },
    }
