"""MoDo and SDMGrad: MGDA's weights from pairs of independent batches, whose product is not biased.

With J₁, J₂ the gradients of two batches and C = J₁J₂ᵀ, an unbiased Gramian:
MoDo: w ← Π(w − γ (C + ρI) w), one projected step; direction wᵀJ₃.
SDMGrad: n projected steps (momentum 0.5) on ½ wᵀCw + λ wᵀC1/T, C divided by the squared mean of √C_tt; direction
(wᵀ + λ 1ᵀ/T) J₃ / (1 + λ): MGDA pulled to the mean gradient, the more the larger λ.

L. Chen, H. Fernando, Y. Ying, T. Chen, "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization
and Conflict-Avoidance", 2023; P. Xiao, H. Ban, K. Ji, "Direction-oriented Multi-objective Learning: Simple and Provable
Stochastic Algorithms", 2023. Need the gradients: the last J, [T, P] float32, is kept.

The authors draw three batches for every step. Here the step's own batch is the third, and the two batches before it
are the first pair: as independent, and without further passes, but taken one and two steps earlier. So w stays uniform
for two steps. MoDo's authors take the heads' gradients from all three batches. A task that is absent or has a zero
gradient in one of the pair keeps its w; the others move as if it were not there.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtkd_jax.weighting.base import Weighting, check_not_negative, check_part, check_positive, full_precision
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

    return _double(follow, lambda weights: weights)


def sdmgrad(
    *, regularisation: float = 0.3, iterations: int = 20, learning_rate: float = 5.0, momentum: float = 0.5
) -> Weighting:
    """`regularisation`: λ. `iterations`, `learning_rate`, `momentum`: of the steps on w (the authors' code)."""
    check_positive('iterations', iterations)
    check_positive('learning_rate', learning_rate)
    check_not_negative('regularisation', regularisation)
    check_part('momentum', momentum)

    def follow(weights: Array, product: Array, there: Array) -> Array:
        number = jnp.maximum(there.sum(), 1)
        scale = jnp.sum(jnp.sqrt(jnp.maximum(jnp.diagonal(product), 0.0))) / number
        # A pair of batches may disagree on every task: then there is nothing to scale by, and nothing to learn.
        product = jnp.where(scale > 0, product / jnp.where(scale > 0, scale, 1.0) ** 2, 0.0)
        towards_mean = regularisation * jnp.sum(product, axis=1) / number

        def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            weights, velocity = carry
            velocity = momentum * velocity + product @ weights + towards_mean
            return (to_simplex(weights - learning_rate * velocity, there), velocity), None

        return jax.lax.scan(step, (weights, jnp.zeros_like(weights)), length=iterations)[0][0]

    def total(weights: Array) -> Array:
        return (weights + regularisation / len(weights)) / (1 + regularisation)

    return _double(follow, total)


def _double(follow: Callable[[Array, Array, Array], Array], total: Callable[[Array], Array]) -> Weighting:
    """`follow`: w, C and which tasks have both → the next w; `total`: w → the task weights."""

    def init(num_tasks: int, num_parameters: int) -> State:
        uniform = jnp.full(num_tasks, 1 / num_tasks, jnp.float32)
        return State(jnp.zeros((num_tasks, num_parameters)), jnp.zeros((num_tasks, num_tasks)), uniform)

    @full_precision
    def update(state: State, losses: Float[Array, 't'], jacobian: Float[Array, 't p']) -> tuple[Array, State]:
        there = jnp.diagonal(state.product) != 0
        # A task that only one of the two batches has still has products with other tasks.
        product = jnp.where(there[:, None] & there[None, :], state.product, 0.0)
        weights = among(there, state.weights, lambda weights: follow(weights, product, there))
        return total(weights) @ jacobian, State(jacobian, state.last @ jacobian.T, weights)

    return Weighting(init, update, 'gradients', lambda state: {'weight': total(state.weights)})
