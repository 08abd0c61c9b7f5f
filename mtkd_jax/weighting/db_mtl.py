"""DB-MTL: balanced losses by the logarithm, balanced gradients by their norms.

With the gradients of log ℓ_t, g_t / ℓ_t, and their moving averages m_t ← β_k m_t + (1 − β_k) g_t / ℓ_t, β_k = β / k^σ
at step k, the direction is Σ_t α_t m_t, α_t = max_s ‖m_s‖ / ‖m_t‖: every task's part is as long as the longest.

B. Lin, W. Jiang, F. Ye, Y. Zhang, P. Chen, Y.-C. Chen, S. Liu, J. Kwok, "Dual-Balancing for Multi-Task Learning",
2023. Needs the gradients: m is [T, P] float32. The weights it reports are those of the losses, α_t / ℓ_t. The authors'
code gives heads the gradient of log ℓ_t; how heads are scaled is not decided here. A task without a label keeps its m
and is left out of the direction.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mtkd_jax.weighting.base import Weighting, check_not_negative, check_part, full_precision, labelled


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
    def update(state: State, losses: Float[Array, 't'], jacobian: Float[Array, 't p']) -> tuple[Array, State]:
        present = labelled(losses)
        step = state.step + 1
        past = beta / step.astype(losses.dtype) ** beta_sigma
        safe = jnp.where(present, losses, 1.0)
        balanced = jacobian / safe[:, None]
        average = jnp.where(present[:, None], past * state.average + (1 - past) * balanced, state.average)
        norm = jnp.where(present, jnp.linalg.norm(average, axis=1), 0.0)
        weights = jnp.where(norm > 0, jnp.max(norm) / jnp.where(norm > 0, norm, 1.0), 0.0)
        return weights @ average, State(step, average, weights / safe)

    return Weighting(init, update, 'gradients', lambda state: {'weight': state.weights})
