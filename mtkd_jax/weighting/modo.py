"""MoDo: MGDA's weights from pairs of independent batches, whose product is not biased.

With J₁, J₂ the gradients of two batches and C = J₁J₂ᵀ, an unbiased Gramian, w makes one projected step:
w ← Π(w − γ (C + ρI) w). The direction is wᵀJ₃.

L. Chen, H. Fernando, Y. Ying, T. Chen, "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization
and Conflict-Avoidance", 2023. Needs the gradients: the last J, [T, P] float32, is kept.

The authors draw three batches for every step. Here the step's own batch is the third, and the two batches before it are
the first pair. They are as independent and cost no further passes, but they are one and two steps older. So w stays
uniform for two steps. The authors take the heads' gradients from all three batches. A task that is absent or has a zero
gradient in one of the pair keeps its w; the others move as if it were not there.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting.base import Weighting, check_not_negative, check_positive, full_precision
from mtkd_jax.weighting.simplex import among, to_simplex


class State(NamedTuple):
    """`last`: the gradients of the last step. `product`: C of the last two. `weights`: w."""

    last: Float[Array, 't p']
    product: Float[Array, 't t']
    weights: Float[Array, 't']


def modo(*, gamma: float = 1e-3, rho: float = 0.1) -> Weighting:
    """`gamma`: step size of w. `rho`: its regularisation (the authors' code)."""
    check_positive('gamma', gamma)
    check_not_negative('rho', rho)

    def follow(weights: Array, product: Array, there: Array) -> Array:
        return to_simplex(weights - gamma * (product @ weights + rho * weights), there)

    return pairs_of_batches(follow, lambda weights: weights)


def pairs_of_batches(follow: Callable[[Array, Array, Array], Array], total: Callable[[Array], Array]) -> Weighting:
    """`follow`: w, C and which tasks have both → the next w; `total`: w → the task weights."""

    def init(num_tasks: int, num_parameters: int) -> State:
        uniform = jnp.full(num_tasks, 1 / num_tasks, jnp.float32)
        return State(jnp.zeros((num_tasks, num_parameters)), jnp.zeros((num_tasks, num_tasks)), uniform)

    @full_precision
    def update(
        state: State, losses: Float[Array, 't'], jacobian: Float[Array, 't p'], labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        there = jnp.diagonal(state.product) != 0
        # A task that only one of the two batches has still has products with other tasks.
        product = jnp.where(there[:, None] & there[None, :], state.product, 0.0)
        weights = among(there, state.weights, lambda weights: follow(weights, product, there))
        return total(weights) @ jacobian, State(jacobian, state.last @ jacobian.T, weights)

    return Weighting(init, update, 'gradients', lambda state: {'weight': total(state.weights)})
