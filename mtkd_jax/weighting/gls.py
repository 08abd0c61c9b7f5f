"""Geometric loss strategy: minimises the geometric mean of the losses, M = (Π_t ℓ_t)^(1/T).

Its gradient is Σ_t (M / (T ℓ_t)) ∇ℓ_t, so w_t = M / (T ℓ_t): every w_t ℓ_t is the same, and they sum to M.

S. Chennupati, G. Sistu, S. Yogamani, S. Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
Strategy for Multi-Task Learning", 2019. Needs the losses. No state. The mean is over the tasks that have a label in the
batch; the others have weight 0.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from mtkd_jax.weighting.base import Weighting, labelled


def gls() -> Weighting:
    """No hyper-parameters."""

    def update(state: tuple[()], losses: Float[Array, 't'], gramian: None) -> tuple[Array, tuple[()]]:
        present = labelled(losses)
        number = jnp.maximum(present.sum(), 1)
        safe = jnp.where(present, losses, 1.0)
        mean = jnp.exp(jnp.sum(jnp.log(safe)) / number)
        return jnp.where(present, mean / (number * safe), 0.0), state

    return Weighting(lambda num_tasks: (), update)
