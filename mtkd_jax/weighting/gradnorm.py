"""GradNorm: weights learned so that all tasks train at like rates.

The weighted norms are n_t = w_t ‖g_t‖, their mean is n̄, and the relative inverse rate is r_t = (ℓ_t/ℓ_t(0)) / mean. w
follows the gradient of Σ_t |n_t − n̄ r_t^α|, where n̄ r_t^α is held constant. Then w is scaled to Σ_t w_t = T.

Z. Chen, V. Badrinarayanan, C.-Y. Lee, A. Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in
Deep Multitask Networks", 2018. Needs the Gramian, of which it reads the diagonal: the norms are over all shared
parameters, where the paper takes its last shared layer. ℓ_t(0) is the loss of the first batch with a label of the task.
Adam steps and a floor of 1e-3 keep w positive (the paper does not say how). The authors published no code. A task
without a label or a gradient does not enter the means and keeps its weight. The weights of the others are scaled to the
sum that they had.

`variant='kd4mtl'` is the code of Li & Bilen (2020): the norms are those of the gradients with respect to the last
shared feature map, α is 0.12, Adam's rate 1e-4, and w weighs the heads' losses, too. There the rate follows the
network's schedule and nothing keeps w positive; here the rate is constant, and the floor stays.

Needs positive losses. A loss of exactly 0 counts as `base.RESOLUTION`: its rate is then close to the limit, 0, and
a first loss of 0 can still be divided by.
"""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting.base import Weighting, check_not_negative, check_positive, positive_losses
from mtkd_jax.weighting.variants import KD4MTL, settled

FLOOR = 1e-3


class State(NamedTuple):
    """`weights`: w of the next step. `initial`: ℓ(0), 0 until known. `adam`: of w."""

    weights: Float[Array, 't']
    initial: Float[Array, 't']
    adam: Any


def gradnorm(
    alpha: float | None = None,
    learning_rate: float | None = None,
    variant: Literal['paper', 'kd4mtl'] = 'paper',
) -> Weighting:
    """`alpha`: strength of the pull to like rates (paper). `learning_rate`: of w.

    None: as `variants.VARIANTS` says of the `variant`.
    """
    chosen = settled('gradnorm', {'variant': variant, 'alpha': alpha, 'learning_rate': learning_rate})
    alpha, learning_rate = chosen['alpha'], chosen['learning_rate']
    check_not_negative('alpha', alpha)
    check_positive('learning_rate', learning_rate)
    optimizer = optax.adam(learning_rate)

    def init(num_tasks: int) -> State:
        weights = jnp.ones(num_tasks)
        return State(weights, jnp.zeros(num_tasks), optimizer.init(weights))

    @positive_losses
    def update(
        state: State, losses: Float[Array, 't'], gramian: Float[Array, 't t'], labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        norm = jnp.sqrt(jnp.maximum(jnp.diagonal(gramian), 0.0))
        initial = jnp.where(labelled & (state.initial == 0), losses, state.initial)
        active = labelled & (norm > 0)
        number = jnp.maximum(active.sum(), 1)
        rate = jnp.where(active, losses / jnp.where(active, initial, 1.0), 0.0)
        rate = rate / jnp.maximum(rate.sum() / number, jnp.finfo(rate.dtype).tiny)
        weighted = jnp.where(active, state.weights * norm, 0.0)
        target = weighted.sum() / number * rate**alpha
        gradient = jnp.where(active, norm * jnp.sign(weighted - target), 0.0)
        # Adam follows relative sizes only; squares of raw norms could leave float32.
        gradient = gradient / jnp.maximum(jnp.max(jnp.where(active, norm, 0.0)), jnp.finfo(norm.dtype).tiny)
        step, adam = optimizer.update(gradient, state.adam)
        moved = jnp.where(active, jnp.maximum(state.weights + step, FLOOR), 0.0)
        left = len(losses) - jnp.sum(jnp.where(active, 0.0, state.weights))
        moved = moved * left / jnp.where(active.any(), moved.sum(), 1.0)
        return state.weights, State(jnp.where(active, moved, state.weights), initial, adam)

    theirs = variant == KD4MTL
    return Weighting(init, update, needs='gramian', weighs_own=theirs, of_features=theirs)
