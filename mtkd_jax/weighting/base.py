"""What a weighting is."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import Array, Bool, Float

Needs = Literal['losses', 'gramian', 'gradients']


class Weighting(NamedTuple):
    """Pure functions, as in optax; all arrays float32.

    `needs`: what `update` reads beside its state.

    - `'losses'`: `init(num_tasks)` → state; `update(state, losses [T], None)` → (weights [T], state).
    - `'gramian'`: `init(num_tasks)` → state; `update(state, losses [T], gramian [T T])` → (weights [T], state), where
      the Gramian is JJᵀ of the task gradients with respect to the shared parameters.
    - `'gradients'`: `init(num_tasks, num_parameters)` → state; `update(state, losses [T], jacobian [T P])` →
      (direction [P], state): the gradient of the shared parameters, instead of Σ_t w_t g_t.

    Σ_t w_t ℓ_t is minimised over the shared parameters, and for `'losses'` over all, with the weights held constant;
    losses, Gramian and Jacobian come in as constants, too.
    A loss is not negative, and 0 where a batch has no label of the task: such a task waits. It moves nothing, and what
    is kept of it (averages, learned scales and weights) stays as it was. A task whose gradient is zero has no say in
    the weights of the others.

    `report(state)` → numbers worth a log line, scalars or one per task [T]: `residual` and `converged` (1 or 0) of a
    solver, learned quantities, and for `'gradients'` the task weights behind the direction as `weight`, where the
    method has them.

    `factors`: constants f_t in front of the losses (`scaled`), None for 1. What the weighting sees and answers has them
    already; they are for a task's own parameters, which follow f_t ℓ_t where the weighting reads gradients.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Array, Any]]
    needs: Needs = 'losses'
    report: Callable[[Any], dict[str, Array]] = lambda state: {}
    factors: tuple[float, ...] | None = None


def full_precision(update: Callable[..., tuple[Array, Any]]) -> Callable[..., tuple[Array, Any]]:
    """`update` with float32 products of matrices: GPUs default to 10 bits of mantissa, TPUs to 8."""

    @functools.wraps(update)
    def wrapped(*args: Any) -> tuple[Array, Any]:
        with jax.default_matmul_precision('highest'):
            return update(*args)

    return wrapped


def labelled(losses: Float[Array, 't']) -> Bool[Array, 't']:
    """Which tasks have a label in the batch: those whose loss is not 0."""
    return losses > 0


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
