"""NYUv2, three tasks: Li & Bilen (2020), table 2 (SegNet) - single-task teachers, then KD-MTL.

    python -m mtkd_jax.prepare --dataset=nyuv2 --source=DIR
    python -m mtkd_jax.main --config=configs/nyuv2.py --workdir=runs/nyuv2

The paper's row for KD-MTL: mIoU 18.75 %, pixel accuracy 58.02 %, depth 0.5780 m, normals 29.40° (per-image protocol).
"""

from ml_collections import ConfigDict

from mtkd_jax import recipe


def get_config(argument: str = '') -> ConfigDict:
    """Every field, with its unit and source."""
    chosen = recipe.parse(argument, {'method': 'kd_mtl', 'backbone': 'segnet', 'tasks': 'segmentation+depth+normals'})
    c = ConfigDict()

    c.data = ConfigDict()
    c.data.dataset = 'nyuv2'
    c.data.data_dir = ''  # where prepared data lie; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
    c.data.height, c.data.width = 288, 384  # pixels (spec A4)
    c.data.classes = 13
    c.data.depth_maximum = 10.0  # metres; scales pictures only
    c.data.validation_fraction = 0.0  # share of the training set held out; selection='best_validation' needs it
    c.data.read_threads = 8

    c.method = chosen['method']  # stl | uniform | kd_mtl
    c.backbone = chosen['backbone']
    c.tasks = tuple(chosen['tasks'].split('+'))
    c.widths = (64, 128, 256, 512, 512)  # channels of the encoder blocks (spec A6)
    c.compute_dtype = 'float32'  # or bfloat16; parameters stay float32
    c.seed = 0  # of initialisation and data order

    c.task_weights = ConfigDict({'segmentation': 1.0, 'depth': 1.0, 'normals': 1.0})  # w_t (spec A3)

    c.distillation = ConfigDict()
    c.distillation.points = ('mid', 'last')  # table 4's better row (spec A2)
    c.distillation.weights = ConfigDict({'segmentation': 1.0, 'depth': 1.0, 'normals': 2.0})  # λ_t (spec A3)
    c.distillation.teacher_batch_stats = False  # True: the authors' code (spec A2)
    c.teachers = ConfigDict({'segmentation': '', 'depth': '', 'normals': ''})  # model folders; '' = train it here

    c.learning_rate = 1e-4  # Adam (spec A4)
    c.halve_at_epochs = (100.0,)  # (spec A4)
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
    c.panel_images = 4  # test images in the prediction panels

    # The paper's row stands beside ours only where all of this holds.
    c.paper = ConfigDict({'table': 'kdmtl_table2_nyuv2'})
    c.paper.protocol = ConfigDict(
        {
            'data': {'height': 288, 'width': 384, 'classes': 13, 'validation_fraction': 0.0},
            'tasks': ('segmentation', 'depth', 'normals'),
            'compute_dtype': 'float32',
            'task_weights': {'segmentation': 1.0, 'depth': 1.0, 'normals': 1.0},
            'distillation': {
                'points': ('mid', 'last'),
                'weights': {'segmentation': 1.0, 'depth': 1.0, 'normals': 2.0},
                'teacher_batch_stats': False,
            },
            'widths': (64, 128, 256, 512, 512),
            'epochs': 200,
            'batch_size': 2,
            'learning_rate': 1e-4,
            'halve_at_epochs': (100.0,),
            'adaptor_learning_rate': 0.1,
            'adaptor_l2': 5e-4,
        }
    )
    return c
