"""Tasks. Each file owns one: its channels, activation, loss, metrics and rendering."""

from mtkd_jax.tasks.base import Task
from mtkd_jax.tasks.depth import depth
from mtkd_jax.tasks.normals import normals
from mtkd_jax.tasks.segmentation import segmentation

__all__ = ['Task', 'depth', 'normals', 'segmentation']
