"""Methods: what is minimised, in which stages. Each has a file and a line below (`plan` explains such a file)."""

from typing import Any

from mtkd_jax import names
from mtkd_jax.methods import bam, kd_mtl, mtl, no_distillation, sd_mtcnn, stl, traditional_kd
from mtkd_jax.methods.method import Method
from mtkd_jax.methods.supervised import Supervised

_MODULES = (stl, mtl, kd_mtl, bam, sd_mtcnn, no_distillation, traditional_kd)
NAMES: dict[str, Any] = {module.__name__.rpartition('.')[2]: module for module in _MODULES}
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
