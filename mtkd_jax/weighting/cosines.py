"""A Gramian taken apart into lengths and cosines: float32 then holds gradients of 1e-6 and of 1e6 at once."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Cosines(NamedTuple):
    """A Gramian taken apart: G_ij = scale² length_i length_j cosine_ij.

    `cosine`: 1 on the diagonal; 0 in the rest of a row whose gradient is zero. `length`: gradient norms relative to the
    largest, 1 where zero. `scale`: the largest norm, 1 where all are zero. `moves`: which gradients are not zero.
    """

    cosine: Float[Array, 't t']
    length: Float[Array, 't']
    scale: Float[Array, '']
    moves: Bool[Array, 't']


def cosines(gramian: Float[Array, 't t']) -> Cosines:
    """Lengths and cosines of the task gradients. The smallest normal float32 squared length still counts."""
    squared = jnp.diagonal(gramian)
    moves = squared >= jnp.finfo(gramian.dtype).tiny
    norm = jnp.sqrt(jnp.where(moves, squared, 1.0))
    scale = jnp.max(jnp.where(moves, norm, 0.0))
    scale = jnp.where(scale > 0, scale, 1.0)
    # Two divisions: the product of two norms can leave float32's range.
    cosine = jnp.where(moves[:, None] & moves[None, :], gramian / norm[:, None] / norm[None, :], 0.0)
    cosine = jnp.clip((cosine + cosine.T) / 2, -1.0, 1.0)
    cosine = jnp.where(jnp.eye(len(norm), dtype=bool), 1.0, cosine)
    return Cosines(cosine, jnp.where(moves, norm / scale, 1.0), scale, moves)


def simplex_shares(parts: Cosines) -> Float[Array, 't']:
    """a with w_t = a_t y_t, where y_t is the length of task t's part of Σ w_t g_t in units of the shortest gradient.

    In y the simplex is aᵀy = 1. a is 0 for tasks that do not move; if none does, it is 1 for all.
    """
    shortest = jnp.min(jnp.where(parts.moves, parts.length, 1.0))
    return jnp.where(parts.moves, shortest / parts.length, jnp.where(parts.moves.any(), 0.0, 1.0))
