"""Cityscapes, two tasks: Li & Bilen (2020), table 3 (SegNet) - single-task teachers, then KD-MTL.

    python -m mtkd_jax.prepare --dataset=cityscapes --source=DIR
    python -m mtkd_jax.main --config=configs/cityscapes.py --workdir=runs/cityscapes

The paper's row for KD-MTL: mIoU 52.18 %, pixel accuracy 91.24 %, inverse depth 0.0140, relative 28.90 % (per-image
protocol). Depth is inverse, in the preprocessed files' unit (docs/data.md).

With `:method=sd_mtcnn,backbone=segnet_sd`, Jha et al. (2020), table 5; for eq. 5 the teacher: mIoU 56.70 %, pixel
accuracy 92.54 %, inverse depth 0.0131, relative 27.68 %.
"""

from ml_collections import ConfigDict

from mtkd_jax.configs import base
from mtkd_jax.configs.base import COMPARED, KD_MTL, SD_MTCNN, paper_rows


def get_config(argument: str = '') -> ConfigDict:
    """See `base.get_config`."""
    return base.get_config(argument, dataset='cityscapes', change=change)


def change(c: ConfigDict) -> None:
    """What differs from `base.py`."""
    base.differ(c, 'kd_mtl', weights={'segmentation': 2.0, 'depth': 6.0})  # λ_t (papers.md A3)
    if not base.self_distilled(c):
        base.differ(c, 'kd_mtl', points=('last',))  # (papers.md A2)
    base.halve(c)
    c.batch_size = c.eval_batch_size = 8  # (papers.md A4, B5)


PAPERS = (
    *paper_rows('kdmtl_table3_cityscapes', 'segnet', KD_MTL),
    *paper_rows('kdmtl_table3_cityscapes', 'mtan', {**KD_MTL, 'dwa': 'method=dwa'}),
    *paper_rows('sdmtcnn_table5_2task', 'segnet_sd', SD_MTCNN, prefix='cityscapes_'),
    *(
        row
        for name in COMPARED
        for row in paper_rows('sdmtcnn_table5_2task', name, {'uniform': 'method=uniform'}, prefix='cityscapes_')
    ),
)
