"""What training carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from mtkd_jax.methods import Method
from mtkd_jax.training import balance
from mtkd_jax.types import Variables
from mtkd_jax.weighting import Weighting


class TrainState(NamedTuple):
    """`step`: updates made so far. `opt_state` holds every group's optimiser."""

    step: Int[Array, '']
    params: Any
    batch_stats: Any
    opt_state: Any
    weighting_state: Any

    @property
    def variables(self) -> Variables:
        """What the method computes with."""
        return {'params': self.params, 'batch_stats': self.batch_stats}


def initial_state(
    method: Method,
    weighting: Weighting,
    optimizer: optax.GradientTransformation,
    key: Array,
    image_shape: tuple[int, ...],
) -> TrainState:
    """The state before the first step; `image_shape` is [b h w 3]."""

    def create(key: Array) -> TrainState:
        variables = method.init(key, jnp.zeros(image_shape, jnp.float32))
        params = variables['params']
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables['batch_stats'],
            opt_state=optimizer.init(params),
            weighting_state=balance.initial_state(weighting, params, [task.name for task in method.tasks]),
        )

    return jax.jit(create)(key)
