"""NYUv2, three tasks: Li & Bilen (2020), table 2 (SegNet) - single-task teachers, then KD-MTL.

    python -m mtkd_jax.prepare --dataset=nyuv2 --source=DIR
    python -m mtkd_jax.main --config=configs/nyuv2.py --workdir=runs/nyuv2

The paper's row for KD-MTL: mIoU 18.75 %, pixel accuracy 58.02 %, depth 0.5780 m, normals 29.40° (per-image protocol).

With `:method=sd_mtcnn,backbone=segnet_sd` (or unet_sd; objective=eq5 or eq6), Jha et al. (2020), table 2; for eq. 5 the
teacher: mIoU 22.44 %, pixel accuracy 56.90 %, depth 0.5857 m, normals 29.66°.
"""

from ml_collections import ConfigDict

from mtkd_jax import recipe
from mtkd_jax.build import sections

TASKS = ('segmentation', 'depth', 'normals')
RECIPE = {
    'method': 'kd_mtl',
    'backbone': '',  # segnet, or segnet_sd where the method needs teacher and student branches
    'weighting': 'uniform',
    'tasks': 'segmentation+depth+normals',
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
    c.data.dataset = 'nyuv2'
    c.data.data_dir = ''  # where prepared data lie; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
    c.data.height, c.data.width = 288, 384  # pixels (spec A4)
    c.data.classes = 13
    c.data.depth_maximum = 10.0  # metres; scales pictures and the bins of the baseline
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

    c.task_weights = ConfigDict({'segmentation': 1.0, 'depth': 1.0, 'normals': 1.0})  # w_t (spec A3)

    c.distillation = ConfigDict()
    c.distillation.points = ('mid',) if self_distilled else ('mid', 'last')  # table 4's better row (spec A2)
    c.distillation.weights = ConfigDict({'segmentation': 1.0, 'depth': 1.0, 'normals': 2.0})  # λ_t (spec A3)
    c.distillation.teacher_batch_stats = False  # True: the authors' code (spec A2)
    c.teachers = ConfigDict({'segmentation': '', 'depth': '', 'normals': ''})  # model folders; '' = train it here

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
    c.batch_size = 2  # images per step, over all devices (spec A4)
    c.eval_batch_size = 2
    c.devices = 1  # the paper's batch of 2 fits one device; 0 = all

    c.selection = 'last'  # last | last10_mean | last20_median | best_validation (spec C)
    c.evaluate_every_epochs = 1
    c.log_every_steps = 50
    c.checkpoint_every_steps = 0  # besides the end of every epoch; 0 = only there
    c.diagnose_every_steps = 0  # task gradients' cosines and norms, CKA with teachers; costs T + 1 passes; 0 = never
    c.panel_images = 4  # test images in the prediction panels

    # The paper's row stands beside ours only where all of this holds.
    c.paper = ConfigDict()
    c.paper.table, own = _self_distilled_paper(chosen) if self_distilled else _kd_mtl_paper()
    if chosen['backbone'] in ('cross_stitch', 'dense', 'split_wide', 'split_deep'):
        c.paper.table, own = _compared_paper(tuple(c.widths))
    common = {
        'data': {'height': 288, 'width': 384, 'classes': 13, 'augment': 'none', 'validation_fraction': 0.0},
        'compute_dtype': 'float32',
        'task_weights': {'segmentation': 1.0, 'depth': 1.0, 'normals': 1.0},
        'epochs': 200,
        'batch_size': 2,
        'learning_rate': 1e-4,
    }
    c.paper.prefix = 'nyuv2_' if c.paper.table.endswith('2task') else ''  # of its columns for this data set
    c.paper.protocol = ConfigDict({**common, **own})
    return c


def _kd_mtl_paper() -> tuple[str, dict]:
    """Table 2 of Li & Bilen (2020) and the rest of its protocol (spec A4)."""
    return 'kdmtl_table2_nyuv2', {
        'tasks': TASKS,
        'distillation': {
            'points': ('mid', 'last'),
            'weights': {'segmentation': 1.0, 'depth': 1.0, 'normals': 2.0},
            'teacher_batch_stats': False,
        },
        'widths': (64, 128, 256, 512, 512),
        'halve_at_epochs': (100.0,),
        'adaptor_learning_rate': 0.1,
        'adaptor_l2': 5e-4,
    }


def _compared_paper(widths: tuple[int, ...]) -> tuple[str, dict]:
    """The table of Jha et al. (2020) that has the MTAN code's other networks, trained as there (spec A6, B6)."""
    return 'sdmtcnn_table3_nyuv2_3task', {'tasks': TASKS, 'widths': widths, 'halve_at_epochs': (100.0,)}


def _self_distilled_paper(chosen: dict[str, str]) -> tuple[str, dict]:
    """The table of Jha et al. (2020) that has these tasks, and the rest of their protocol (spec B5)."""
    # Table 3 has the single-task networks of table 2's rows, but not its baselines.
    plain = chosen['backbone'] == 'segnet_sd' and chosen['attention'] == 'on'
    compared = plain and chosen['method'] in ('stl', 'uniform', 'sd_mtcnn')
    single = 'sdmtcnn_table1_nyuv2_single_task'
    tables = {
        frozenset(TASKS): 'sdmtcnn_table3_nyuv2_3task' if compared else 'sdmtcnn_table2_nyuv2_ablation',
        frozenset({'segmentation', 'depth'}): 'sdmtcnn_table5_2task',
        frozenset({'segmentation'}): single,
        frozenset({'depth'}): single,
    }
    return tables.get(frozenset(chosen['tasks'].split('+')), ''), {
        'tasks': tuple(chosen['tasks'].split('+')),
        'self_distillation': {
            'weight': 1.0,
            'distances': {'segmentation': 'kl', 'depth': 'l2', 'normals': 'l2'},
            'kl_direction': 'student_teacher',
            'squared': False,
            'stop_teacher_gradient': False,
            'renormalise_normals': False,
        },
        'widths': (64, 128, 256, 512, 1024),
        'halve_at_epochs': (),
    }
