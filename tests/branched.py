"""A backbone of two branches, which can be computed apart: one convolution each."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from mtkd_jax.models.backbone import by_child
from mtkd_jax.tasks import Task
from mtkd_jax.types import STUDENT, TEACHER, Outputs


class Backbone(nn.Module):
    """`branches`: those that are computed."""

    tasks: Sequence[Task]
    widths: Sequence[int] = ()
    dtype: Any = None
    branches: Sequence[str] = (TEACHER, STUDENT)

    POINTS, STRIDE, SHARED_FEATURE, BRANCHES = ('image',), 2, 'image', (TEACHER, STUDENT)

    def own(self, path):
        return by_child(path, self.tasks, *self.BRANCHES)

    @nn.compact
    def __call__(self, image, *, train):
        found = {
            b: {t.name: t.activate(nn.Conv(t.channels, (3, 3), name=f'{b}_{t.name}')(image)) for t in self.tasks}
            for b in self.branches
        }
        return Outputs(found, {'image': image})
