"""Tasks. Each file owns one: its channels, activation, loss, distances, metrics and rendering."""

from mtkd_jax.tasks.base import Task
from mtkd_jax.tasks.classification import classification
from mtkd_jax.tasks.depth import depth
from mtkd_jax.tasks.normals import normals
from mtkd_jax.tasks.segmentation import segmentation
from mtkd_jax.tasks.strength import edges, keypoints

__all__ = ['Task', 'classification', 'depth', 'edges', 'keypoints', 'normals', 'segmentation']
