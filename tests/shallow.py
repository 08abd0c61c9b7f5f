"""A shallow backbone with all that a backbone may have, for tests of what is not the network: compiles in a second."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mtkd_jax.models.backbone import by_child
from mtkd_jax.models.blocks import ConvBlock, batch_norm, perturbable, predictions
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Outputs


class Backbone(nn.Module):
    """Fields, feature points and names as SegNet's; one convolution before the pooling (`mid`), one after (`last`)."""

    tasks: Sequence[Task]
    widths: Sequence[int] = (4, 4, 4, 4, 4)
    dtype: Any = None

    POINTS, STRIDE, SHARED_FEATURE = ('mid', 'last'), 32, 'last'

    def own(self, path):
        return by_child(path, self.tasks, 'head')

    @nn.compact
    def __call__(self, image, *, train):
        x = ConvBlock(self.widths[0], 1, self.dtype, name='encoder_0')(image, train=train)
        mid = nn.max_pool(x, (4, 4), (4, 4))
        last = nn.Conv(self.widths[0], (1, 1), dtype=self.dtype, name='decoder_0')(mid)
        last = jnp.tanh(batch_norm(self.dtype, train, 'norm')(last)).repeat(4, axis=1).repeat(4, axis=2)
        last = perturbable(self, last)
        found = predictions(self.tasks, last, self.widths[0], self.dtype)
        return Outputs({MAIN: found}, {'mid': mid, 'last': last})
