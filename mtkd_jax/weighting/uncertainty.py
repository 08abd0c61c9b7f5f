"""Uncertainty weighting: learned log-variances s_t of the tasks' noise.

It minimises Σ_t ℓ_t / (2 exp s_t) + s_t / 2 over the network and s. So w_t = 1 / (2 exp s_t), and s follows
∂/∂s_t = (1 − ℓ_t / exp s_t) / 2 by Adam. At rest exp s_t = ℓ_t.

A. Kendall, Y. Gal, R. Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
Semantics", 2018. Needs the losses. The weight is the one of the MTAN family of code, for every kind of task (the paper
has 1/σ² for classification). That code gives s to the network's optimiser. Here s has an Adam of its own, whose
learning rate does not follow the network's schedule. A task without a label keeps its s. Losses may have any sign, but
s has a rest only where the mean loss is positive: otherwise it falls, and the weight grows, at every step.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting.base import Weighting, check_positive


class State(NamedTuple):
    """`log_variance`: s. `adam`: its optimiser's state."""

    log_variance: Float[Array, 't']
    adam: Any


def uncertainty(*, initial: float = -0.5, learning_rate: float = 1e-4) -> Weighting:
    """`initial`: s at the start, `learning_rate`: of s (both as in the MTAN family of code)."""
    check_positive('learning_rate', learning_rate)
    optimizer = optax.adam(learning_rate)

    def init(num_tasks: int) -> State:
        log_variance = jnp.full(num_tasks, initial, jnp.float32)
        return State(log_variance, optimizer.init(log_variance))

    def update(
        state: State, losses: Float[Array, 't'], gramian: None, labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        precision = jnp.exp(-state.log_variance)
        gradient = jnp.where(labelled, (1 - losses * precision) / 2, 0.0)
        step, adam = optimizer.update(gradient, state.adam)
        moved = jnp.where(labelled, state.log_variance + step, state.log_variance)
        return precision / 2, State(moved, adam)

    return Weighting(init, update, report=lambda state: {'log_variance': state.log_variance})
