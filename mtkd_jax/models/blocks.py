"""Layers that several backbones are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtkd_jax.tasks import Task

XAVIER = nn.initializers.xavier_normal()


def batch_norm(dtype: Any, train: bool, name: str) -> nn.BatchNorm:
    """Batch normalisation over all but the channels; statistics of the global batch when it is sharded (papers.md A6).

    Epsilon 1e-5, running average 0.9·old + 0.1·new.
    """
    # The two-pass variance: E[x²] - E[x]² cancels badly where the mean is large against the spread.
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False, dtype=dtype, name=name)


def narrower(widths: Sequence[int]) -> tuple[int, ...]:
    """Widths of the decoder blocks, by the encoder block they mirror: each already has the next encoder block's."""
    return (widths[0], *widths[:-1])


def perturbable(module: nn.Module, x: Array) -> Array:
    """`x`, the last feature map that all tasks share; with `perturbations: {'shared': ...}` applied, plus that.

    The gradient of a task's loss with respect to zeros given there is its gradient with respect to `x`.
    """
    # Not while initialising: that would leave a perturbation of the initial batch's shape among the variables.
    return x if module.is_initializing() else module.perturb('shared', x)


class ConvBlock(nn.Module):
    """`convs` times conv3×3, batch normalisation, ReLU (papers.md A6); `first`: width of the first one, if another."""

    features: int
    convs: int
    dtype: Any = None
    first: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b h w c2']:
        for i in range(self.convs):
            width = self.first if self.first and i == 0 else self.features
            x = nn.Conv(width, (3, 3), kernel_init=XAVIER, dtype=self.dtype, name=f'conv_{i}')(x)
            x = nn.relu(batch_norm(self.dtype, train, f'norm_{i}')(x))
        return x


class Head(nn.Module):
    """A task's predictor: conv3×3(width) then conv1×1(channels), no nonlinearity between (papers.md A6)."""

    width: int
    channels: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h w k']:
        x = nn.Conv(self.width, (3, 3), kernel_init=XAVIER, dtype=self.dtype, name='conv')(x)
        return nn.Conv(self.channels, (1, 1), kernel_init=XAVIER, dtype=self.dtype, name='out')(x)


def predictions(
    tasks: Sequence[Task], features: Array | Mapping[str, Array], width: int, dtype: Any
) -> dict[str, Float[Array, 'b h w k']]:
    """Every task's prediction, float32, by `head_<task>`: a `Head` of `width` on the task's features [b h w c].

    `features`: one map for all tasks, or one for each. To be called where a network's layers are made.
    """
    found = {}
    for task in tasks:
        x = features[task.name] if isinstance(features, Mapping) else features
        raw = Head(width, task.channels, dtype, name=f'head_{task.name}')(x)
        found[task.name] = task.activate(raw.astype(jnp.float32))
    return found
