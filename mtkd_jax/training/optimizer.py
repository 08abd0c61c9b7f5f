"""Optimisers and learning-rate schedules by name (optax); what can be set of each are the arguments of its function."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax

from mtkd_jax.types import UserError

Rate = Callable[[Any], Any]
"""Updates made so far → learning rate."""


def adam(rate: Rate, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015), both papers' optimiser (papers.md A4, B5)."""
    return optax.adam(rate, b1, b2, eps)


def adamw(
    rate: Rate, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 1e-4
) -> optax.GradientTransformation:
    """AdamW: `weight_decay` times the parameter, decoupled from the gradient (Loshchilov & Hutter 2019)."""
    return optax.adamw(rate, b1, b2, eps, weight_decay=weight_decay)


def sgd(
    rate: Rate, *, momentum: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum; `weight_decay` times the parameter is added to the gradient."""
    plain = optax.sgd(rate, momentum, nesterov)
    return optax.chain(optax.add_decayed_weights(weight_decay), plain) if weight_decay else plain


def steps(
    rate: float,
    epoch: float,
    end: int,
    *,
    halve_at_epochs: Sequence[float] = (),
    decay_every_epochs: float = 0.0,
    decay_factor: float = 1.0,
    warmup_epochs: float = 0.0,
) -> Rate:
    """The papers' (papers.md A4, B5): halved from the first update of each epoch in `halve_at_epochs` (counted from 0),
    and multiplied by `decay_factor` after every `decay_every_epochs` (0: never)."""
    boundaries: dict[int, float] = {}
    for at in halve_at_epochs:
        boundaries[round(at * epoch)] = boundaries.get(round(at * epoch), 1.0) / 2
    halved = optax.piecewise_constant_schedule(rate, boundaries)
    every = max(1, round(decay_every_epochs * epoch))
    decayed = optax.exponential_decay(1.0, every, decay_factor if decay_every_epochs else 1.0, staircase=True)
    return _warmed(lambda count: halved(count) * decayed(count), warmup_epochs * epoch)


def cosine(rate: float, epoch: float, end: int, *, warmup_epochs: float = 0.0, final_share: float = 0.0) -> Rate:
    """Half a cosine, from the rate to `final_share` of it after the last update (Loshchilov & Hutter 2017)."""
    return _warmed(optax.cosine_decay_schedule(rate, max(end, 1), final_share), warmup_epochs * epoch)


def polynomial(
    rate: float, epoch: float, end: int, *, power: float = 0.9, warmup_epochs: float = 0.0, final_share: float = 0.0
) -> Rate:
    """rate · (1 - updates / all updates)^power, usual for segmentation; it ends at `final_share` of the rate."""
    return _warmed(optax.polynomial_schedule(rate, rate * final_share, power, max(end, 1)), warmup_epochs * epoch)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {f.__name__: f for f in (adam, adamw, sgd)}
SCHEDULES: dict[str, Callable[..., Rate]] = {f.__name__: f for f in (steps, cosine, polynomial)}


def settings(function: Callable[..., Any]) -> dict[str, Any]:
    """What can be set of an optimiser or a schedule, with its defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def check(section: str, values: Mapping[str, Any]) -> None:
    """Raises a UserError unless these settings are finite numbers, not negative, and momenta are below 1."""
    for name, value in values.items():
        for number in value if isinstance(value, tuple | list) else (value,):
            if not (isinstance(number, int | float) and math.isfinite(number) and number >= 0):
                raise UserError(f'`{section}.{name}` is {value}; give finite numbers, 0 or more.')
            if name in ('b1', 'b2', 'momentum') and number >= 1:
                raise UserError(f'`{section}.{name}` is {value}; give a number below 1.')


def make_optimizer(
    optimizer: Callable[[Rate], optax.GradientTransformation],
    schedule: Callable[[float, int], Rate],
    steps_per_epoch: int,
    total_steps: int,
    groups: Mapping[str, optax.GradientTransformation],
    clip_norm: float = 0.0,
    accumulate_steps: int = 1,
) -> optax.GradientTransformation:
    """The optimiser of a stage: one of the network, and those of the method's other `groups` of parameters.

    Args:
        optimizer: learning rate → optimiser of the network.
        schedule: (updates per epoch, updates in all) → learning rate.
        steps_per_epoch, total_steps: steps, of which `accumulate_steps` make an update.
        groups: optimisers of other groups of `params`.
        clip_norm: the network's gradient is scaled down to this norm (0: never).
        accumulate_steps: gradients are averaged over this many steps before an update.
    """
    rate = _by_updates(schedule, steps_per_epoch, total_steps, accumulate_steps)
    network = optimizer(rate)
    if clip_norm:
        network = optax.chain(optax.clip_by_global_norm(clip_norm), network)

    def labels(params: dict) -> dict:
        return {group: group for group in params}

    whole = optax.partition({'network': network, **groups}, labels)
    if accumulate_steps == 1:
        return whole
    several = optax.MultiSteps(whole, every_k_schedule=accumulate_steps)
    return optax.GradientTransformation(several.init, several.update)


def rate_of_steps(
    schedule: Callable[[float, int], Rate], steps_per_epoch: int, total_steps: int, accumulate_steps: int = 1
) -> Rate:
    """Steps made so far → the network's learning rate in the update that the next step belongs to; see
    `make_optimizer`."""
    rate = _by_updates(schedule, steps_per_epoch, total_steps, accumulate_steps)
    return lambda steps: rate(steps // accumulate_steps)


def _by_updates(
    schedule: Callable[[float, int], Rate], steps_per_epoch: int, total_steps: int, accumulate_steps: int
) -> Rate:
    return schedule(steps_per_epoch / accumulate_steps, max(total_steps // accumulate_steps, 1))


def _warmed(rate: Rate, updates: float) -> Rate:
    """`rate`, times a factor that rises linearly to 1 over the first `updates`."""
    count = round(updates)
    # A single update would be the first, at the full rate.
    if count < 2:
        return rate
    rises = optax.linear_schedule(1 / count, 1.0, count - 1)
    return lambda count: rises(count) * rate(count)
