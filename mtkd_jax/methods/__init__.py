"""Methods: what is minimised, in which stages. Each has a file (see `plan`), and its name in `recipe.METHODS`."""

import importlib
from typing import Any

from mtkd_jax import names, recipe
from mtkd_jax.methods.method import Method
from mtkd_jax.methods.supervised import Supervised

NAMES: dict[str, Any] = {name: importlib.import_module(f'{__name__}.{name}') for name in recipe.METHODS}
"""Every method by the name that configs use."""

__all__ = ['NAMES', 'Method', 'Supervised', 'named']


def named(name: str) -> Any:
    """The module of a method: one of `NAMES`, or the user's module `name`; it has `Settings` and `stages`.

    Raises:
        UserError: there is none, or it lacks something.
    """
    if name in NAMES:
        return NAMES[name]
    found = names.module('method', name, ('Settings', 'stages'), tuple(NAMES))
    names.having(found.Settings, f'`Settings` of the method {name!r}', ('defaults', 'check'))
    return found
