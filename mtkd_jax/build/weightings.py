"""Weightings by the names and hyper-parameters that configs use."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from mtkd_jax.build.networks import BACKBONES, choice
from mtkd_jax.training.balance import GRAMIANS
from mtkd_jax.types import UserError
from mtkd_jax.weighting import Weighting, uniform
from mtkd_jax.weighting.registry import CONSTRUCTORS, FROM_RUN
from mtkd_jax.weighting.scaled import scaled

NAMES = tuple(CONSTRUCTORS)


def weighting_name(config: ConfigDict, method: str) -> str:
    """The weighting of a stage: the method's own name where it is one (`method=mgda`), else `weighting.name`."""
    if method in NAMES:
        return method
    return 'uniform' if method == 'stl' else config.weighting.name


def make_weighting(config: ConfigDict, method: str, tasks: Sequence[str]) -> Callable[[int], Weighting]:
    """Steps per epoch → the weighting of a stage, with `task_weights` in front of it."""
    if method == 'stl':
        return lambda steps: uniform()
    name = weighting_name(config, method)
    factors = tuple(config.task_weights[task] for task in tasks)
    return functools.partial(_make, name, _options(config, name), config.seed, factors)


def weighting_settings(config: ConfigDict, method: str, tasks: Sequence[str]) -> dict[str, Any]:
    """What decides how a stage balances its tasks, as JSON."""
    name = weighting_name(config, method)
    settings = {'name': name, **_options(config, name)}
    if CONSTRUCTORS[name](**_options(config, name)).needs == 'gramian':
        settings['gramian_of'] = config.weighting.gramian_of
    return {'weighting': settings, 'task_weights': {task: config.task_weights[task] for task in tasks}}


def check_weighting(config: ConfigDict) -> None:
    """Raises a `UserError` for a weighting that does not exist, cannot be made, or does not fit the rest."""
    section, method = config.weighting, config.method
    choice('weighting.name', section.name, NAMES)
    choice('weighting.gramian_of', section.gramian_of, GRAMIANS)
    if method in NAMES and section.name not in ('uniform', method):
        raise UserError(
            f'`weighting.name` is {section.name!r}, but `method` is {method!r}, a weighting itself; give one of them.'
        )
    if method == 'stl' and section.name != 'uniform':
        raise UserError(f"`weighting.name` is {section.name!r}, but `method` is 'stl': one task needs no weighting.")
    name = weighting_name(config, method)
    try:
        made = CONSTRUCTORS[name](**_options(config, name))
    except (TypeError, ValueError) as error:
        raise UserError(f'`weighting.{name}`: {error}') from error
    if section.gramian_of == 'features' and made.needs != 'gramian':
        raise UserError(f"`weighting.gramian_of` is 'features', but {name} reads no Gramian; leave it at 'parameters'.")
    if section.gramian_of == 'features' and not BACKBONES[config.backbone].SHARED_FEATURE:
        have = ', '.join(key for key, backbone in BACKBONES.items() if backbone.SHARED_FEATURE)
        raise UserError(
            f"`weighting.gramian_of` is 'features', but {config.backbone} has no feature map that all tasks read; "
            f"choose 'parameters', or a backbone that has one: {have}."
        )


def _options(config: ConfigDict, name: str) -> dict[str, Any]:
    return config.weighting[name].to_dict() if name in config.weighting else {}


def _make(name: str, options: dict[str, Any], seed: int, factors: Sequence[float], steps_per_epoch: int) -> Weighting:
    constructor = CONSTRUCTORS[name]
    known = {'steps_per_epoch': steps_per_epoch, 'seed': seed}
    taken = {key: known[key] for key in FROM_RUN if key in inspect.signature(constructor).parameters}
    return scaled(constructor(**options, **taken), factors)
