"""Layers that several backbones are made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Int

from mtkd_jax import ops
from mtkd_jax.models.convolution import convolve
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


def recomputed(remat: bool, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function(module, ..., array, ...)` of modules that its caller has made, and arrays.

    With `remat`, only its arguments are kept for the backward pass, which computes all between them and the results
    again. On a CPU, XLA must be told to leave it at that (`training/compiled.py`).
    """
    return nn.remat(function) if remat else function


def pooled(
    block: nn.Module, x: Float[Array, 'b h w c'], *, train: bool, remat: bool
) -> tuple[Float[Array, 'b h2 w2 c2'], Int[Array, 'b h2 w2 c2']]:
    """`block(x)` after 2×2 max pooling, and where the maxima were; `remat`: see `recomputed`."""

    def run(block: Any, x: Array) -> Any:
        return ops.max_pool_argmax(block(x, train=train))

    return recomputed(remat, run)(block, x)


def unpooled(
    block: nn.Module, x: Float[Array, 'b h w c'], index: Int[Array, 'b h w c'], *, train: bool, remat: bool
) -> Float[Array, 'b h2 w2 c2']:
    """`block` of `x` brought back to where the maxima were; `remat`: see `recomputed`."""

    def run(block: Any, x: Array, index: Array) -> Any:
        return block(ops.max_unpool(x, index), train=train)

    return recomputed(remat, run)(block, x, index)


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
            x = convolved(x, *Kernel((3, 3, x.shape[-1], width), name=f'conv_{i}')(), self.dtype)
            x = nn.relu(batch_norm(self.dtype, train, f'norm_{i}')(x))
        return x


class Kernel(nn.Module):
    """The parameters of a convolution, `kernel` and `bias`, as `nn.Conv` makes them."""

    shape: tuple[int, int, int, int]

    @nn.compact
    def __call__(self) -> tuple[Float[Array, 'kh kw c k'], Float[Array, 'k']]:
        # float32 also where JAX's own default is float64, as `nn.Conv`'s are.
        kernel = self.param('kernel', XAVIER, self.shape, jnp.float32)
        return kernel, self.param('bias', nn.initializers.zeros_init(), self.shape[-1:], jnp.float32)


class Head(nn.Module):
    """A task's predictor: conv3×3(width) then conv1×1(channels), no nonlinearity between (papers.md A6).

    Two linear maps are one: gives kernel and bias of the conv3×3(channels) that is their product, which takes a
    fraction of the operations. `inputs`: channels of the feature map.
    """

    inputs: int
    width: int
    channels: int

    @nn.compact
    def __call__(self) -> tuple[Float[Array, '3 3 c k'], Float[Array, 'k']]:
        kernel, bias = Kernel((3, 3, self.inputs, self.width), name='conv')()
        out_kernel, out_bias = Kernel((1, 1, self.width, self.channels), name='out')()
        # In float32, whatever the compute type: there are few of them.
        kernel = jnp.einsum('ijcw,wk->ijck', kernel, out_kernel[0, 0], precision='highest')
        return kernel, jnp.einsum('w,wk->k', bias, out_kernel[0, 0], precision='highest') + out_bias


def predictions(
    tasks: Sequence[Task], features: Array | Mapping[str, Array], width: int, dtype: Any
) -> dict[str, Float[Array, 'b h w k']]:
    """Every task's prediction, float32, by `head_<task>`: a `Head` of `width` on the task's features [b h w c].

    `features`: one map for all tasks, which is then convolved once, or one for each. To be called where a network's
    layers are made.
    """
    if not tasks:
        return {}
    maps = [features[task.name] if isinstance(features, Mapping) else features for task in tasks]
    heads = [
        Head(x.shape[-1], width, task.channels, name=f'head_{task.name}')() for task, x in zip(tasks, maps, strict=True)
    ]
    if isinstance(features, Mapping):
        raw = [convolved(x, *head, dtype) for x, head in zip(maps, heads, strict=True)]
    else:
        kernels, biases = zip(*heads, strict=True)
        together = convolved(features, jnp.concatenate(kernels, -1), jnp.concatenate(biases), dtype)
        ends = np.cumsum([task.channels for task in tasks])[:-1]
        raw = jnp.split(together, ends, axis=-1)
    return {task.name: task.activate(ops.widened(x)) for task, x in zip(tasks, raw, strict=True)}


def convolved(
    x: Float[Array, 'b h w c'], kernel: Float[Array, '3 3 c k'], bias: Float[Array, 'k'], dtype: Any
) -> Float[Array, 'b h w k']:
    """`x` convolved, padded with zeros to its own size; computed in `dtype`, None: in that of the arguments."""
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    return convolve(x, kernel) + bias
