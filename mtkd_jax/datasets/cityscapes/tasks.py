"""The tasks of Cityscapes."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax.datasets.base import known
from mtkd_jax.datasets.cityscapes import DEFAULTS
from mtkd_jax.datasets.cityscapes.classes import class_names
from mtkd_jax.tasks import Task, depth, segmentation


def tasks(data: Mapping[str, Any]) -> tuple[Task, ...]:
    """What it offers, for `DataSet.tasks`."""
    full = {**DEFAULTS, **data}
    return (
        segmentation(full['classes'], known(class_names(full['classes']), full['classes'])),
        depth(full['depth_maximum'], inverse=full['depth'] == 'inverse'),
    )
