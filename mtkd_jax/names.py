"""Names that users give: one of those there are, or a module of their own."""

import difflib
import functools
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from mtkd_jax.errors import UserError
from mtkd_jax.places import matches, place


def suggestion(name: str, options: Iterable[str]) -> str:
    """` Did you mean 'depth'?` (with the space in front) where one of `options` is close to `name`, else ''."""
    plain = {option.lower().replace('-', '_'): option for option in options}
    close = difflib.get_close_matches(name.lower().replace('-', '_'), list(plain), n=1)
    return f' Did you mean {plain[close[0]]!r}?' if close else ''


def natural(name: str) -> tuple[list[str | int], str]:
    """Sorts names as people do: numbers in them by value (`2` before `10`)."""
    # Text and digits take turns, so that only like is compared with like.
    parts = re.split('([0-9]+)', name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def matching(field: str, pattern: str, exists: Callable[[str], bool], what: str) -> list[Path]:
    """The path of that very name if it `exists`, otherwise those that match it as a pattern, numbers by value.

    Raises:
        UserError: there is none; names the `field` it was given for, and `what` it should be.
    """
    if exists(pattern):
        return [place(pattern)]
    found = sorted(filter(exists, matches(pattern)), key=natural)
    if not found:
        raise UserError(f'`{field}` has {pattern!r}, which matches no {what}. Check the path.')
    return [place(path) for path in found]


def choice(field: str, value: str, options: Collection[str]) -> str:
    """`value`, when it is one of `options`.

    Raises:
        UserError: it is none of them; lists them, and says which one was probably meant.
    """
    if value not in options:
        raise UserError(f'`{field}` is {value!r}; choose one of {", ".join(options)}.{suggestion(value, options)}')
    return value


def optional(hint: Any) -> type | None:
    """The type of what is declared as `X | None`, of its words where X is a `Literal`; None: it is not declared so."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    if len(kinds) != 1:
        return None
    found: type = type(get_args(kinds[0])[0]) if get_origin(kinds[0]) is Literal else kinds[0]
    return found


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
        raise _no_module(field, name, options) from error
    if getattr(found, '__file__', None) is None:  # a folder without `__init__.py`, or the interpreter's own
        raise _no_module(field, name, options)
    _code(name)
    return having(found, f'{found.__file__}, given as `{field}`,', needed)


def importable(name: str) -> bool:
    """Whether `name` can be a module of the user's; nothing but its parent packages is imported."""
    top = name.partition('.')[0]
    return top.isidentifier() and top != '__main__' and importlib.util.find_spec(top) is not None


def digest(found: ModuleType) -> str:
    """What tells a user's module from another of the same name: the beginning of a SHA-256 of its code, of all files
    where it is a package. Modules that it imports do not count.

    Raises:
        UserError: the code has changed since it was imported, so what runs is not what the digest would be of.
    """
    name = found.__name__
    if _code(name) != _hash(found):
        raise UserError(
            f'The module {name!r} has changed since it was imported; start Python again, so that what is recorded is '
            'what runs.'
        )
    return _code(name)


@functools.cache
def _code(name: str) -> str:
    """The digest of a module as it was imported first."""
    return _hash(sys.modules[name])


def _hash(found: ModuleType) -> str:
    folders = getattr(found, '__path__', None)
    files = (
        [file for folder in folders for file in Path(folder).rglob('*.py')] if folders else [Path(str(found.__file__))]
    )
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(file.read_bytes())
    return total.hexdigest()[:12]


def _no_module(field: str, name: str, options: Collection[str]) -> UserError:
    return UserError(
        f'`{field}` is {name!r}, which is none of {", ".join(options)}, nor a Python module that can be imported from '
        f'here ({Path.cwd()}).{suggestion(name, options)}'
    )


def having(found: Any, what: str, needed: Sequence[str]) -> Any:
    """`found`, when it has all of `needed`.

    Raises:
        UserError: it lacks one; `what` is what to call it.
    """
    lacking = [name for name in needed if not hasattr(found, name)]
    if lacking:
        raise UserError(f'{what} has no {lacking[0]!r}; it needs {", ".join(needed)}.')
    return found
