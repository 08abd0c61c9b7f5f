"""The 3×3 convolution of the networks, and what its backward pass computes on a CPU.

XLA's gradient of the input needs a transposed copy of the kernel, which takes longer than the convolution where the
kernel is large and positions are few. There, one product with the kernel as it lies in memory gives the same up to
rounding (docs/performance.md says what that gains). GPUs and TPUs keep XLA's own. A convolution that has this form has
no forward mode (`jax.jvp`): JAX has none for functions with a backward pass of their own.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType
from jaxtyping import Array, Float

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
WIDE = 256
"""Outputs from which the product can pay."""


def convolve(x: Float[Array, 'b h w c'], kernel: Float[Array, '3 3 c k']) -> Float[Array, 'b h w k']:
    """`x` convolved with `kernel`, padded with zeros to its own size."""
    outputs, positions = kernel.shape[-1], x.shape[:-1]
    known = all(isinstance(size, int) for size in positions)
    # Elsewhere (`shard_map`, explicit sharding) arrays have types that only JAX's own gradients keep.
    automatic = all(kind == AxisType.Auto for kind in jax.typeof(x).sharding.mesh.axis_types)
    large = outputs >= WIDE and known and math.prod(positions) <= 2 * outputs
    return (_by_product if large and automatic and x.dtype == jnp.float32 else _plain)(x, kernel)


def _plain(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=DIMENSIONS)


_by_product = jax.custom_vjp(_plain)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _plain(x, kernel), (x, kernel)


def _backward(kept: tuple[Array, Array], gradient: Float[Array, 'b h w k']) -> tuple[Array, Array]:
    x, kernel = kept
    (of_kernel,) = jax.linear_transpose(lambda kernel: _plain(x, kernel), kernel)(gradient)
    return lax.platform_dependent(kernel, gradient, cpu=input_gradient_by_product, default=input_gradient), of_kernel


_by_product.defvjp(_forward, _backward)


def input_gradient(kernel: Float[Array, '3 3 c k'], gradient: Float[Array, 'b h w k']) -> Float[Array, 'b h w c']:
    """The gradient with respect to the input, as XLA computes it."""
    x = jax.ShapeDtypeStruct((*gradient.shape[:-1], kernel.shape[2]), gradient.dtype)
    return jax.linear_transpose(lambda x: _plain(x, kernel), x)(gradient)[0]


def input_gradient_by_product(
    kernel: Float[Array, '3 3 c k'], gradient: Float[Array, 'b h w k']
) -> Float[Array, 'b h w c']:
    """The same by one product with the kernel as it lies in memory, whose nine parts are moved and added."""
    b, h, w, k = gradient.shape
    c = kernel.shape[2]
    product = lax.dot_general(gradient.reshape(-1, k), kernel.reshape(-1, k), (((1,), (1,)), ((), ())))
    parts = product.reshape(b, h, w, 3, 3, c)
    # The part of a place in the kernel belongs to the pixel that the place looked at: one row up for the first.
    moved = [
        jnp.pad(parts[:, :, :, i, j], ((0, 0), (i, 2 - i), (j, 2 - j), (0, 0))) for i in range(3) for j in range(3)
    ]
    return functools.reduce(jnp.add, moved)[:, 1:-1, 1:-1]
