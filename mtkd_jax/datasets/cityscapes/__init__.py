"""Cityscapes (Cordts et al. 2016): 2,975 training and 500 validation frames of streets, made from the user's files."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax import names
from mtkd_jax.datasets import base
from mtkd_jax.datasets.cityscapes.classes import COUNTS
from mtkd_jax.datasets.flags import DEPTH_SCALE, IGNORE_LABEL, SOURCE, Flag
from mtkd_jax.errors import UserError

DEPTHS = ('inverse', 'metric')
OFFICIAL = {'train': 2975, 'test': 500}  # frames
# Height and width in pixels (papers.md A4); `depth_maximum` in the unit of `depth`.
DEFAULTS: dict[str, Any] = {'height': 128, 'width': 256, 'classes': 7, 'depth': 'inverse', 'depth_maximum': 0.2}


def _check(data: Mapping[str, Any]) -> None:
    names.choice('data.depth', data.get('depth', 'inverse'), DEPTHS)
    # Where prepared data are only opened, no `depth_maximum` is given.
    if data.get('depth') == 'metric' and data.get('depth_maximum', 5) < 5:
        raise UserError(
            f"`data.depth_maximum` is {data['depth_maximum']}, but `data.depth` is 'metric'; give metres, such as 80."
        )
    if data.get('classes', 7) not in COUNTS:
        raise UserError(f'`data.classes` is {data["classes"]}; cityscapes has {COUNTS[0]} or {COUNTS[1]}.')


DATA_SET = base.DataSet(
    name='cityscapes',
    about='Cityscapes (Cordts et al. 2016), streets.',
    defaults=DEFAULTS,
    task_names=('segmentation', 'depth'),
    check=_check,
    flags=(
        SOURCE,
        Flag('classes', 'classes', 'Classes, 7 or 19'),
        Flag('depth', 'depth', 'inverse, or metric (metres, from raw files only)'),
        IGNORE_LABEL,
        DEPTH_SCALE,
    ),
    free=('depth_maximum',),
    training=OFFICIAL['train'],
    **base.from_files(__name__),
)
