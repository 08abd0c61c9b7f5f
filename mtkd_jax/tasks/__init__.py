"""Tasks. Each file owns one: its channels, activation, loss, distances, metrics and rendering."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from mtkd_jax.tasks.base import ErrorMap, Task
from mtkd_jax.tasks.classification import classification
from mtkd_jax.tasks.depth import depth
from mtkd_jax.tasks.normals import normals
from mtkd_jax.tasks.segmentation import segmentation
from mtkd_jax.tasks.strength import edges, keypoints

__all__ = [
    'ErrorMap',
    'Task',
    'classification',
    'depth',
    'edges',
    'keypoints',
    'normals',
    'segmentation',
    'validity_by_name',
]


@functools.cache
def validity_by_name() -> Mapping[str, Callable[[Any], Any]]:
    """Name of every dense task that is here → where its targets are defined (`Task.validity`)."""
    dense = (segmentation(), depth(), normals(), keypoints(), edges())
    return MappingProxyType({task.name: task.validity for task in dense})
