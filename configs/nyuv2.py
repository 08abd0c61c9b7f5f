"""NYUv2, three tasks: Li & Bilen (2020), table 2 (SegNet) - single-task teachers, then KD-MTL.

    python -m mtkd_jax.prepare --dataset=nyuv2 --source=DIR
    python -m mtkd_jax.main --config=configs/nyuv2.py --workdir=runs/nyuv2

The paper's row for KD-MTL: mIoU 18.75 %, pixel accuracy 58.02 %, depth 0.5780 m, normals 29.40° (per-image protocol).

With `:method=sd_mtcnn,backbone=segnet_sd` (or unet_sd; objective=eq5 or eq6), Jha et al. (2020), table 2; for eq. 5 the
teacher: mIoU 22.44 %, pixel accuracy 56.90 %, depth 0.5857 m, normals 29.66°.
"""

from ml_collections import ConfigDict

from mtkd_jax.configs import base
from mtkd_jax.configs.base import COMPARED, KD_MTL, SD_MTCNN, PaperRow, paper_rows


def get_config(argument: str = '') -> ConfigDict:
    """See `base.get_config`."""
    return base.get_config(argument, dataset='nyuv2', change=change)


def change(c: ConfigDict) -> None:
    """What differs from `base.py`: batch and epochs are its own (papers.md A4, B5)."""
    base.differ(c, 'kd_mtl', weights={'normals': 2.0})  # λ_t; both points: table 4's better row (papers.md A2, A3)
    base.halve(c)


TWO, ABLATION = 'tasks=segmentation+depth', 'sdmtcnn_table2_nyuv2_ablation'
UNIFORM = {'uniform': 'method=uniform'}
PAPERS = (
    *paper_rows('kdmtl_table2_nyuv2', 'segnet', KD_MTL),
    *paper_rows('kdmtl_table2_nyuv2', 'mtan', {**KD_MTL, 'dwa': 'method=dwa', 'pcgrad': 'method=pcgrad'}),
    PaperRow('method=kd_mtl,points=last', 'kdmtl_table4_nyuv2_layers', 'segnet', layers='last'),
    PaperRow('method=kd_mtl', 'kdmtl_table4_nyuv2_layers', 'segnet', layers='mid+last'),
    PaperRow('method=kd_mtl,points=last,backbone=mtan', 'kdmtl_table4_nyuv2_layers', 'mtan', layers='last'),
    PaperRow('method=kd_mtl,backbone=mtan', 'kdmtl_table4_nyuv2_layers', 'mtan', layers='mid+last'),
    *paper_rows('sdmtcnn_table3_nyuv2_3task', 'segnet_sd', SD_MTCNN),
    *(row for name in COMPARED for row in paper_rows('sdmtcnn_table3_nyuv2_3task', name, UNIFORM)),
    *paper_rows(
        ABLATION,
        'segnet_sd',
        {
            'vanilla': 'method=uniform',
            'no_distill_eq5': 'method=no_distillation',
            'no_distill_eq6': 'method=no_distillation,objective=eq6',
            'traditional_kd': 'method=traditional_kd',
            'sdmtcnn_eq5': 'method=sd_mtcnn',
            'sdmtcnn_eq6': 'method=sd_mtcnn,objective=eq6',
            'sdmtcnn_eq5_no_attention': 'method=sd_mtcnn,attention=off',
            'sdmtcnn_eq6_no_attention': 'method=sd_mtcnn,objective=eq6,attention=off',
        },
    ),
    *paper_rows(
        ABLATION,
        'unet_sd',
        {
            'vanilla': 'method=uniform',
            'sdmtcnn_eq5': 'method=sd_mtcnn',
            'sdmtcnn_eq6': 'method=sd_mtcnn,objective=eq6',
        },
    ),
    *paper_rows('sdmtcnn_table5_2task', 'segnet_sd', SD_MTCNN, TWO, 'nyuv2_'),
    *(row for name in COMPARED for row in paper_rows('sdmtcnn_table5_2task', name, UNIFORM, TWO, 'nyuv2_')),
    *(
        PaperRow(
            f'method=sd_mtcnn,backbone=segnet_sd,objective={objective},tasks={task}',
            'sdmtcnn_table1_nyuv2_single_task',
            'segnet_sd',
            f'sdmtcnn_single_{objective}',
        )
        for objective in ('eq5', 'eq6')
        for task in ('segmentation', 'depth')
    ),
    PaperRow('method=stl,backbone=segnet_sd', 'sdmtcnn_table1_nyuv2_single_task', 'segnet_sd', 'stl'),
)
