"""Weights on the simplex that move for some of the tasks only."""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float


def to_simplex(weights: Float[Array, 't'], there: Bool[Array, 't']) -> Float[Array, 't']:
    """The nearest point of the simplex of the tasks that are `there`; 0 for the others. One of them has to be."""
    # A shift changes nothing, but keeps the digits of large weights. What is 1 below the largest is projected to 0.
    shifted = weights - jnp.max(jnp.where(there, weights, -jnp.inf))
    return optax.projections.projection_simplex(jnp.where(there, shifted, -2.0))


def among(there: Bool[Array, 't'], weights: Float[Array, 't'], follow: Callable[[Array], Array]) -> Float[Array, 't']:
    """A step on the simplex of the tasks that are `there`, as if there were no others; the others keep their weight.

    `follow`: weights of the tasks that are there, of sum 1, and 0 elsewhere → the next ones.
    """
    mass = jnp.maximum(1 - jnp.sum(jnp.where(there, 0.0, weights)), 0.0)
    moves = there & (mass > 0)
    relative = jnp.where(moves, weights / jnp.where(mass > 0, mass, 1.0), 0.0)
    return jnp.where(moves, mass * follow(relative), weights)
