"""IMTL: impartial to the tasks' gradients, and to the scales of their losses.

Gradient half: Σ_t w_t = 1 and a direction with equal projections on all unit gradients. So w ∝ G⁺ n with n_t = ‖g_t‖;
weights may be negative. Loss half: scales s_t are learned with the network, on Σ_t exp(s_t) ℓ_t − s_t. So
w_t = exp s_t, and at rest exp(s_t) ℓ_t = 1. Both: the gradient half on the gradients of the scaled losses, times the
scales.

L. Liu, Y. Li, Z. Kuang, J.-H. Xue, Y. Chen, W. Yang, Q. Liao, W. Zhang, "Towards Impartial Multi-task Learning", 2021.
Needs the Gramian (`halves='loss'`: the losses). State: s and its Adam.

The pseudo-inverse is of the matrix of cosines, w = D⁻¹(D⁻¹GD⁻¹)⁺1 with D = diag(n). That is the same where the
gradients are independent, and keeps float32's digits where their lengths differ. Where the solution's weights cancel,
Σ_t w_t = 1 would ask for weights without bound; the sum is taken to be at least 1e-3 of Σ_t |w_t|. No code was
published. s has an Adam of its own, whose default learning rate is the network's usual one. A zero gradient has weight
0 in the gradient half. Losses may have any sign, but s has a rest only where the mean loss is positive: otherwise it
grows at every step.
"""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting.base import Weighting, check_choice, check_positive, full_precision
from mtkd_jax.weighting.cosines import cosines
from mtkd_jax.weighting.solver import RIDGE


class State(NamedTuple):
    """`log_scale`: s (zeros without the loss half). `adam`: its optimiser's state."""

    log_scale: Float[Array, 't']
    adam: Any


def imtl(halves: Literal['both', 'gradient', 'loss'] = 'both', *, learning_rate: float = 1e-4) -> Weighting:
    """`halves`: which of the two are used. `learning_rate`: of s."""
    check_choice('halves', halves, ('both', 'gradient', 'loss'))
    check_positive('learning_rate', learning_rate)
    optimizer = optax.adam(learning_rate)

    def init(num_tasks: int) -> State:
        return State(jnp.zeros(num_tasks), optimizer.init(jnp.zeros(num_tasks)))

    @full_precision
    def update(
        state: State, losses: Float[Array, 't'], gramian: Float[Array, 't t'] | None, labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        scale = jnp.exp(state.log_scale)
        weights = scale
        if halves != 'loss':
            assert gramian is not None
            weights = scale * impartial(gramian * scale[:, None] * scale[None, :])
        if halves == 'gradient':
            return weights, state
        step, adam = optimizer.update(jnp.where(labelled, scale * losses - 1, 0.0), state.adam)
        return weights, State(jnp.where(labelled, state.log_scale + step, state.log_scale), adam)

    needs: Literal['losses', 'gramian'] = 'losses' if halves == 'loss' else 'gramian'
    return Weighting(init, update, needs, lambda state: {'log_scale': state.log_scale})


def impartial(gramian: Float[Array, 't t']) -> Float[Array, 't']:
    """The gradient half."""
    parts = cosines(gramian)
    values, vectors = jnp.linalg.eigh(parts.cosine)
    kept = values > len(values) * RIDGE
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1.0), 0.0)
    along = vectors @ (inverse * (vectors.T @ parts.moves.astype(gramian.dtype)))
    weights = jnp.where(parts.moves, along / parts.length, 0.0)
    total, size = weights.sum(), jnp.abs(weights).sum()
    total = jnp.where(total < 0, -1.0, 1.0) * jnp.maximum(jnp.abs(total), 1e-3 * size)
    return weights / jnp.where(size > 0, total, 1.0)
