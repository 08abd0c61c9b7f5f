"""MoCo: MGDA's weights from moving averages of the gradients, which a batch's noise does not bias.

y_t ← y_t − β_k (y_t − h_t), λ ← Π(λ − γ_k (YYᵀ + ρI) λ), and the direction is Σ_t λ_t y_t. At step k, β_k = β / k^σ and
γ_k = γ / k^τ.

H. Fernando, H. Shen, M. Liu, S. Chaudhury, K. Murugesan, T. Chen, "Mitigating Gradient Bias in Multi-objective
Learning: A Provably Convergent Approach", 2023. Needs the gradients: y is [T, P] float32.

Defaults are those of the authors' multi-task code: h_t = ℓ_t g_t / ‖g_t‖, and Π is a softmax. The paper's algorithm is
`normalise=False, projection='simplex'`. A task without a label keeps its y and its λ and is left out of the direction
and of the others' λ.

`normalise` needs positive losses: one below 0 would turn its gradient around. A loss of exactly 0 counts as
`base.RESOLUTION`, close to the limit h_t = 0.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax.weighting.base import (
    Weighting,
    check_choice,
    check_not_negative,
    check_part,
    check_positive,
    full_precision,
    positive_losses,
)
from mtkd_jax.weighting.simplex import among, to_simplex


class State(NamedTuple):
    """`step`: updates so far. `average`: y. `weights`: λ."""

    step: Int[Array, '']
    average: Float[Array, 't p']
    weights: Float[Array, 't']


def moco(
    *,
    beta: float = 0.5,
    beta_sigma: float = 0.5,
    gamma: float = 0.1,
    gamma_sigma: float = 0.5,
    rho: float = 0.0,
    normalise: bool = True,
    projection: Literal['softmax', 'simplex'] = 'softmax',
) -> Weighting:
    """`beta`, `gamma`: step sizes of y and λ; `beta_sigma`, `gamma_sigma`: σ and τ; `rho`: regularisation of λ.

    `normalise`: whether h_t is ℓ_t g_t / ‖g_t‖, or g_t. `projection`: Π.
    """
    check_choice('projection', projection, ('softmax', 'simplex'))
    check_positive('beta', beta)
    check_part('beta', beta)
    check_positive('gamma', gamma)
    for name, value in (('beta_sigma', beta_sigma), ('gamma_sigma', gamma_sigma), ('rho', rho)):
        check_not_negative(name, value)

    def onto(weights: Array, there: Array) -> Array:
        if projection == 'simplex':
            return to_simplex(weights, there)
        return jax.nn.softmax(jnp.where(there, weights, -jnp.inf))

    def init(num_tasks: int, num_parameters: int) -> State:
        average = jnp.zeros((num_tasks, num_parameters))
        return State(jnp.zeros((), jnp.int32), average, jnp.full(num_tasks, 1 / num_tasks, jnp.float32))

    @full_precision
    def update(
        state: State, losses: Float[Array, 't'], jacobian: Float[Array, 't p'], labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        step = state.step + 1
        count = step.astype(losses.dtype)
        sample = jacobian
        if normalise:
            norm = jnp.linalg.norm(jacobian, axis=1)
            sample = (losses / jnp.where(norm > 0, norm, 1.0))[:, None] * jacobian
        moved = state.average - beta / count**beta_sigma * (state.average - sample)
        average = jnp.where(labelled[:, None], moved, state.average)
        there = labelled & jnp.any(average != 0, axis=1)

        def follow(weights: Array) -> Array:
            pull = average @ (average.T @ weights) + rho * weights
            return onto(weights - gamma / count**gamma_sigma * pull, there)

        weights = among(there, state.weights, follow)
        return jnp.where(labelled, weights, 0.0) @ average, State(step, average, weights)

    shown = positive_losses(update) if normalise else update
    return Weighting(init, shown, 'gradients', lambda state: {'weight': state.weights})
