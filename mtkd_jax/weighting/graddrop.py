"""GradDrop: where task gradients differ in sign, one sign is drawn.

For every parameter, P = ½ (1 + Σ_t g_t / Σ_t |g_t|) is the part of positive gradient. With U uniform on [0, 1], the
positive g_t pass where P > U, the negative ones where P < U. A leak λ lets λ of every gradient pass. The direction is
the sum of what passes; without a leak each of its entries adds gradients of one sign.

Z. Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", 2020. Needs the
gradients. State: the updates so far; the draws depend on it and on `seed`. The paper masks the gradients of a shared
activation, multiplied by its sign and summed over the batch. Here the same rule masks the gradients of the shared
parameters. There are no task weights.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax.weighting.base import Weighting, check_part


def graddrop(*, leak: float = 0.0, seed: int = 0) -> Weighting:
    """`leak`: the part of every gradient that always passes. `seed`: of the draws."""
    check_part('leak', leak)

    def init(num_tasks: int, num_parameters: int) -> Int[Array, '']:
        return jnp.zeros((), jnp.int32)

    def update(
        state: Int[Array, ''], losses: Float[Array, 't'], jacobian: Float[Array, 't p'], labelled: Bool[Array, 't']
    ) -> tuple[Array, Int[Array, '']]:
        size = jnp.sum(jnp.abs(jacobian), axis=0)
        positive = (1 + jnp.sum(jacobian, axis=0) / jnp.where(size > 0, size, 1.0)) / 2
        key = jax.random.fold_in(jax.random.key(seed), state)
        passes = positive > jax.random.uniform(key, positive.shape, positive.dtype)
        kept = jnp.where(passes[None], jnp.maximum(jacobian, 0.0), jnp.minimum(jacobian, 0.0))
        return jnp.sum(leak * jacobian + (1 - leak) * kept, axis=0), state + 1

    return Weighting(init, update, needs='gradients')
