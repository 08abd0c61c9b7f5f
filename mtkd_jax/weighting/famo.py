"""FAMO: like MGDA on the logarithms of the losses, at the cost of the losses alone.

z = softmax ξ. The step minimises Σ_t z_t log ℓ_t, scaled: w_t = z_t / (ℓ_t c) with c = Σ_t z_t / ℓ_t, so Σ_t w_t = 1.
After it, ξ moves by Adam against δ_t = log ℓ_t(before) − log ℓ_t(after) through the softmax: tasks that improved least
gain weight. Decay γ ξ is added to that gradient.

B. Liu, Y. Feng, P. Stone, Q. Liu, "FAMO: Fast Adaptive Multitask Optimization", 2023. Needs the losses.

The authors compute the losses again after the step, on the same batch. Here ℓ(after) is the loss of the next batch,
which saves a second forward pass. So δ also holds the difference between two batches, which averages out. A task
without a label has weight 0; its last loss and its logit wait, and the others share the pull among themselves.

Needs positive losses. A loss of exactly 0 counts as `base.RESOLUTION`, which gives the limit of the weights: 1 for its
task, 0 for the others.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting.base import Weighting, check_not_negative, check_positive, full_precision, positive_losses


class State(NamedTuple):
    """`logits`: ξ. `last`: each task's last loss, 0 until known. `adam`: of ξ."""

    logits: Float[Array, 't']
    last: Float[Array, 't']
    adam: Any


def famo(*, learning_rate: float = 0.025, decay: float = 1e-3) -> Weighting:
    """`learning_rate`, `decay`: of ξ (the authors')."""
    check_positive('learning_rate', learning_rate)
    check_not_negative('decay', decay)
    optimizer = optax.chain(optax.add_decayed_weights(decay), optax.adam(learning_rate))

    def init(num_tasks: int) -> State:
        logits = jnp.zeros(num_tasks)
        return State(logits, jnp.zeros(num_tasks), optimizer.init(logits))

    @full_precision
    @positive_losses
    def update(
        state: State, losses: Float[Array, 't'], gramian: None, labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        known = labelled & (state.last > 0)
        delta = jnp.where(known, jnp.log(jnp.where(known, state.last, 1.0)) - jnp.log(losses), 0.0)
        # softmax of nothing but -inf is NaN.
        share = jax.nn.softmax(jnp.where(known | ~known.any(), state.logits, -jnp.inf))
        pull = share * (delta - share @ delta)
        step, adam = optimizer.update(pull, state.adam, jnp.where(known, state.logits, 0.0))
        logits = jnp.where(known, state.logits + step, state.logits)
        ratio = jnp.where(labelled, jax.nn.softmax(logits) / losses, 0.0)
        total = ratio.sum()
        return ratio / jnp.where(total > 0, total, 1.0), State(logits, jnp.where(labelled, losses, state.last), adam)

    return Weighting(init, update, report=lambda state: {'logit': state.logits})
