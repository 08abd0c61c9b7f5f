"""What all commands have in common: how they start, and how they report an error that the user can fix.

Commands share names of flags, and absl keeps one table per process: each defines its own with `allow_override`, so that
several can be imported together.
"""

import difflib
import errno
import functools
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from absl import app, flags, logging

from mtkd_jax import heap
from mtkd_jax.errors import UserError
from mtkd_jax.files import CLOSED, FULL
from mtkd_jax.names import suggestion

T = TypeVar('T')
IMPOSSIBLE = (errno.ENAMETOOLONG, errno.ELOOP)  # numbers of the system's errors: no file can have that name


class Function(types.ModuleType):
    """A command's module that is also the library's function of its name, as in `mtkd_jax.evaluate`.

    The name is the function until somebody imports the command; then Python binds it to the module. A module becomes
    one with `sys.modules[__name__].__class__ = command.Function`.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition('.')[2])(*arguments, **options)


def value(flag: flags.FlagHolder[T | None]) -> T:
    """The value of a flag that must be given."""
    if not flag.value:
        raise UserError(f'--{flag.name}=... is missing. {flags.FLAGS[flag.name].help}')
    return flag.value


def parse_size(text: str) -> tuple[int, int]:
    """`288x384` as (height, width)."""
    found = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', text)
    if not found:
        raise UserError(f'`size` is {text!r}; give height x width in pixels, such as 288x384.')
    return int(found[1]), int(found[2])


def start(
    command: Callable[[], None],
    errors: tuple[type[Exception], ...] = (),
    usage: Callable[[], str] | None = None,
    prepare: Callable[[list[str]], tuple[list[str], Mapping[str, Any]]] | None = None,
) -> None:
    """Parses the flags and runs `command`; a `UserError` (or one of `errors`) is printed, exit status 1.

    `usage`: what `--help` says above the flags, instead of the module's docstring. `prepare`: arguments → arguments as
    absl is to see them, and the fields that `--config.FIELD` may set, by name.
    """
    # Libraries announce every checkpoint they write; what a user must know is printed by us.
    logging.set_verbosity(logging.WARNING)
    heap.keep_freed()
    heap.collect_rarely()

    expected: tuple[type[Exception], ...] = (UserError, *errors)

    def main(argv: Sequence[str]) -> None:
        try:
            if len(argv) > 1:
                raise UserError(f'Unexpected arguments: {" ".join(argv[1:])}. Flags begin with --.')
            _with_sentences(command)
        except expected as error:
            print(f'error: {error}', *getattr(error, '__notes__', []), sep='\n', file=sys.stderr)
            sys.exit(1)

    def parse(argv: list[str]) -> list[str]:
        if usage is not None and {'--help', '-help', '--helpfull', '--helpshort'} & set(argv):
            sys.modules['__main__'].__doc__ = usage()
        fields: Mapping[str, Any] = {}
        try:
            if prepare is not None:
                # What --flagfile names stands in the files' lines.
                expanded = flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
                argv, fields = _with_sentences(functools.partial(prepare, expanded))
        except (UserError, flags.Error) as error:
            print(f'error: {error}', *getattr(error, '__notes__', []), sep='\n', file=sys.stderr)
            sys.exit(1)
        try:
            return flags.FLAGS(argv)
        except flags.UnrecognizedFlagError as error:
            print(f'error: {unknown(error.flagname, fields)}', file=sys.stderr)
        # A config says in these that a value is of another type; its own code has run before.
        except (flags.Error, UserError, ValueError, TypeError, OverflowError) as error:
            print(f'error: {in_words(error)}', file=sys.stderr)
        sys.exit(1)

    app.run(main, flags_parser=parse)


def _with_sentences(made: Callable[[], T]) -> T:
    """What `made` gives; what the system says of a place that the user named is a UserError."""
    try:
        return made()
    except OSError as error:
        if error.errno not in (*FULL, *CLOSED, *IMPOSSIBLE):
            raise
        raise UserError(f'{str(error.filename)[:200]}: {error.strerror}; give another place or make room.') from error


def in_words(error: Exception) -> str:
    """What absl says, as one line with the remedy where it has none."""
    said = ' '.join(str(error).split()).removeprefix('ERROR:: ')
    if 'in argv before a value for' in said:
        field = re.search(r'--\S+', said)
        return f'{field[0] if field else "a field"} stands before --config; put --config=NAME first.'
    return said


def unknown(name: str, fields: Mapping[str, Any]) -> str:
    """That there is no flag of that name, and what was probably meant."""
    if name.startswith('config.'):
        return f'--{name} is a field of a config, but none is given before it; put --config=NAME first.'
    ends = [field for field in fields if field.rpartition('.')[2] == name]
    if ends:
        return f'--{name} is a field of the config; set it with --config.{ends[0]}=...'
    meant = suggestion(name, list(flags.FLAGS))
    last = {field.rpartition('.')[2]: f'--config.{field}' for field in fields}
    close = difflib.get_close_matches(name, list(last), n=1)
    meant = meant or (f' Did you mean {last[close[0]]}?' if close else '')
    return f'there is no flag --{name}.{meant} --help lists all.'
