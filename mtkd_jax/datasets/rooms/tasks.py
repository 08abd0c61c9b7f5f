"""The tasks of rooms."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax.datasets.base import known
from mtkd_jax.datasets.rooms import DEFAULTS
from mtkd_jax.datasets.rooms.scenes import CLASSES
from mtkd_jax.tasks import Task, depth, edges, keypoints, normals, segmentation


def tasks(data: Mapping[str, Any]) -> tuple[Task, ...]:
    """What it offers, for `DataSet.tasks`."""
    full = {**DEFAULTS, **data}
    return (
        segmentation(full['classes'], known(CLASSES, full['classes'])),
        depth(full['depth_maximum']),
        normals(),
        keypoints(),
        edges(),
    )
