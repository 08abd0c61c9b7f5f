"""SDMGrad: MGDA pulled to the mean gradient, with weights from pairs of independent batches.

With C = J₁J₂ᵀ as in MoDo, divided by the squared mean of √C_tt, w makes n projected steps (momentum 0.5) on
½ wᵀCw + λ wᵀC1/T. The direction is (wᵀ + λ 1ᵀ/T) J₃ / (1 + λ): the nearer to the mean gradient, the larger λ.

P. Xiao, H. Ban, K. Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms", 2023.
Needs the gradients: the last J, [T, P] float32, is kept. Which batches are J₁, J₂ and J₃, and what becomes of absent
tasks, is as in MoDo (`modo.py`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mtkd_jax.weighting.base import Weighting, check_not_negative, check_part, check_positive
from mtkd_jax.weighting.modo import pairs_of_batches
from mtkd_jax.weighting.simplex import to_simplex


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

    return pairs_of_batches(follow, total)
