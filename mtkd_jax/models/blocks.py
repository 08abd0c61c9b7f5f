"""Layers that several backbones are made of."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

XAVIER = nn.initializers.xavier_normal()


class ConvBlock(nn.Module):
    """`convs` times conv3×3, batch normalisation, ReLU (spec A6).

    Batch normalisation: epsilon 1e-5, average 0.9·old + 0.1·new; statistics of the global batch when it is sharded.
    """

    features: int
    convs: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b h w c2']:
        for i in range(self.convs):
            x = nn.Conv(self.features, (3, 3), kernel_init=XAVIER, dtype=self.dtype, name=f'conv_{i}')(x)
            # The two-pass variance: E[x²] - E[x]² cancels badly where the mean is large against the spread.
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                epsilon=1e-5,
                use_fast_variance=False,
                dtype=self.dtype,
                name=f'norm_{i}',
            )(x)
            x = nn.relu(x)
        return x


class Head(nn.Module):
    """A task's predictor: conv3×3(width) then conv1×1(channels), no nonlinearity between (spec A6)."""

    width: int
    channels: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h w k']:
        x = nn.Conv(self.width, (3, 3), kernel_init=XAVIER, dtype=self.dtype, name='conv')(x)
        return nn.Conv(self.channels, (1, 1), kernel_init=XAVIER, dtype=self.dtype, name='out')(x)
