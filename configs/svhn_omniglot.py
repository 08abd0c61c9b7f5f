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

from mtkd_jax.configs import base
from mtkd_jax.configs.base import KD_MTL, paper_rows


def get_config(argument: str = '') -> ConfigDict:
    """See `base.get_config`."""
    return base.get_config(argument, dataset='svhn_omniglot', change=change)


def change(c: ConfigDict) -> None:
    """What differs from `base.py`. A single-task stage takes its own half of the batches that a multi-task one sees."""
    base.differ(c, 'kd_mtl', weights={'svhn': 10.0, 'omniglot': 10.0}, adaptor_learning_rate=0.01)  # (papers.md A3, A4)
    c.learning_rate = 5e-4  # (see above)
    base.differ(c, 'steps', decay_every_epochs=15.0, decay_factor=0.85)  # (papers.md A4)
    c.epochs = 300  # (papers.md A4); once through the larger pool, the smaller one is cycled
    c.batch_size = c.eval_batch_size = 512  # half of the images of each pool (papers.md A4)
    c.devices = 0
    c.selection = 'last20_median'  # (papers.md A4)
    c.evaluate_every_epochs = 5
    c.log_every_steps = 92
    c.panel_images = 8


PAPERS = paper_rows('kdmtl_table1_svhn_omniglot', 'lenet', {**KD_MTL, 'bam': 'method=bam'}, backbone='lenet_mtl')
