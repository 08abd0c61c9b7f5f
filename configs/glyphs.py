"""Rendered digits and characters: no download, no data needed; minutes on two CPU cores.

    python -m mtkd_jax.main --config=configs/glyphs.py --workdir=runs/glyphs

trains the two single-task networks and the KD-MTL network (Li & Bilen 2020) on LeNet-MTL, as `configs/svhn_omniglot.py`
does with the real data. Recipes: `--config=configs/glyphs.py:method=uniform`; any field: `--config.epochs=60`.
"""

from ml_collections import ConfigDict

from mtkd_jax.configs import base


def get_config(argument: str = '') -> ConfigDict:
    """See `base.get_config`."""
    return base.get_config(argument, dataset='glyphs', change=change)


def change(c: ConfigDict) -> None:
    """What differs from `base.py`: what `svhn_omniglot.py` has, in proportion to a fiftieth of its steps."""
    c.data.read_threads = 4
    base.differ(c, 'kd_mtl', weights={'digits': 10.0, 'characters': 10.0}, adaptor_learning_rate=0.01)
    base.differ(c, 'stch', warmup_steps=200)
    c.learning_rate = 2e-3
    base.differ(c, 'steps', decay_every_epochs=1.5, decay_factor=0.85)
    c.epochs = 30  # once through the larger pool, the smaller one is cycled
    c.batch_size, c.eval_batch_size = 128, 200
    c.devices, c.stages_at_once = 0, 0
    c.selection = 'last20_median'
    c.evaluate_every_epochs = 2
    c.log_every_steps = 31
    c.panel_images = 8
