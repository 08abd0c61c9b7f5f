"""How far a student's prediction is from a teacher's, pixel by pixel (Jha et al. 2020, eq. 3 and 4; papers.md B3)."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

Prediction = Float[Array, 'b h w c']
PerPixel = Float[Array, 'b h w 1']


def l2(student: Prediction, teacher: Prediction) -> PerPixel:
    """‖s - t‖₂ over channels; its gradient is 0 where the two are equal."""
    squared = squared_l2(student, teacher)
    # The root's own gradient at 0 is infinite, and would become NaN as soon as it is multiplied by 0.
    equal = squared == 0
    return jnp.where(equal, 0.0, jnp.sqrt(jnp.where(equal, 1.0, squared)))


def squared_l2(student: Prediction, teacher: Prediction) -> PerPixel:
    """‖s - t‖₂² over channels."""
    return jnp.sum(jnp.square(student - teacher), axis=-1, keepdims=True)


def kl(p: Prediction, q: Prediction) -> PerPixel:
    """KL(p ‖ q) = Σ_c p_c (log p_c - log q_c) in nats, from log-probabilities."""
    return jnp.sum(jnp.exp(p) * (p - q), axis=-1, keepdims=True)


def mean_score(a: Prediction, b: Prediction) -> Prediction:
    """log((e^a + e^b) / 2): the mean of two softmax scores, from and as log-probabilities."""
    return jnp.logaddexp(a, b) - jnp.log(2.0)


REGRESSION: Mapping[str, Callable[[Array, Array], Array]] = {'l2': l2, 'squared_l2': squared_l2}

CLASSES: Mapping[str, Callable[[Array, Array], Array]] = {
    'kl': kl,
    'reverse_kl': lambda student, teacher: kl(teacher, student),
    'l2': lambda student, teacher: l2(jnp.exp(student), jnp.exp(teacher)),
    'squared_l2': lambda student, teacher: squared_l2(jnp.exp(student), jnp.exp(teacher)),
}
"""Of log-probabilities."""
