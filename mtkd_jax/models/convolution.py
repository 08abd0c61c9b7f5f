"""The 3×3 convolution of the networks, and what its backward pass computes on a CPU.

XLA leaves a convolution to libraries, and some shapes of its two gradients to slow paths of them. Both gradients have
other forms with the same result up to rounding; docs/performance.md says what they gain. GPUs and TPUs keep XLA's own.
A convolution that has another form has no forward mode (`jax.jvp`): JAX has none for functions with a backward pass of
their own.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType
from jaxtyping import Array, Float

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
WIDE = 256
"""Channels of a gradient from which its product with a kernel can pay."""
FEW = 32
"""Outputs up to which XLA is slow at kernel gradients, where inputs are twice as many or more."""


def convolve(x: Float[Array, 'b h w c'], kernel: Float[Array, '3 3 c k']) -> Float[Array, 'b h w k']:
    """`x` convolved with `kernel`, padded with zeros to its own size."""
    own = _plain if _forms(x, kernel) == (input_gradient, kernel_gradient) else _with_forms
    return own(x, kernel)


def _plain(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=DIMENSIONS)


def _forms(x: Array, kernel: Array) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What a CPU computes the gradients of input and kernel by."""
    inputs, outputs = kernel.shape[2:]
    positions = x.shape[:-1]
    of_input, of_kernel = input_gradient, kernel_gradient
    known = all(isinstance(size, int) for size in positions)
    # Elsewhere (`shard_map`, explicit sharding) arrays have types that only JAX's own gradients keep.
    automatic = all(kind == AxisType.Auto for kind in jax.typeof(x).sharding.mesh.axis_types)
    if x.dtype == jnp.float32 and known and automatic:
        if outputs >= WIDE and math.prod(positions) <= 2 * outputs:
            of_input = input_gradient_by_product
        if outputs <= FEW and inputs >= 2 * FEW:
            of_kernel = kernel_gradient_exchanged
    return of_input, of_kernel


_with_forms = jax.custom_vjp(_plain)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _plain(x, kernel), (x, kernel)


def _backward(kept: tuple[Array, Array], gradient: Float[Array, 'b h w k']) -> tuple[Array, Array]:
    x, kernel = kept
    of_input, of_kernel = _forms(x, kernel)
    return (
        lax.platform_dependent(kernel, gradient, cpu=of_input, default=input_gradient),
        lax.platform_dependent(x, gradient, cpu=of_kernel, default=kernel_gradient),
    )


_with_forms.defvjp(_forward, _backward)


def input_gradient(kernel: Float[Array, '3 3 c k'], gradient: Float[Array, 'b h w k']) -> Float[Array, 'b h w c']:
    """The gradient with respect to the input, as XLA computes it."""
    x = jax.ShapeDtypeStruct((*gradient.shape[:-1], kernel.shape[2]), gradient.dtype)
    return jax.linear_transpose(lambda x: _plain(x, kernel), x)(gradient)[0]


def input_gradient_by_product(
    kernel: Float[Array, '3 3 c k'], gradient: Float[Array, 'b h w k']
) -> Float[Array, 'b h w c']:
    """The same by one product with the kernel as it lies in memory, whose nine parts are moved and added.

    XLA's form needs a transposed copy of the kernel, which takes longer than the product where the kernel is large and
    positions are few.
    """
    b, h, w, k = gradient.shape
    c = kernel.shape[2]
    product = lax.dot_general(gradient.reshape(-1, k), kernel.reshape(-1, k), (((1,), (1,)), ((), ())))
    parts = product.reshape(b, h, w, 3, 3, c)
    # The part of a place in the kernel belongs to the pixel that the place looked at: one row up for the first.
    moved = [
        jnp.pad(parts[:, :, :, i, j], ((0, 0), (i, 2 - i), (j, 2 - j), (0, 0))) for i in range(3) for j in range(3)
    ]
    return functools.reduce(jnp.add, moved)[:, 1:-1, 1:-1]


def kernel_gradient(x: Float[Array, 'b h w c'], gradient: Float[Array, 'b h w k']) -> Float[Array, '3 3 c k']:
    """The gradient with respect to the kernel, as XLA computes it."""
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], gradient.shape[-1]), gradient.dtype)
    return jax.linear_transpose(lambda kernel: _plain(x, kernel), kernel)(gradient)[0]


def kernel_gradient_exchanged(x: Float[Array, 'b h w c'], gradient: Float[Array, 'b h w k']) -> Float[Array, '3 3 c k']:
    """The same with the two arguments exchanged, so that the input's channels are the convolution's outputs."""
    return kernel_gradient(gradient, x)[::-1, ::-1].swapaxes(2, 3)
