"""What a weighting is."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Needs = Literal['losses', 'gramian', 'gradients']
RESOLUTION = float(jnp.finfo(jnp.float32).eps)
"""What a loss of exactly 0 counts as where it needs to be positive: beside terms of order 1, float32 cannot tell a
smaller loss from 0."""


class Weighting(NamedTuple):
    """Pure functions, as in optax; all arrays float32 (float64 where parameters, images and targets are).

    `update(state, losses [T], derived, labelled [T] bool)` → (answer, state). `needs` says what `derived` and the
    answer are:

    - `'losses'`: None → weights [T]. The state is that of `init(num_tasks)`.
    - `'gramian'`: the Gramian JJᵀ [T T] of the task gradients with respect to the shared parameters → weights [T]. The
      state is that of `init(num_tasks)`.
    - `'gradients'`: the Jacobian J [T P] → direction [P], the gradient of the shared parameters instead of Σ_t w_t g_t.
      The state is that of `init(num_tasks, num_parameters)`.

    Σ_t w_t ℓ_t is minimised over the shared parameters, and for `'losses'` over all. The weights are held constant, and
    losses, Gramian and Jacobian come in as constants.

    `labelled` says which tasks have a label in the batch. It comes from the targets' masks, never from the losses. A
    task without a label waits: it moves nothing, and what is kept of it (averages, learned scales and weights) stays as
    it was. Its gradient is zero; its loss may be any number and is not read. A task whose gradient is zero has no say
    in the weights of the others.

    A labelled loss of 0 or below is a loss like any other. Weightings whose maths needs positive losses say so in their
    module; a loss below 0 makes their answer NaN (`positive_losses`).

    `report(state)` → numbers worth a log line, scalars or one per task [T]: `residual` and `converged` (1 or 0) of a
    solver, and learned quantities. For `'gradients'`, `weight` is the task weights behind the direction, where the
    method has them.

    `factors`: constants f_t in front of the losses (`scaled`), None for 1. What the weighting sees and answers holds
    them already. They are for a task's own parameters, which follow f_t ℓ_t where the weighting reads gradients.

    `weighs_own`: of a Gramian: the weights weigh a task's own parameters, too, as weights of losses do. `of_features`:
    the Gramian must be that over a shared feature map (`gramian_of` of `gradients.task_gradients`).
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Array, Any]]
    needs: Needs = 'losses'
    report: Callable[[Any], dict[str, Array]] = lambda state: {}
    factors: tuple[float, ...] | None = None
    weighs_own: bool = False
    of_features: bool = False


def full_precision(update: Callable[..., tuple[Array, Any]]) -> Callable[..., tuple[Array, Any]]:
    """`update` with float32 products of matrices: GPUs default to 10 bits of mantissa, TPUs to 8."""

    @functools.wraps(update)
    def wrapped(*args: Any) -> tuple[Array, Any]:
        with jax.default_matmul_precision('highest'):
            return update(*args)

    return wrapped


def positive(values: Float[Array, 't']) -> Float[Array, 't']:
    """`values` whose logarithm or ratio is taken: `RESOLUTION` for exactly 0, NaN for those below 0."""
    return jnp.where(values > 0, values, jnp.where(values == 0, RESOLUTION, jnp.nan))


def positive_losses(update: Callable[..., tuple[Array, Any]]) -> Callable[..., tuple[Array, Any]]:
    """`update` for a weighting whose maths needs positive losses.

    It is shown `positive` losses, and 1 for a task without a label. A labelled loss below 0 makes the whole answer NaN:
    the training loop stops on it and names the weighting.
    """

    @functools.wraps(update)
    def wrapped(state: Any, losses: Float[Array, 't'], derived: Any, labelled: Bool[Array, 't']) -> tuple[Array, Any]:
        counted = jnp.where(labelled, positive(losses), 1.0)
        answer, state = update(state, counted, derived, labelled)
        return jnp.where(jnp.isnan(counted).any(), jnp.nan, answer), state

    return wrapped


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raises ValueError where `value` is none of `choices`."""
    if value not in choices:
        raise ValueError(f'`{name}` is {value!r}; choose one of {", ".join(repr(choice) for choice in choices)}.')


def check_positive(name: str, value: float) -> None:
    """Raises ValueError where `value` is not above 0."""
    if not value > 0:
        raise ValueError(f'`{name}` is {value}; give a number above 0.')


def check_not_negative(name: str, value: float) -> None:
    """Raises ValueError where `value` is below 0."""
    if not value >= 0:
        raise ValueError(f'`{name}` is {value}; give 0 or more.')


def check_part(name: str, value: float) -> None:
    """Raises ValueError where `value` is no part of a whole."""
    if not 0 <= value <= 1:
        raise ValueError(f'`{name}` is {value}; give a number from 0 to 1.')
