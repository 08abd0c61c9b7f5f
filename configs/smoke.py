"""First contact: rendered rooms, a minute on two CPU cores.

    python -m mtkd_jax.main --config=smoke --workdir=runs/smoke

shows that everything works. What the networks learn is little.
"""

from ml_collections import ConfigDict

from mtkd_jax.configs import base, rooms


def get_config(argument: str = '') -> ConfigDict:
    """See `base.get_config`."""
    return base.get_config(argument, dataset='rooms', chosen={'tasks': 'segmentation+depth'}, change=change)


def change(c: ConfigDict) -> None:
    """What differs from `rooms.py`: tiny scenes, few of them, two tasks."""
    rooms.change(c)
    base.differ(c, 'kd_mtl', baseline=False)
    base.differ(c, 'stch', warmup_steps=16)
    for method in ('sd_mtcnn', 'no_distillation', 'traditional_kd'):
        base.differ(c, method, student_widths=(12, 12, 8, 8))
    c.data.height, c.data.width = 32, 64
    c.data.train_images, c.data.test_images = 64, 16
    c.widths = (16, 16, 16, 16, 32 if c.backbone == 'split_wide' else 16)
    c.eval_batch_size = 16
    c.log_every_steps = 8
