"""Dynamic weight average: tasks whose loss falls slowly weigh more.

w_t = T softmax_t(r_t / temperature), where r_t = ℓ̄_t(e−1) / ℓ̄_t(e−2) is the ratio of the mean losses of the last two
epochs. Weights are 1 in the first two epochs.

`variant='kd4mtl'` is the code of Li & Bilen (2020) for SegNet: the temperature is 1, not 2.

S. Liu, E. Johns, A. Davison, "End-to-End Multi-Task Learning with Attention", 2019. Needs the losses, and how many
steps an epoch has. As the authors' code, but means leave out the batches without a label of the task; a task that an
epoch never saw has r = 1.

Needs positive means of the losses, not positive losses: a mean below 0 makes the weights of the next two epochs
NaN. A mean of exactly 0 counts as `base.RESOLUTION`, which gives the limits: r = 0 in the next epoch, and all the
weight to the task in the one after it.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mtkd_jax.weighting.base import Weighting, check_positive, positive
from mtkd_jax.weighting.variants import settled


class State(NamedTuple):
    """`step`: updates so far. `total`, `number`: of this epoch's losses. `last`, `before`: means of the two before.

    A mean is 0 where the epoch saw no label of the task, and never otherwise.
    """

    step: Int[Array, '']
    total: Float[Array, 't']
    number: Float[Array, 't']
    last: Float[Array, 't']
    before: Float[Array, 't']


def dwa(
    temperature: float | None = None, steps_per_epoch: int = 1, variant: Literal['paper', 'kd4mtl'] = 'paper'
) -> Weighting:
    """`temperature`: of the softmax, larger is more uniform. `steps_per_epoch`: updates between two changes.

    None: as `variants.VARIANTS` says of the `variant`.
    """
    temperature = settled('dwa', {'variant': variant, 'temperature': temperature})['temperature']
    check_positive('temperature', temperature)
    check_positive('steps_per_epoch', steps_per_epoch)

    def init(num_tasks: int) -> State:
        return State(jnp.zeros((), jnp.int32), *(jnp.zeros(num_tasks) for _ in range(4)))

    def update(
        state: State, losses: Float[Array, 't'], gramian: None, labelled: Bool[Array, 't']
    ) -> tuple[Array, State]:
        turn = (state.step > 0) & (state.step % steps_per_epoch == 0)
        mean = positive(state.total / jnp.maximum(state.number, 1))
        before = jnp.where(turn, state.last, state.before)
        last = jnp.where(turn, jnp.where(state.number > 0, mean, 0.0), state.last)
        seen = (last != 0) & (before != 0)
        ratio = jnp.where(seen, last / jnp.where(seen, before, 1.0), 1.0)
        weights = len(losses) * jax.nn.softmax(ratio / temperature)
        weights = jnp.where(state.step // steps_per_epoch >= 2, weights, 1.0)
        total = jnp.where(turn, 0.0, state.total) + jnp.where(labelled, losses, 0.0)
        number = jnp.where(turn, 0.0, state.number) + labelled
        return weights, State(state.step + 1, total, number, last, before)

    return Weighting(init, update)
