"""How a config's tasks are balanced: its weighting, that one's settings, and the constant task weights."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from mtkd_jax import weighting
from mtkd_jax.gradients import GRAMIANS
from mtkd_jax.names import choice, digest, module
from mtkd_jax.types import UserError
from mtkd_jax.weighting import Weighting
from mtkd_jax.weighting.registry import CONSTRUCTORS, FROM_RUN, named

UNIFORM = 'uniform'


def name_of(config: ConfigDict) -> str:
    """The weighting in the words of a stage's name: `uniform`, `mgda`, `mgda_features`."""
    name = config.get('weighting', UNIFORM)
    features = config.get('weighting_settings', {}).get('gramian_of') == 'features'
    return f'{name}_features' if features else name


def record(config: ConfigDict, balance: str) -> dict[str, Any]:
    """What decides how a stage balances its tasks, as JSON; `balance` as of `Plan`."""
    if balance == 'none':
        return {}
    by_run = balance == 'run'
    found = {
        'weighting': config.weighting if by_run else UNIFORM,
        'weighting_settings': config.weighting_settings.to_dict() if by_run else {},
        'task_weights': config.task_weights.to_dict(),
    }
    return found


def modules(config: ConfigDict) -> dict[str, str]:
    """The user's module that gives the weighting, and a digest of it."""
    name = config.get('weighting', UNIFORM)
    if name in CONSTRUCTORS:
        return {}
    return {'weighting': f'{name} ({digest(module("weighting", name, ("weighting",), tuple(CONSTRUCTORS)))})'}


def maker(config: ConfigDict, balance: str) -> Callable[[int], Weighting]:
    """Steps per epoch → the weighting of a stage."""
    if balance != 'run':
        return lambda steps: weighting.uniform()
    return functools.partial(_make, config.weighting, _options(config), config.seed)


def check(config: ConfigDict, backbone: Any) -> None:
    """Raises a UserError where the weighting cannot be made, or does not fit the rest."""
    if 'weighting' not in config:
        return
    if 'gramian_of' in config.weighting_settings:
        choice('weighting_settings.gramian_of', config.weighting_settings.gramian_of, GRAMIANS)
    name, features = config.weighting, config.weighting_settings.get('gramian_of') == 'features'
    for option, value in _options(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f'`weighting_settings.{option}` is {value}; give a finite number.')
    try:
        made = named(name)(**_options(config))
    except (TypeError, ValueError) as error:
        raise UserError(f'`weighting_settings` of {name}: {error}') from error
    if features and made.needs != 'gramian':
        raise UserError(
            f"`weighting_settings.gramian_of` is 'features', but {name} reads no Gramian with these settings; leave it "
            "at 'parameters'."
        )
    if features and not backbone.SHARED_FEATURE:
        raise UserError(
            f"`weighting_settings.gramian_of` is 'features', but {config.backbone} has no feature map that all tasks "
            "read; choose 'parameters', or a backbone that has one, such as segnet."
        )


def _options(config: ConfigDict) -> dict[str, Any]:
    return {key: value for key, value in config.weighting_settings.to_dict().items() if key != 'gramian_of'}


def _make(name: str, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Weighting:
    constructor = named(name)
    known = {'steps_per_epoch': steps_per_epoch, 'seed': seed}
    taken = {key: known[key] for key in FROM_RUN if key in inspect.signature(constructor).parameters}
    return constructor(**options, **taken)
