"""Gradients of several tasks, and the step from a weighting to one direction, for any function of any parameters.

    tg = task_gradients(weighting.mgda(), shared=lambda path: path[0] == 'trunk')
    state = tg.init(params, tasks=('segmentation', 'depth'))
    gradient, state, report = tg.update(losses, params, state, batch)

`losses(params, batch)` gives {task: scalar}. Everything is pure and can be jitted; with sharded arrays the losses are
those of the global batch. The trainer takes its steps with this, too.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from mtkd_jax.jacobian import (
    Leaves,
    Linear,
    Shared,
    Split,
    combine,
    gramian,
    matrix,
    rows,
    total,
)
from mtkd_jax.names import choice
from mtkd_jax.types import UserError
from mtkd_jax.weighting import Weighting
from mtkd_jax.weighting.scaled import scaled

GRAMIANS = ('parameters', 'features')


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """`weighting`: the weighting's own state; `tasks`: their names, in its order (static)."""

    weighting: Any
    tasks: tuple[str, ...] = field(metadata={'static': True})


class Report(NamedTuple):
    """What an update says of itself.

    Attributes:
        losses: {task: ℓ_t}, before any weight.
        weights: {task: w_t}; None where the weighting gives a direction instead.
        total: scale · Σ w_t ℓ_t + extra; where there are no weights, the constant factors stand for them.
        solver: the weighting's own report (`Weighting.report`), scalars or one number per task [T].
        aux: what the function of losses gave beside.
    """

    losses: dict[str, Array]
    weights: dict[str, Array] | None
    total: Array
    solver: dict[str, Array]
    aux: Any


class TaskGradients(NamedTuple):
    """`init(params, tasks)` → state; `update(losses, params, state, *args, shift=None)` → (gradient, state, report)."""

    init: Callable[..., State]
    update: Callable[..., tuple[Any, State, Report]]


def task_gradients(
    weighting: Weighting,
    shared: Shared = None,
    *,
    factors: Mapping[str, float] | None = None,
    gramian_of: Literal['parameters', 'features'] = 'parameters',
) -> TaskGradients:
    """One gradient for several tasks, balanced by `weighting`.

    Minimises scale · Σ_t w_t ℓ_t + extra. A weighting that reads gradients sees those of ℓ_t with respect to the
    shared parameters and decides their direction there. A task's own parameters then get the gradient of
    scale · f_t ℓ_t, with no weight but the constant factors, as in Sener & Koltun's (2018) algorithm. Weights of losses
    weigh both, and so do those of a weighting that says so (`Weighting.weighs_own`). Nothing is computed that is not
    read: weights of losses cost one backward pass, weights from gradients one for every task, each through nothing but
    what its loss depends on.

    `update` calls `losses(params, *args)`, which gives {task: scalar}, or ({task: scalar}, aux), or `Terms`.

    Args:
        weighting: any of `mtkd_jax.weighting`.
        shared: which parameters all tasks share (see `Shared`); None: all of them. Weightings of losses do not ask.
        factors: constants f_t in front of the losses, by task; the weighting sees f_t ℓ_t.
        gramian_of: `parameters`, or `features`: the Gramian is that of the gradients with respect to a feature map that
            all tasks read, an upper bound up to the Jacobian of what lies below (Sener & Koltun 2018), which costs T
            backward passes through the heads only. `update` then takes `shift`, zeros of that map's shape, and calls
            `losses(params, *args, shift=shift)`, which must add them to the map.

    Raises:
        UserError: `weighting` is none; (at `init` and `update`) a task is missing, twice, or unknown, a factor is
            negative, `params` holds what has no gradient, `shared` names no parameter, a loss is no scalar.
    """
    if not isinstance(weighting, Weighting):
        raise UserError(f'`weighting` is {weighting!r}; give one that is made, such as `weighting.mgda()`.')
    choice('gramian_of', gramian_of, GRAMIANS)
    if gramian_of == 'parameters' and weighting.of_features:
        raise UserError("`gramian_of` is 'parameters', but the weighting's `variant` reads features; give 'features'.")
    if gramian_of == 'features' and weighting.needs != 'gramian':
        raise UserError("`gramian_of` is 'features', but the weighting reads no Gramian; leave it at 'parameters'.")

    def init(params: Any, tasks: Sequence[str]) -> State:
        names = () if isinstance(tasks, str | Mapping) else tuple(tasks)
        if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise UserError(f'`tasks` is {tasks!r}; give a tuple that names each task once, at least one.')
        balanced, count = _with_factors(weighting, factors, tasks), len(tasks)
        if weighting.needs != 'gradients':
            return State(balanced.init(count), tuple(tasks))
        size = sum(jnp.size(leaf) for leaf in Split.of(params, shared).shared)
        return State(balanced.init(count, size), tuple(tasks))

    def update(
        losses: Callable[..., Any], params: Any, state: State, *args: Any, shift: Any = None
    ) -> tuple[Any, State, Report]:
        if (gramian_of == 'features') != (shift is not None):
            raise UserError("Give `shift`, zeros of the shared feature map's shape, where `gramian_of` is 'features'.")
        split = Split.of(params, shared if weighting.needs != 'losses' else None)
        found = Linear.of(losses, split, state.tasks, args, shift)
        balanced = _with_factors(weighting, factors, state.tasks)
        (to_shared, to_own), weights, inner = _balance(balanced, gramian_of, state.weighting, found)
        counted = _constant(balanced, found.losses) if weights is None else weights
        total = found.scale * jnp.sum(counted * found.losses) + (0.0 if found.extra is None else found.extra)
        report = Report(
            losses={name: found.losses[i] for i, name in enumerate(state.tasks)},
            weights=None if weights is None else {name: weights[i] for i, name in enumerate(state.tasks)},
            total=total,
            solver=balanced.report(inner),
            aux=found.aux,
        )
        return split.join(to_shared, to_own), State(inner, state.tasks), report

    return TaskGradients(init, update)


def _balance(
    weighting: Weighting, gramian_of: str, state: Any, found: Linear
) -> tuple[tuple[Leaves, Leaves], Array | None, Any]:
    """((gradient of shared, of own leaves), weights [T] or None where there are none, the weighting's new state)."""
    losses, tasks = found.losses, range(len(found.losses))
    weights: Array | None
    if weighting.needs == 'losses':
        weights, state = weighting.update(state, losses, None, found.labelled)
        return found.whole(weights)[:2], weights, state
    constant = _constant(weighting, losses)
    if weighting.needs == 'gramian' and gramian_of == 'features':
        products = gramian(rows(found.task(i)[2] for i in tasks))
        weights, state = weighting.update(state, losses, products, found.labelled)
        if weighting.weighs_own:
            return found.whole(weights)[:2], weights, state
        return (found.whole(weights)[0], found.whole(constant)[1]), weights, state
    of_task = [found.task(i) for i in tasks]
    jacobian = rows(gradient[0] for gradient in of_task)
    if weighting.needs == 'gramian':
        weights, state = weighting.update(state, losses, gramian(jacobian), found.labelled)
        direction = combine(weights, jacobian)
        constant = weights if weighting.weighs_own else constant
    else:
        weights = None
        flat, state = weighting.update(state, losses, matrix(jacobian), found.labelled)
        direction = ravel_pytree(found.at[0])[1](flat)
    return found.with_extra(direction, total(constant, [gradient[1] for gradient in of_task])), weights, state


def _with_factors(weighting: Weighting, factors: Mapping[str, float] | None, tasks: Sequence[str]) -> Weighting:
    if factors is None:
        return weighting
    missing = [name for name in tasks if name not in factors]
    if missing:
        raise UserError(f'`factors` has no entry for {", ".join(missing)}; give one per task.')
    for name, factor in factors.items():
        if name not in tasks or not (math.isfinite(factor) and factor >= 0):
            raise UserError(
                f'`factors` has {factor} for {name!r}; give each of {", ".join(tasks)} a finite number, 0 or more.'
            )
    return scaled(weighting, tuple(factors[name] for name in tasks))


def _constant(weighting: Weighting, losses: Float[Array, 't']) -> Float[Array, 't']:
    """What weighs the losses in tasks' own parameters, where the weighting reads gradients: its constant factors."""
    return jnp.ones_like(losses) if weighting.factors is None else jnp.asarray(weighting.factors, losses.dtype)
