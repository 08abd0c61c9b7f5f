"""The 3×3 convolution of the networks, and how a CPU computes it where XLA's own form is slow.

With many channels, in programs that say so (`tiles_on_cpus`), it and its gradients go by tiles: Winograd's minimal
filtering F(2×2, 3×3) (Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1) takes 16
products for four outputs of a channel instead of 36, and some additions. It rounds about as much as XLA's own
(docs/performance.md says how much, and what it gains), but not alike everywhere: where the same pattern lies otherwise
in its tile, outputs that XLA makes equal differ in the last bits (not where the input is constant).

The same programs compute the gradient of a kernel with few outputs, for few images, as part of that of a wider kernel,
for which XLA has better code (`WIDENED`).

GPUs and TPUs keep XLA's own forms. A convolution of which a CPU computes anything otherwise has no forward mode
(`jax.jvp`): JAX has none for functions with a backward pass of their own.

In one dimension a tile is four inputs d, of which three weights g make two outputs:

    u = (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2)
    m = u · (d0 - d2, d1 + d2, d2 - d1, d1 - d3)
    outputs = (m0 + m1 + m2, m1 - m2 - m3)

In two dimensions each line is done for rows, then for columns. Its 16 products, each summed over channels, are 16
products of matrices, tiles × inputs by inputs × outputs.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType
from jaxtyping import Array, Float

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
LEAST_PRODUCTS = 2**26
"""Products of numbers in the plain convolution from which tiles can pay."""
LEAST_CHANNELS = 64
"""Inputs and outputs from which tiles can pay. For a kernel's gradient the larger of both must be twice that."""
LARGE_CHANNELS, LARGE_BYTES = 256, 2**26
"""Tiles of more bytes leave a CPU's cache; then they pay from so many channels, and what is widened never does."""
FEW_IMAGES, FEW_OUTPUTS, WIDENED = (1, 2, 4), 16, 32
"""For so many images, and so many outputs at most, a kernel's gradient is computed with this many outputs, the further
ones zero: XLA leaves the narrow one to Eigen, which gathers its input number by number."""
LEAST_WIDENED = 2**22
"""Products of numbers in the plain convolution from which that pays."""

Row = tuple[Array, ...]
_TILES = ContextVar('tiles', default=False)


@contextlib.contextmanager
def tiles_on_cpus() -> Iterator[None]:
    """What is traced meanwhile may go by tiles on CPUs, or be widened; also a decorator of what is traced.

    For programs that are compiled with the options of `training/compiled.py`. Without them XLA transforms the kernels
    of a whole network at once, which takes more memory and time than tiles save.
    """
    token = _TILES.set(True)
    try:
        yield
    finally:
        _TILES.reset(token)


def convolve(x: Float[Array, 'b h w c'], kernel: Float[Array, '3 3 c k']) -> Float[Array, 'b h w k']:
    """`x` convolved with `kernel`, padded with zeros to its own size."""
    known = all(isinstance(size, int) for size in x.shape)
    # Elsewhere (`shard_map`, explicit sharding) arrays have types that only JAX's own gradients keep.
    automatic = all(kind == AxisType.Auto for kind in jax.typeof(x).sharding.mesh.axis_types)
    possible = _TILES.get() and known and automatic and x.dtype == jnp.float32
    pays = possible and (_of_maps(x, kernel) or _of_kernels(x, kernel) or _widened(x, kernel))
    return (_chosen if pays else plain)(x, kernel)


def _of_maps(x: Array, kernel: Array) -> bool:
    """Whether tiles pay for the convolution, and for the gradient of its input."""
    positions, channels = math.prod(x.shape[:-1]), kernel.shape[2:]
    large = 16 * positions * sum(channels) > LARGE_BYTES  # 16 numbers of 4 bytes in place of 4
    return _much(x, kernel) and min(channels) >= (LARGE_CHANNELS if large else LEAST_CHANNELS)


def _of_kernels(x: Array, kernel: Array) -> bool:
    """Whether tiles pay for the gradient of the kernel."""
    inputs, outputs = kernel.shape[2:]
    return _much(x, kernel) and min(inputs, outputs) >= LEAST_CHANNELS and max(inputs, outputs) >= 2 * LEAST_CHANNELS


def _widened(x: Array, kernel: Array) -> bool:
    """Whether the gradient of the kernel pays as part of that of a wider one."""
    few = x.shape[0] in FEW_IMAGES and kernel.shape[-1] <= FEW_OUTPUTS
    small = 4 * WIDENED * math.prod(x.shape[:-1]) <= LARGE_BYTES
    return few and small and _much(x, kernel, LEAST_WIDENED)


def _much(x: Array, kernel: Array, least: int = LEAST_PRODUCTS) -> bool:
    return math.prod(x.shape[:-1]) * math.prod(kernel.shape) >= least


def plain(x: Float[Array, 'b h w c'], kernel: Float[Array, '3 3 c k']) -> Float[Array, 'b h w k']:
    """The convolution, as XLA computes it."""
    return lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=DIMENSIONS)


def input_gradient(kernel: Float[Array, '3 3 c k'], gradient: Float[Array, 'b h w k']) -> Float[Array, 'b h w c']:
    """The gradient of the input, as XLA computes it."""
    x = jax.ShapeDtypeStruct((*gradient.shape[:-1], kernel.shape[2]), gradient.dtype)
    return jax.linear_transpose(lambda x: plain(x, kernel), x)(gradient)[0]


def kernel_gradient(x: Float[Array, 'b h w c'], gradient: Float[Array, 'b h w k']) -> Float[Array, '3 3 c k']:
    """The gradient of the kernel, as XLA computes it."""
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], gradient.shape[-1]), gradient.dtype)
    return jax.linear_transpose(lambda kernel: plain(x, kernel), kernel)(gradient)[0]


def kernel_gradient_widened(x: Float[Array, 'b h w c'], gradient: Float[Array, 'b h w k']) -> Float[Array, '3 3 c k']:
    """The gradient of the kernel, as XLA computes that of one with `WIDENED` outputs."""
    outputs = gradient.shape[-1]
    wide = jnp.pad(gradient, ((0, 0), (0, 0), (0, 0), (0, WIDENED - outputs)))
    return kernel_gradient(x, wide)[..., :outputs]


@jax.custom_vjp
def _chosen(x: Array, kernel: Array) -> Array:
    return _on_cpus(by_tiles if _of_maps(x, kernel) else plain, plain)(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _chosen(x, kernel), (x, kernel)


def _backward(kept: tuple[Array, Array], gradient: Float[Array, 'b h w k']) -> tuple[Array, Array]:
    x, kernel = kept
    of_input = input_gradient_by_tiles if _of_maps(x, kernel) else input_gradient
    of_kernel = kernel_gradient
    if _of_kernels(x, kernel):
        of_kernel = kernel_gradient_by_tiles
    elif _widened(x, kernel):
        of_kernel = kernel_gradient_widened
    return _on_cpus(of_input, input_gradient)(kernel, gradient), _on_cpus(of_kernel, kernel_gradient)(x, gradient)


_chosen.defvjp(_forward, _backward)


def _on_cpus(form: Callable[..., Array], default: Callable[..., Array]) -> Callable[..., Array]:
    """`form` on CPUs and `default` elsewhere. Only where JAX does not differentiate: it would compute both."""
    if form is default:
        return default
    return lambda *given: lax.platform_dependent(*given, cpu=form, default=default)


def by_tiles(x: Float[Array, 'b h w c'], kernel: Float[Array, '3 3 c k']) -> Float[Array, 'b h w k']:
    """The convolution by tiles."""
    # Kernels are there from the start: XLA would transform all of them first.
    x, kernel = lax.optimization_barrier((x, kernel))
    return _outputs([d @ u for d, u in zip(_inputs(x), _weights(kernel), strict=True)], x)


def input_gradient_by_tiles(
    kernel: Float[Array, '3 3 c k'], gradient: Float[Array, 'b h w k']
) -> Float[Array, 'b h w c']:
    """The gradient of the input by tiles: the convolution with the kernel turned by 180°, its channels exchanged."""
    # Without the barrier XLA would keep the transformed kernel, which is larger, from the forward pass.
    kernel, gradient = lax.optimization_barrier((kernel, gradient))
    # Turned, the weights of a row are u3, u1, u2, u0.
    turned = [(3, 1, 2, 0)[row] * 4 + (3, 1, 2, 0)[column] for row in range(4) for column in range(4)]
    weights = _weights(kernel)
    return _outputs(
        [
            lax.dot_general(d, weights[i], (((1,), (1,)), ((), ())))
            for d, i in zip(_inputs(gradient), turned, strict=True)
        ],
        gradient,
    )


def kernel_gradient_by_tiles(x: Float[Array, 'b h w c'], gradient: Float[Array, 'b h w k']) -> Float[Array, '3 3 c k']:
    """The gradient of the kernel by tiles: the transposes of `_outputs` and `_weights` around the same products."""
    # As in `input_gradient_by_tiles`, of the transformed input.
    x, gradient = lax.optimization_barrier((x, gradient))
    b, h, w, k = gradient.shape
    pairs = jnp.pad(gradient, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    pairs = pairs.reshape(b, -(-h // 2), 2, -(-w // 2), 2, k)

    def of_products(y0: Array, y1: Array) -> Row:
        return y0, y0 + y1, y0 - y1, -y1

    def of_weights(u0: Array, u1: Array, u2: Array, u3: Array) -> Row:
        half = (u1 + u2) / 2
        return u0 + half, (u1 - u2) / 2, half + u3

    of_tiles = _rows_then_columns(of_products, [pairs[:, :, i, :, j].reshape(-1, k) for i in (0, 1) for j in (0, 1)])
    weights = [lax.dot_general(d, m, (((0,), (0,)), ((), ()))) for d, m in zip(_inputs(x), of_tiles, strict=True)]
    return jnp.stack(_rows_then_columns(of_weights, weights)).reshape(3, 3, x.shape[-1], k)


def _rows_then_columns(transform: Callable[..., Row], square: Sequence[Array]) -> list[Array]:
    """`transform` of each row of a square of arrays, then of each column; both squares row by row."""
    side = math.isqrt(len(square))
    rows = [transform(*square[i : i + side]) for i in range(0, len(square), side)]
    columns = [transform(*column) for column in zip(*rows, strict=True)]
    return [entry for row in zip(*columns, strict=True) for entry in row]


def _weights(kernel: Float[Array, '3 3 c k']) -> list[Float[Array, 'c k']]:
    """u of all places of a tile."""

    def of_weights(g0: Array, g1: Array, g2: Array) -> Row:
        outer = g0 + g2
        return g0, (outer + g1) / 2, (outer - g1) / 2, g2

    return _rows_then_columns(of_weights, [kernel[i, j] for i in range(3) for j in range(3)])


def _inputs(x: Float[Array, 'b h w c']) -> list[Float[Array, 'n c']]:
    """What u is multiplied with, of all places of a tile, for all n tiles of 2×2 outputs."""
    b, h, w, c = x.shape
    rows, columns = -(-h // 2), -(-w // 2)
    pairs = jnp.pad(x, ((0, 0), (1, 1 + h % 2), (1, 1 + w % 2), (0, 0))).reshape(b, rows + 1, 2, columns + 1, 2, c)

    def of_inputs(d0: Array, d1: Array, d2: Array, d3: Array) -> Row:
        return d0 - d2, d1 + d2, d2 - d1, d1 - d3

    # Neighbouring tiles share two rows and two columns.
    square = [
        pairs[:, i // 2 : i // 2 + rows, i % 2, j // 2 : j // 2 + columns, j % 2].reshape(-1, c)
        for i in range(4)
        for j in range(4)
    ]
    return _rows_then_columns(of_inputs, square)


def _outputs(products: Sequence[Float[Array, 'n k']], like: Float[Array, 'b h w _']) -> Float[Array, 'b h w k']:
    """The outputs of all tiles, in the size of `like`."""
    b, h, w, _ = like.shape
    rows, columns = -(-h // 2), -(-w // 2)

    def of_products(m0: Array, m1: Array, m2: Array, m3: Array) -> Row:
        return m0 + m1 + m2, m1 - m2 - m3

    y00, y01, y10, y11 = (y.reshape(b, rows, columns, -1) for y in _rows_then_columns(of_products, products))
    pairs = jnp.stack([jnp.stack([y00, y01], 3), jnp.stack([y10, y11], 3)], 2)
    return pairs.reshape(b, 2 * rows, 2 * columns, -1)[:, :h, :w]
