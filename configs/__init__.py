"""The configs: one file per data set, each the differences from `base.py`. In the package as `mtkd_jax.configs`."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from mtkd_jax.errors import UserError
from mtkd_jax.names import suggestion

NAMES = tuple(sorted(file.stem for file in Path(__file__).parent.glob('[a-z]*.py') if file.stem != 'base'))
"""The configs that `--config=NAME` takes."""


def path(name: str) -> Path:
    """The file of a config: one of `NAMES`, from any directory, or a Python file.

    Raises:
        UserError: it is neither.
    """
    if name in NAMES:
        return Path(__file__).parent / f'{name}.py'
    if Path(name).is_file():
        return Path(name)
    raise UserError(
        f'`config` is {name!r}, which is no file, and none of {", ".join(NAMES)}.{suggestion(Path(name).stem, NAMES)}'
    )


def module(name: str) -> ModuleType:
    """The module of a config that comes with the package."""
    return importlib.import_module(f'mtkd_jax.configs.{name}')


def load(text: str | Path) -> ConfigDict:
    """The config of `NAME`, `NAME:recipe` or `FILE.py:recipe`, as `--config` takes it.

    Raises:
        UserError: there is no such config or file, it has no `get_config`, or the recipe does not fit.
    """
    name, _, argument = str(text).partition(':')
    if name in NAMES:
        return module(name).get_config(argument)
    file = path(name)
    found = importlib.util.spec_from_file_location(file.stem, file)
    if found is None or found.loader is None:
        raise UserError(f'`config` is {file}, which is no Python file; give one that defines `get_config`.')
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    if not hasattr(loaded, 'get_config'):
        raise UserError(f'`config` is {file}, which defines no `get_config`; see docs/your_data.md.')
    return loaded.get_config(argument)
