"""NYU-Depth V2 (Silberman et al. 2012): indoor scenes, 795 to train and 654 to test, made from the user's files."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax.datasets import base
from mtkd_jax.datasets.flags import DEPTH_SCALE, IGNORE_LABEL, SOURCE, Flag
from mtkd_jax.errors import UserError

COUNTS = (13, 40)  # classes
OFFICIAL = {'train': 795, 'test': 654}  # frames
# Pixels (papers.md A4), metres.
DEFAULTS: dict[str, Any] = {'height': 288, 'width': 384, 'classes': 13, 'depth_maximum': 10.0}


def _check(data: Mapping[str, Any]) -> None:
    if data.get('classes', 13) not in COUNTS:
        raise UserError(f'`data.classes` is {data["classes"]}; nyuv2 has {COUNTS[0]} or {COUNTS[1]}.')


DATA_SET = base.DataSet(
    name='nyuv2',
    about='NYU-Depth V2 (Silberman et al. 2012), indoor scenes.',
    defaults=DEFAULTS,
    task_names=('segmentation', 'depth', 'normals'),
    check=_check,
    flags=(SOURCE, Flag('classes', 'classes', 'Classes, 13 or 40'), IGNORE_LABEL, DEPTH_SCALE),
    free=('depth_maximum',),
    training=OFFICIAL['train'],
    **base.from_files(__name__),
)
