"""Mini-Taskonomy (tiny split), five tasks: Jha et al. (2020), table 4 - the self-distilled network.

    python -m mtkd_jax.prepare --dataset=taskonomy --source=DIR
    python -m mtkd_jax.main --config=configs/taskonomy.py --workdir=runs/taskonomy

The paper's row for eq. 5, teacher: mIoU 55.36 %, pixel accuracy 89.36 %, relative depth error 0.3572, normals' mean
cosine 0.9058 (per-image protocol). The paper does not give the unit of depth, keypoints and edges, so its absolute
errors cannot be compared with ours (docs/data.md).

`:method=kd_mtl` and the other methods also run here, on the same five tasks.
"""

from ml_collections import ConfigDict

from mtkd_jax.configs import base
from mtkd_jax.configs.base import COMPARED, SD_MTCNN, paper_rows


def get_config(argument: str = '') -> ConfigDict:
    """See `base.get_config`."""
    return base.get_config(argument, dataset='taskonomy', chosen={'method': 'sd_mtcnn'}, change=change)


def change(c: ConfigDict) -> None:
    """What differs from `base.py`. A validation_fraction of 0 leaves the data set's own validation split."""
    if not base.self_distilled(c):
        base.differ(c, 'kd_mtl', points=('last',))  # the paper has no Taskonomy
    base.halve(c)
    c.batch_size = c.eval_batch_size = 4  # (papers.md B5)


PAPERS = (
    *paper_rows('sdmtcnn_table4_taskonomy_5task', 'segnet_sd', SD_MTCNN),
    *(
        row
        for name in COMPARED
        for row in paper_rows('sdmtcnn_table4_taskonomy_5task', name, {'uniform': 'method=uniform'})
    ),
)
