"""The smallest multi-task network: one shared layer, one head per task. Compiles in a second."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from mtkd_jax import tasks
from mtkd_jax.models.blocks import batch_norm, perturbable
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Outputs

TASKS = (tasks.segmentation(5), tasks.depth(), tasks.normals())


class Network(nn.Module):
    """conv1×1, batch norm, tanh; conv1×1 per task."""

    tasks: Sequence[Task] = TASKS
    width: int = 6

    def own(self, path):
        return next((task.name for task in self.tasks if path[0] == f'head_{task.name}'), None)

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Conv(self.width, (1, 1), name='trunk')(image)
        x = jnp.tanh(batch_norm(None, train, 'norm')(x))
        x = perturbable(self, x)
        predictions = {t.name: t.activate(nn.Conv(t.channels, (1, 1), name=f'head_{t.name}')(x)) for t in self.tasks}
        return Outputs({MAIN: predictions}, {'last': x})
