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
from mtkd_jax.weighting.variants import PAPER, VARIANTS, settled

UNIFORM = 'uniform'


def name_of(config: ConfigDict) -> str:
    """The weighting in the words of a stage's name: `uniform`, `mgda`, `mgda_features`, `mgda_kd4mtl`."""
    name = config.get('weighting', UNIFORM)
    variant = variant_of(config)
    if variant != PAPER:
        return f'{name}_{variant}'
    return f'{name}_features' if gramian_of(config) == 'features' else name


def settings(config: ConfigDict) -> dict[str, Any]:
    """The settings of the weighting, those that its variant decides among them."""
    return settled(config.weighting, config.weighting_settings.to_dict())


def gramian_of(config: ConfigDict) -> Any:
    """Over what its Gramian is taken: `parameters`, too, where it reads none."""
    return settings(config).get('gramian_of', 'parameters') if 'weighting' in config else 'parameters'


def variant_of(config: ConfigDict) -> str:
    """`paper`, too, where the weighting has one form only."""
    given = config.weighting_settings if config.get('weighting') in VARIANTS else {}
    return str(given.get('variant', PAPER))


def record(config: ConfigDict, balance: str) -> dict[str, Any]:
    """What decides how a stage balances its tasks, as JSON; `balance` as of `Plan`."""
    if balance == 'none':
        return {}
    by_run = balance == 'run'
    found = {
        'weighting': config.weighting if by_run else UNIFORM,
        'weighting_settings': settings(config) if by_run else {},
        'task_weights': config.task_weights.to_dict(),
    }
    if by_run and config.weighting in VARIANTS and variant_of(config) == PAPER:
        # As in stages from before there were others.
        del found['weighting_settings']['variant']
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
    name = config.weighting
    for option, value in _options(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f'`weighting_settings.{option}` is {value}; give a finite number.')
    try:
        over = choice('weighting_settings.gramian_of', gramian_of(config), GRAMIANS)
        made = named(name)(**_options(config))
    except (TypeError, ValueError) as error:
        raise UserError(f'`weighting_settings` of {name}: {error}') from error
    features = over == 'features'
    if features and made.needs != 'gramian':
        raise UserError(
            f"`weighting_settings.gramian_of` is 'features', but {name} reads no Gramian with these settings; leave it "
            "at 'parameters'."
        )
    if features and not backbone.SHARED_FEATURE:
        variant = variant_of(config)
        field, value, other = ('variant', variant, PAPER) if variant != PAPER else ('gramian_of', over, GRAMIANS[0])
        raise UserError(
            f'`weighting_settings.{field}` is {value!r}, but {config.backbone} has no feature map that all tasks '
            f'read; choose {other!r}, or a backbone that has one, such as segnet.'
        )


def _options(config: ConfigDict) -> dict[str, Any]:
    return {key: value for key, value in config.weighting_settings.to_dict().items() if key != 'gramian_of'}


def _make(name: str, options: dict[str, Any], seed: int, steps_per_epoch: int) -> Weighting:
    constructor = named(name)
    known = {'steps_per_epoch': steps_per_epoch, 'seed': seed}
    taken = {key: known[key] for key in FROM_RUN if key in inspect.signature(constructor).parameters}
    return constructor(**options, **taken)
