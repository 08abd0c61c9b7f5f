"""Geometric loss strategy: minimises the geometric mean of the losses, M = (Π_t ℓ_t)^(1/T).

Its gradient is Σ_t (M / (T ℓ_t)) ∇ℓ_t, so w_t = M / (T ℓ_t): every w_t ℓ_t is the same, and their sum is M.

S. Chennupati, G. Sistu, S. Yogamani, S. Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
Strategy for Multi-Task Learning", 2019. Needs the losses. No state. The mean is over the tasks that have a label in the
batch; the others have weight 0.

Needs positive losses. A loss of exactly 0 counts as `base.RESOLUTION`: its own weight has no limit, and those of the
others nearly vanish.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax.weighting.base import Weighting, positive_losses


def gls() -> Weighting:
    """No hyper-parameters."""

    @positive_losses
    def update(
        state: tuple[()], losses: Float[Array, 't'], gramian: None, labelled: Bool[Array, 't']
    ) -> tuple[Array, tuple[()]]:
        number = jnp.maximum(labelled.sum(), 1)
        mean = jnp.exp(jnp.sum(jnp.log(losses)) / number)
        return jnp.where(labelled, mean / (number * losses), 0.0), state

    return Weighting(lambda num_tasks: (), update)
