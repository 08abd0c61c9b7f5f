"""Every weighting by its name, and what can be set of it."""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from mtkd_jax import recipe, weighting
from mtkd_jax.names import module
from mtkd_jax.types import UserError
from mtkd_jax.weighting.base import Weighting
from mtkd_jax.weighting.variants import VARIANTS

# `fixed` is `uniform` with factors in front of the losses, which every weighting can have (`scaled`).
CONSTRUCTORS: dict[str, Callable[..., Weighting]] = {name: getattr(weighting, name) for name in recipe.WEIGHTINGS}
FROM_RUN = ('steps_per_epoch', 'seed')
"""Arguments of constructors that a run knows, so that nobody has to set them."""

SPACES: dict[str, dict[str, tuple[float, ...]]] = {
    'cagrad': {'c': (0.2, 0.4, 0.5, 0.6, 0.8)},
    'db_mtl': {'beta': (0.5, 0.9, 0.99)},
    'dwa': {'temperature': (1.0, 2.0, 5.0)},
    'excess_mtl': {'step_size': (1e-3, 1e-2, 1e-1)},
    'fairgrad': {'alpha': (0.5, 1.0, 2.0, 5.0)},
    'famo': {'decay': (1e-4, 1e-3, 1e-2)},
    'graddrop': {'leak': (0.0, 0.25, 0.5)},
    'gradnorm': {'alpha': (0.5, 1.0, 1.5, 2.0)},
    'gradvac': {'beta': (1e-3, 1e-2, 1e-1)},
    'modo': {'rho': (0.0, 0.1, 0.5)},
    'moco': {'rho': (0.0, 0.1, 0.5)},
    'sdmgrad': {'regularisation': (0.1, 0.3, 1.0)},
    'stch': {'mu': (0.1, 0.3, 1.0, 3.0)},
    'uncertainty': {'learning_rate': (1e-4, 1e-3, 1e-2)},
}
"""The main setting of a weighting, and the values that a search tries; others have none."""
TASK_WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The factors of a task that a search of `uniform` tries: tuned scalarisation (Kurin et al. 2022, Xin et al. 2022)."""


def named(name: str) -> Callable[..., Weighting]:
    """The constructor of a weighting: one of `CONSTRUCTORS`, or `weighting` of the user's module `name`.

    Raises:
        UserError: there is none.
    """
    if name in CONSTRUCTORS:
        return CONSTRUCTORS[name]
    return module('weighting', name, ('weighting',), tuple(CONSTRUCTORS)).weighting


def settings(name: str) -> dict[str, Any]:
    """What can be set of a weighting, with its defaults; `gramian_of` where it reads a Gramian.

    Of one with a `variant`, None stands for what that says (`variants.settled`).

    Raises:
        UserError: there is no such weighting, or one of the user's has an argument without a default or makes none.
    """
    constructor = named(name)
    parameters = inspect.signature(constructor).parameters.values()
    found = {p.name: p.default for p in parameters if p.name not in FROM_RUN}
    lacking = [key for key, value in found.items() if value is inspect.Parameter.empty]
    if lacking:
        raise UserError(f'The weighting {name!r} takes {lacking[0]!r}, which has no default; give it one.')
    made = constructor(**found)
    if not isinstance(made, Weighting):
        raise UserError(f'The weighting {name!r} gives {made!r}; give a `mtkd_jax.Weighting`.')
    if made.needs != 'gramian':
        return found
    return found | {'gramian_of': None if name in VARIANTS else 'parameters'}


def kinds(name: str) -> dict[str, Any]:
    """The types of `settings`, as they are declared."""
    return {**get_type_hints(named(name)), 'gramian_of': str | None}
