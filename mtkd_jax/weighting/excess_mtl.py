"""ExcessMTL: weights by how far each task is from what it could reach, which label noise does not raise.

The excess risk is estimated to second order, with Adagrad's diagonal for the Hessian: S_t ← S_t + g_t²,
E_t = Σ_p g_t² / √(S_t + 1e-7), relative to its first value. Then w_t ← w_t exp(η E_t / E_t(0)), scaled to Σ_t w_t = T.

Y. He, S. Zhou, G. Zhang, H. Yun, Y. Xu, B. Zeng, T. Chilimbi, H. Zhao, "Robust Multi-Task Learning with Excess Risks",
2024. Needs the gradients: S is [T, P] float32; the direction is Σ_t w_t g_t. It does not read the losses. As the
authors' code, but the state holds log w, which cannot overflow. A task without a label, or whose E is 0, keeps its
weight. The weights of the others are scaled to the sum that they had.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting.base import Weighting, check_positive, full_precision


class State(NamedTuple):
    """`squares`: S. `initial`: E(0), 0 until known. `log_weights`: log w."""

    squares: Float[Array, 't p']
    initial: Float[Array, 't']
    log_weights: Float[Array, 't']


def excess_mtl(*, step_size: float = 1e-2) -> Weighting:
    """`step_size`: η (the authors' `robust_step_size`)."""
    check_positive('step_size', step_size)

    def init(num_tasks: int, num_parameters: int) -> State:
        return State(jnp.zeros((num_tasks, num_parameters)), jnp.zeros(num_tasks), jnp.zeros(num_tasks))

    def weights(state: State) -> Array:
        return len(state.log_weights) * jax.nn.softmax(state.log_weights)

    @full_precision
    def update(
        state: State, losses: Float[Array, 't'], jacobian: Float[Array, 't p'], labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        squares = state.squares + jacobian**2
        excess = jnp.sum(jacobian**2 / jnp.sqrt(squares + 1e-7), axis=1)
        measured = labelled & (excess > 0)
        relative = excess / jnp.where(state.initial > 0, state.initial, 1.0)
        moves = measured & (state.initial > 0)
        moved = state.log_weights + step_size * relative
        scale = [jax.nn.logsumexp(jnp.where(moves, x, -jnp.inf)) for x in (state.log_weights, moved)]
        log_weights = jnp.where(moves, moved + scale[0] - scale[1], state.log_weights)
        initial = jnp.where(measured & (state.initial == 0), excess, state.initial)
        new = State(squares, initial, log_weights)
        return weights(new) @ jacobian, new

    return Weighting(init, update, 'gradients', lambda state: {'weight': weights(state)})
