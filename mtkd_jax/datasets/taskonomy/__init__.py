"""Taskonomy (Zamir et al. 2018), the tiny split with five targets, made from the user's files."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax.datasets import base
from mtkd_jax.datasets.flags import SOURCE
from mtkd_jax.errors import UserError

COUNTS = (17, 18)  # classes
# Height and width in pixels (papers.md B5); 18 classes as in the paper's count; metres.
DEFAULTS: dict[str, Any] = {'height': 256, 'width': 256, 'classes': 18, 'depth_maximum': 10.0}


def _check(data: Mapping[str, Any]) -> None:
    if data.get('classes', 18) not in COUNTS:
        raise UserError(f'`data.classes` is {data["classes"]}; taskonomy has 17 or 18 (with "uncertain" as a class).')


DATA_SET = base.DataSet(
    name='taskonomy',
    about='Taskonomy (Zamir et al. 2018), the tiny split with five targets, indoor scenes.',
    defaults=DEFAULTS,
    task_names=('segmentation', 'depth', 'normals', 'keypoints', 'edges'),
    check=_check,
    flags=(SOURCE,),
    own_validation=True,
    free=('depth_maximum',),
    **base.from_files(__name__),
)
