"""Array operations that several subpackages share: masked means, normalisation, pooling that remembers where."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def widened(x: Array) -> Array:
    """`x` in float32; in float64 where it is that already (`jax_enable_x64`)."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def masked_mean(values: Float[Array, 'b h w 1'], mask: Bool[Array, 'b h w 1']) -> Float[Array, '']:
    """Mean of `values` where `mask` is true, over the whole batch; 0 (with zero gradient) when it is nowhere true."""
    # `where` rather than a product: an infinite value at an undefined pixel must not become NaN.
    total = jnp.sum(widened(jnp.where(mask, values, 0.0)))
    return total / jnp.maximum(jnp.sum(mask, dtype=total.dtype), 1.0)


def weighted_mean(
    values: Float[Array, 'b h w 1'], weights: Float[Array, 'b h w 1'], mask: Bool[Array, 'b h w 1']
) -> Float[Array, '']:
    """Σ w v / Σ w where `mask` is true, over the whole batch; 0 (with zero gradient) where no weight is positive."""
    weights = widened(jnp.where(mask, weights, 0.0))
    total, whole = jnp.sum(weights * widened(jnp.where(mask, values, 0.0))), jnp.sum(weights)
    return jnp.where(whole > 0, total / jnp.where(whole > 0, whole, 1.0), 0.0)


def unit_normalise(x: Float[Array, '... c'], epsilon: float = 0.0) -> Float[Array, '... c']:
    """`x` divided by its Euclidean norm over the last axis, √(Σ_c x² + ε).

    A zero vector stays zero; with ε = 0 its gradient is zero, too.
    """
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True) + epsilon
    # Dividing by a tiny number instead would give a single untrained pixel a huge gradient, which stays in Adam's
    # second moment for the whole run.
    # Compared with 0 and not with what is positive: NaN stays NaN.
    zero = squared == 0
    return jnp.where(zero, 0.0, x / jnp.sqrt(jnp.where(zero, 1.0, squared)))


def linear_cka(a: Float[Array, 'n c'], b: Float[Array, 'n d']) -> Float[Array, '']:
    """Linear centred kernel alignment of two representations of the same n inputs, 0 to 1 (Kornblith et al. 2019).

    ‖BᵀA‖² / (‖AᵀA‖ ‖BᵀB‖) with Frobenius norms and centred columns; 0 where one of them is constant.
    """

    def prepared(x: Array) -> Array:
        x = widened(x)
        x = x - jnp.mean(x, axis=0)
        # Scale does not matter to the result, but products of large features overflow.
        return x / jnp.maximum(jnp.max(jnp.abs(x)), 1e-20)

    a, b = prepared(a), prepared(b)
    norms = jnp.linalg.norm(a.T @ a) * jnp.linalg.norm(b.T @ b)
    constant = norms == 0
    return jnp.where(constant, 0.0, jnp.sum(jnp.square(b.T @ a)) / jnp.where(constant, 1.0, norms))


def max_pool_argmax(
    x: Float[Array, 'b h w c'],
) -> tuple[Float[Array, 'b h2 w2 c'], Int[Array, 'b h2 w2 c']]:
    """2×2 max pooling with stride 2 that also returns which of the four window positions held the maximum.

    Positions are numbered row by row (0 1 / 2 3); among equals the first wins, and it alone receives the gradient.
    `h` and `w` must be even.
    """
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(f'2×2 pooling needs an even height and width, got {h}×{w}; resize the images.')
    windows = x.reshape(b, h // 2, 2, w // 2, 2, c)
    corners = [windows[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]
    pooled, index = corners[0], jnp.zeros(corners[0].shape, jnp.int8)
    for position, corner in enumerate(corners[1:], 1):
        larger = corner > pooled
        pooled = jnp.where(larger, corner, pooled)
        index = jnp.where(larger, jnp.int8(position), index)
    return pooled, index


def max_unpool(x: Float[Array, 'b h w c'], index: Int[Array, 'b h w c']) -> Float[Array, 'b h2 w2 c']:
    """Inverse of `max_pool_argmax`: each value returns to its remembered position, the other three become zero."""
    b, h, w, c = x.shape
    # Repeat and select stays inside each window: unlike a scatter it adds no collectives and can be exported.
    position = jnp.arange(4, dtype=index.dtype).reshape(1, 1, 2, 1, 2, 1)
    spread = jnp.where(index[:, :, None, :, None] == position, x[:, :, None, :, None], 0)
    return spread.reshape(b, 2 * h, 2 * w, c)


def upsample_bilinear(x: Float[Array, 'b h w c']) -> Float[Array, 'b h2 w2 c']:
    """Twice the height and width by bilinear interpolation, the corner pixels' centres kept in place."""

    def weights(size: int) -> Array:
        position = np.linspace(0, size - 1, 2 * size)[:, None]
        return jnp.asarray(np.maximum(0, 1 - np.abs(position - np.arange(size))), x.dtype)

    # Matrices rather than gathers, whose gradients are scatters.
    _, h, w, _ = x.shape
    return jnp.einsum('ih,jw,bhwc->bijc', weights(h), weights(w), x, precision='highest')
