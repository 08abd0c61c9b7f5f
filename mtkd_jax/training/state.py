"""What training carries from step to step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from mtkd_jax.gradients import task_gradients
from mtkd_jax.methods import Method
from mtkd_jax.types import Variables
from mtkd_jax.weighting import Weighting


class TrainState(NamedTuple):
    """What a step changes.

    Attributes:
        step: steps made so far.
        opt_state: every group's optimiser.
        weighting_state: the weighting's own.
        ema: moving averages of `params` and `batch_stats`; () where the run has none.
    """

    step: Int[Array, '']
    params: Any
    batch_stats: Any
    opt_state: Any
    weighting_state: Any
    ema: Any = ()

    @property
    def variables(self) -> Variables:
        """What the method computes with."""
        return {'params': self.params, 'batch_stats': self.batch_stats}


def state_maker(
    method: Method,
    weighting: Weighting,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, ...],
    ema: bool = False,
    sharding: Any = None,
) -> Callable[[Array], TrainState]:
    """Key → the state before the first step, jitted; `image_shape` is [b h w 3]; `ema`: with moving averages.

    `sharding`: of the state; None: it lies on the default device.
    """
    balance = task_gradients(weighting, method.shared)

    def create(key: Array) -> TrainState:
        variables = method.init(key, jnp.zeros(image_shape, jnp.float32))
        params = variables['params']
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables['batch_stats'],
            opt_state=optimizer.init(params),
            weighting_state=balance.init(params, [task.name for task in method.tasks]).weighting,
            ema={'params': params, 'batch_stats': variables['batch_stats']} if ema else (),
        )

    return jax.jit(create, out_shardings=sharding)


def initial_state(
    method: Method,
    weighting: Weighting,
    optimizer: optax.GradientTransformation,
    key: Array,
    image_shape: tuple[int, ...],
    ema: bool = False,
) -> TrainState:
    """The state before the first step, made of `key`; see `state_maker`."""
    return state_maker(method, weighting, optimizer, image_shape, ema)(key)
