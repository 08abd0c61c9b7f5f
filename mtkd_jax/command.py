"""What every command does alike: how it starts, and how it says what the user can mend."""

import sys
from collections.abc import Callable, Sequence

from absl import app, logging

from mtkd_jax.types import UserError


def start(command: Callable[[], None], errors: tuple[type[Exception], ...] = ()) -> None:
    """Parses the flags and runs `command`; a `UserError` (or one of `errors`) is printed, exit status 1."""
    # Libraries announce every checkpoint they write; what a user must know is printed by us.
    logging.set_verbosity(logging.WARNING)

    def main(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f'Unexpected arguments: {" ".join(argv[1:])}. Flags begin with --.')
        try:
            command()
        except (UserError, *errors) as error:
            print(f'error: {error}', file=sys.stderr)
            sys.exit(1)

    app.run(main)
