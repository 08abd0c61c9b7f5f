"""The tasks of Taskonomy."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax.datasets.base import known
from mtkd_jax.datasets.taskonomy import DEFAULTS
from mtkd_jax.datasets.taskonomy.storing import class_names
from mtkd_jax.tasks import Task, depth, edges, keypoints, normals, segmentation
from mtkd_jax.tasks.normals import PLAIN_AXES


def tasks(data: Mapping[str, Any]) -> tuple[Task, ...]:
    """What it offers, for `DataSet.tasks`."""
    full = {**DEFAULTS, **data}
    return (
        segmentation(full['classes'], known(class_names(full['classes']), full['classes'])),
        depth(full['depth_maximum']),
        # The files do not say where their axes point.
        normals(axes=PLAIN_AXES),
        keypoints(),
        edges(),
    )
