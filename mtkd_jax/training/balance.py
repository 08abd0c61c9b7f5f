"""From task losses to one gradient: the weighting applied to what it asks for, and to nothing more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from mtkd_jax.training import gradients
from mtkd_jax.training.gradients import Parts
from mtkd_jax.weighting import Weighting

GRAMIANS = ('parameters', 'features')


@dataclass(frozen=True)
class Backward:
    """Backward passes of one forward pass; what is not read is not computed.

    Attributes:
        task: number of a task → gradient of its ℓ_t, and its gradient with respect to the shared feature map.
        whole: weights [T] → gradient of what is minimised: the labels' share of Σ_t w_t ℓ_t, and the distillation.
        mixed: what stands for the gradient of Σ_t w_t ℓ_t → the labels' share of it, and the distillation's gradient.
    """

    task: Callable[[int], tuple[Parts, Any]]
    whole: Callable[[Array], Parts]
    mixed: Callable[[Parts], Parts]


def balance(
    weighting: Weighting, gramian_of: str, state: Any, losses: Float[Array, 't'], shared: Any, backward: Backward
) -> tuple[Parts, Array | None, Any]:
    """(gradient, weights [T] or None where the weighting has none, the weighting's new state).

    `shared`: the shared parameters, for their shapes.
    """
    weights: Array | None
    if weighting.needs == 'losses':
        weights, state = weighting.update(state, losses, None)
        return backward.whole(weights), weights, state
    factors, tasks = own_weights(weighting, losses), range(losses.shape[0])
    if weighting.needs == 'gramian' and gramian_of == 'features':
        products = gradients.gramian(gradients.rows(backward.task(i)[1] for i in tasks))
        weights, state = weighting.update(state, losses, products)
        return Parts(backward.whole(weights).shared, backward.whole(factors).own), weights, state
    of_task = [backward.task(i)[0] for i in tasks]
    jacobian = gradients.rows(parts.shared for parts in of_task)
    if weighting.needs == 'gramian':
        weights, state = weighting.update(state, losses, gradients.gramian(jacobian))
        direction = gradients.combine(weights, jacobian)
    else:
        weights = None
        flat, state = weighting.update(state, losses, gradients.matrix(jacobian))
        direction = ravel_pytree(shared)[1](flat)
    return backward.mixed(Parts(direction, gradients.total(factors, [parts.own for parts in of_task]))), weights, state


def own_weights(weighting: Weighting, losses: Float[Array, 't']) -> Float[Array, 't']:
    """What weighs the losses in tasks' own parameters, where the weighting reads gradients: its constant factors."""
    return jnp.ones_like(losses) if weighting.factors is None else jnp.asarray(weighting.factors, losses.dtype)


def initial_state(weighting: Weighting, params: Any, tasks: list[str]) -> Any:
    """The weighting's state for these parameters and tasks."""
    if weighting.needs == 'gradients':
        return weighting.init(len(tasks), gradients.size(gradients.split(params, tasks).shared))
    return weighting.init(len(tasks))
