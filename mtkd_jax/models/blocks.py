"""Layers that several backbones are made of."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

XAVIER = nn.initializers.xavier_normal()


def batch_norm(dtype: Any, train: bool, name: str) -> nn.BatchNorm:
    """Batch normalisation over all but the channels; statistics of the global batch when it is sharded (spec A6).

    Epsilon 1e-5, running average 0.9·old + 0.1·new.
    """
    # The two-pass variance: E[x²] - E[x]² cancels badly where the mean is large against the spread.
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False, dtype=dtype, name=name)


class ConvBlock(nn.Module):
    """`convs` times conv3×3, batch normalisation, ReLU (spec A6)."""

    features: int
    convs: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b h w c2']:
        for i in range(self.convs):
            x = nn.Conv(self.features, (3, 3), kernel_init=XAVIER, dtype=self.dtype, name=f'conv_{i}')(x)
            x = nn.relu(batch_norm(self.dtype, train, f'norm_{i}')(x))
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
