"""Constant task weights: the papers' w_t (papers.md A3)."""

from collections.abc import Sequence

import jax.numpy as jnp

from mtkd_jax.weighting.base import Weighting


def fixed(weights: Sequence[float]) -> Weighting:
    """The same given weights at every step, in the order of the tasks. No state."""

    def init(num_tasks: int) -> tuple[()]:
        if num_tasks != len(weights):
            raise ValueError(f'`weights` has {len(weights)} entries for {num_tasks} tasks; give one per task.')
        return ()

    return Weighting(init, lambda state, losses, gramian, labelled: (jnp.asarray(weights, losses.dtype), state))
