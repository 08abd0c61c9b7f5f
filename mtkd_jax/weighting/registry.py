"""Every weighting by its name, and what can be set of it."""

import inspect
from collections.abc import Callable
from typing import Any

from mtkd_jax import weighting
from mtkd_jax.weighting.base import Weighting

# `fixed` is `uniform` with factors in front of the losses, which every weighting can have (`scaled`).
CONSTRUCTORS: dict[str, Callable[..., Weighting]] = {
    name: getattr(weighting, name) for name in weighting.__all__ if name not in ('Weighting', 'fixed')
}
FROM_RUN = ('steps_per_epoch', 'seed')
"""Arguments of constructors that a run knows, so that nobody has to set them."""


def hyperparameters() -> dict[str, dict[str, Any]]:
    """The hyper-parameters of every weighting that has some, with their defaults."""
    found = {}
    for name, constructor in CONSTRUCTORS.items():
        parameters = inspect.signature(constructor).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.name not in FROM_RUN}
        if defaults:
            found[name] = defaults
    return found
