"""Rendered rooms: no download, no data needed; minutes on two CPU cores.

    python -m mtkd_jax.main --config=configs/rooms.py --workdir=runs/rooms

trains the single-task networks, plain multi-task learning and KD-MTL (Li & Bilen 2020) on a narrow SegNet. Recipes:
`--config=configs/rooms.py:method=uniform,tasks=depth+normals`; any field: `--config.epochs=20`.

    python -m mtkd_jax.main --config=configs/rooms.py:method=sd_mtcnn --workdir=runs/rooms_sd

trains a self-distilled network (Jha et al. 2020).
"""

from ml_collections import ConfigDict

from mtkd_jax.configs import base


def get_config(argument: str = '') -> ConfigDict:
    """See `base.get_config`; keypoints and edges can also be chosen."""
    chosen = {'tasks': 'segmentation+depth+normals'}
    return base.get_config(argument, dataset='rooms', chosen=chosen, change=change)


def change(c: ConfigDict) -> None:
    """What differs from `base.py`: a small network, and 360 steps where the papers have 80,000."""
    c.data.read_threads = 4
    # A quarter to an eighth of the papers' channels; the last of split_wide is twice as wide.
    c.widths = (16, 24, 32, 64, 128 if c.backbone == 'split_wide' else 64)
    # λ_t (papers.md A3); and the same network without teachers, to see what they give.
    base.differ(c, 'kd_mtl', weights={'normals': 2.0}, adaptor_learning_rate=1e-2, baseline=True)
    for method in ('sd_mtcnn', 'no_distillation', 'traditional_kd'):
        base.differ(c, method, student_widths=(32, 24, 16, 12))
    base.differ(c, 'stch', warmup_steps=60)
    c.learning_rate = 5e-3
    base.differ(c, 'steps', halve_at_epochs=(3.0, 3.75, 4.5, 5.25))
    c.epochs = 6
    c.batch_size, c.eval_batch_size = 8, 24
    c.devices, c.stages_at_once = 0, 0  # so small a network does not keep all cores at work
    c.evaluate_every_epochs = 2
    c.log_every_steps = 20
