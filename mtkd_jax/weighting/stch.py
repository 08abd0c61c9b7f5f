"""Smooth Tchebycheff scalarisation: a smooth maximum of the losses relative to a reference level.

It minimises T μ log Σ_t exp(log(ℓ_t / ν_t) / μ), so w_t = T softmax_t(log(ℓ_t / ν_t) / μ) / ℓ_t. The nadir ν is the
mean loss at the end of a warm-up, during which Σ_t log ℓ_t is minimised, w_t = 1 / ℓ_t.

X. Lin, X. Zhang, Z. Yang, F. Liu, Z. Wang, Q. Zhang, "Smooth Tchebycheff Scalarization for Multi-Objective
Optimization", 2024. Needs the losses. As in the authors' multi-task code, losses enter by their logarithms and the
objective is multiplied by T. That code counts epochs (four of warm-up, and a fifth over which ν is averaged); this one
counts steps. A task without a label has weight 0. One that had no label in all the averaged steps has its own loss for
ν.

Needs positive losses. A loss of exactly 0 counts as `base.RESOLUTION`: after the warm-up that gives the limit of the
weights for μ ≤ 1; 1 / ℓ_t has none.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax.weighting.base import Weighting, check_positive, positive_losses


class State(NamedTuple):
    """`step`: updates so far. `total`, `number`: of the losses that ν averages."""

    step: Int[Array, '']
    total: Float[Array, 't']
    number: Float[Array, 't']


def stch(*, mu: float = 1.0, warmup_steps: int = 1000, nadir_steps: int | None = None) -> Weighting:
    """`mu`: smoothness, → 0 is the maximum. `warmup_steps`: of the warm-up; ν averages its last `nadir_steps`
    (None: a fifth of it)."""
    check_positive('mu', mu)
    check_positive('warmup_steps', warmup_steps)
    averaged = -(-warmup_steps // 5) if nadir_steps is None else nadir_steps
    if not 1 <= averaged <= warmup_steps:
        raise ValueError(f'`nadir_steps` is {averaged}; give a number from 1 to `warmup_steps` ({warmup_steps}).')

    def init(num_tasks: int) -> State:
        return State(jnp.zeros((), jnp.int32), jnp.zeros(num_tasks), jnp.zeros(num_tasks))

    @positive_losses
    def update(
        state: State, losses: Float[Array, 't'], gramian: None, labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        nadir = jnp.where(state.number > 0, state.total / jnp.maximum(state.number, 1), losses)
        level = jnp.where(labelled, jnp.log(losses / nadir) / mu, -jnp.inf)
        # softmax of nothing but -inf is NaN.
        share = jax.nn.softmax(jnp.where(labelled.any(), level, 0.0))
        warm = state.step < warmup_steps
        weights = jnp.where(warm, 1.0, len(losses) * share) / losses
        counts = labelled & warm & (state.step >= warmup_steps - averaged)
        total = state.total + jnp.where(counts, losses, 0.0)
        number = state.number + counts
        return jnp.where(labelled, weights, 0.0), State(state.step + 1, total, number)

    return Weighting(init, update)
