"""How far a student's prediction is from a teacher's, pixel by pixel (Jha et al. 2020, eq. 3 and 4; spec B3)."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

Prediction = Float[Array, 'b h w c']
PerPixel = Float[Array, 'b h w 1']


def l2(student: Prediction, teacher: Prediction) -> PerPixel:
    """‖s - t‖₂ over channels; its gradient is 0 where the two are equal."""
    squared = squared_l2(student, teacher)
    # The root's own gradient at 0 is infinite, and would become NaN as soon as it is multiplied by 0.
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def squared_l2(student: Prediction, teacher: Prediction) -> PerPixel:
    """‖s - t‖₂² over channels."""
    return jnp.sum(jnp.square(student - teacher), axis=-1, keepdims=True)


def kl(p: Prediction, q: Prediction) -> PerPixel:
    """KL(p ‖ q) = Σ_c p_c (log p_c - log q_c) in nats, from log-probabilities."""
    return jnp.sum(jnp.exp(p) * (p - q), axis=-1, keepdims=True)


REGRESSION: Mapping[str, Callable[[Array, Array], Array]] = {'l2': l2, 'squared_l2': squared_l2}
