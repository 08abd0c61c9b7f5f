"""DB-MTL: losses balanced by the logarithm, gradients by their norms.

The gradient of log ℓ_t is g_t / ℓ_t. Its moving average is m_t ← β_k m_t + (1 − β_k) g_t / ℓ_t, with β_k = β / k^σ at
step k. The direction is Σ_t α_t m_t with α_t = max_s ‖m_s‖ / ‖m_t‖: every task's part is as long as the longest.

B. Lin, W. Jiang, F. Ye, Y. Zhang, P. Chen, Y.-C. Chen, S. Liu, J. Kwok, "Dual-Balancing for Multi-Task Learning",
2023. Needs the gradients: m is [T, P] float32. The weights that it reports are those of the losses, α_t / ℓ_t. The
authors' code gives heads the gradient of log ℓ_t; how heads are scaled is not decided here. A task without a label
keeps its m and is left out of the direction.

Needs positive losses. A loss of exactly 0 counts as `base.RESOLUTION`: g_t / ℓ_t has no limit.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax.weighting.base import Weighting, check_not_negative, check_part, full_precision, positive_losses


class State(NamedTuple):
    """`step`: updates so far. `average`: m. `weights`: α / ℓ of the last step."""

    step: Int[Array, '']
    average: Float[Array, 't p']
    weights: Float[Array, 't']


def db_mtl(*, beta: float = 0.9, beta_sigma: float = 0.0) -> Weighting:
    """`beta`: β, the part of the past. `beta_sigma`: σ of its decay; 0 keeps it."""
    check_part('beta', beta)
    check_not_negative('beta_sigma', beta_sigma)

    def init(num_tasks: int, num_parameters: int) -> State:
        return State(jnp.zeros((), jnp.int32), jnp.zeros((num_tasks, num_parameters)), jnp.zeros(num_tasks))

    @full_precision
    @positive_losses
    def update(
        state: State, losses: Float[Array, 't'], jacobian: Float[Array, 't p'], labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        step = state.step + 1
        past = beta / step.astype(losses.dtype) ** beta_sigma
        balanced = jacobian / losses[:, None]
        average = jnp.where(labelled[:, None], past * state.average + (1 - past) * balanced, state.average)
        norm = jnp.where(labelled, jnp.linalg.norm(average, axis=1), 0.0)
        weights = jnp.where(norm > 0, jnp.max(norm) / jnp.where(norm > 0, norm, 1.0), 0.0)
        return weights @ average, State(step, average, weights / losses)

    return Weighting(init, update, 'gradients', lambda state: {'weight': state.weights})
