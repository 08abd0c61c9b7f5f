"""What every command does alike: how it starts, and how it says what the user can mend.

Commands share names of flags, and absl keeps one table per process: each defines its own with `allow_override`, so that
several can be imported together.
"""

import re
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from absl import app, flags, logging

from mtkd_jax.types import UserError

T = TypeVar('T')


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


def start(command: Callable[[], None], errors: tuple[type[Exception], ...] = ()) -> None:
    """Parses the flags and runs `command`; a `UserError` (or one of `errors`) is printed, exit status 1."""
    # Libraries announce every checkpoint they write; what a user must know is printed by us.
    logging.set_verbosity(logging.WARNING)

    expected: tuple[type[Exception], ...] = (UserError, *errors)

    def main(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f'Unexpected arguments: {" ".join(argv[1:])}. Flags begin with --.')
        try:
            command()
        except expected as error:
            print(f'error: {error}', *getattr(error, '__notes__', []), sep='\n', file=sys.stderr)
            sys.exit(1)

    def parse(argv: list[str]) -> list[str]:
        try:
            return app.parse_flags_with_usage(argv)
        except UserError as error:
            print(f'error: {error}', *getattr(error, '__notes__', []), sep='\n', file=sys.stderr)
        except AttributeError as error:
            # What a config raises of a field it does not have.
            print(f'error: the config has no such field: {" ".join(str(error).split())}', file=sys.stderr)
        sys.exit(1)

    app.run(main, flags_parser=parse)
