"""Random loss weighting: w is the softmax of T standard normal draws, anew at every step.

B. Lin, F. Ye, Y. Zhang, I. Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
Learning", 2022. Needs nothing but the number of tasks. State: the updates so far; draws depend on it and on `seed`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax.weighting.base import Weighting


def rlw(*, seed: int = 0) -> Weighting:
    """`seed`: of the draws."""

    def update(
        state: Int[Array, ''], losses: Float[Array, 't'], gramian: None, labelled: Bool[Array, 't']
    ) -> tuple[Array, Int[Array, '']]:
        key = jax.random.fold_in(jax.random.key(seed), state)
        return jax.nn.softmax(jax.random.normal(key, losses.shape, losses.dtype)), state + 1

    return Weighting(lambda num_tasks: jnp.zeros((), jnp.int32), update)
