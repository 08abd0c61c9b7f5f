"""Names that users give: one of those there are, or a module of their own."""

import difflib
import functools
import hashlib
import importlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mtkd_jax.types import UserError


def suggestion(name: str, options: Iterable[str]) -> str:
    """` Did you mean 'depth'?` (with the space in front) where one of `options` is close to `name`, else ''."""
    close = difflib.get_close_matches(name, list(options), n=1)
    return f' Did you mean {close[0]!r}?' if close else ''


def choice(field: str, value: str, options: Collection[str]) -> str:
    """`value`, when it is one of `options`.

    Raises:
        UserError: it is none of them; lists them, and says which one was probably meant.
    """
    if value not in options:
        raise UserError(f'`{field}` is {value!r}; choose one of {", ".join(options)}.{suggestion(value, options)}')
    return value


@functools.cache
def module(field: str, name: str, needed: tuple[str, ...], options: tuple[str, ...]) -> ModuleType:
    """The user's Python module `name`, given for `field` instead of one of `options`; it has all of `needed`.

    Raises:
        UserError: there is no such module, or it lacks something.
    """
    have = ', '.join(options)
    if not name or name.startswith('.'):
        raise UserError(f'`{field}` is {name!r}; give one of {have}, or the name of a Python module.')
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition('.')[0] and error.name != name:
            raise  # one that the user's module imports
        raise UserError(
            f'`{field}` is {name!r}, which is none of {have}, nor a Python module that can be imported from here '
            f'({Path.cwd()}).{suggestion(name, options)}'
        ) from error
    return having(found, f'{found.__file__}, given as `{field}`,', needed)


def digest(found: ModuleType) -> str:
    """What tells a user's module from another of the same name: the beginning of its file's SHA-256."""
    return hashlib.sha256(Path(str(found.__file__)).read_bytes()).hexdigest()[:12]


def having(found: Any, what: str, needed: Sequence[str]) -> Any:
    """`found`, when it has all of `needed`.

    Raises:
        UserError: it lacks one; `what` is what to call it.
    """
    lacking = [name for name in needed if not hasattr(found, name)]
    if lacking:
        raise UserError(f'{what} has no {lacking[0]!r}; it needs {", ".join(needed)}.')
    return found
