"""SegNet with one trunk for all tasks (spec A6): the backbone of KD-MTL's main tables."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtkd_jax import ops
from mtkd_jax.models.blocks import ConvBlock, Head
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Outputs

WIDTHS = (64, 128, 256, 512, 512)
CONVS = (2, 2, 3, 3, 3)


class SegNet(nn.Module):
    """Five encoder blocks with 2×2 max pooling that keeps the argmax, five mirrored decoder blocks, a head per task.

    Image [b h w 3] in [0, 1], `h` and `w` multiples of 32. Features: `mid` [b h/32 w/32 widths[-1]], after the last
    pooling; `last` [b h w widths[0]], before the heads. Predictions are float32 whatever `dtype` computes in.

    Attributes:
        tasks: what to predict; a single-task network is one with a single task.
        widths: channels of the five encoder blocks (the paper's: 64, 128, 256, 512, 512).
        dtype: compute type; parameters and batch statistics stay float32.
    """

    tasks: Sequence[Task]
    widths: Sequence[int] = WIDTHS
    dtype: Any = None

    POINTS = ('mid', 'last')
    STRIDE = 32

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w 3'], *, train: bool) -> Outputs:
        x, indices = image, []
        for i, (width, convs) in enumerate(zip(self.widths, CONVS, strict=True)):
            x = ConvBlock(width, convs, self.dtype, name=f'encoder_{i}')(x, train=train)
            x, index = ops.max_pool_argmax(x)
            indices.append(index)
        features = {'mid': x}

        # Decoder block i mirrors encoder block i; its first convolution already has the next block's width.
        narrower = (self.widths[0], *self.widths[:-1])
        for i in reversed(range(len(self.widths))):
            x = ops.max_unpool(x, indices[i])
            x = ConvBlock(narrower[i], CONVS[i], self.dtype, name=f'decoder_{i}')(x, train=train)
        features['last'] = x

        raw = {t.name: Head(self.widths[0], t.channels, self.dtype, name=f'head_{t.name}')(x) for t in self.tasks}
        predictions = {t.name: t.activate(raw[t.name].astype(jnp.float32)) for t in self.tasks}
        return Outputs({MAIN: predictions}, features)
