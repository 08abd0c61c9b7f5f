"""The folder that data are prepared in: held by one process, and what the system says of it in words."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from mtkd_jax.datasets.errors import DataError
from mtkd_jax.files import CLOSED, FULL

# As tensorflow-datasets names what it is writing.
UNFINISHED = 'incomplete.'


@contextlib.contextmanager
def explained(place: Path) -> Iterator[None]:
    """Says of the system's errors what to do about them."""
    try:
        yield
    except OSError as error:
        where = error.filename or place
        if error.errno in FULL:
            said = f'{place} is full ({error.strerror}); free some space, or give another `data_dir`'
        elif error.errno in CLOSED:
            said = f'{where} may not be used ({error.strerror}); see to its rights, or give another `data_dir`'
        else:
            said = f'Preparing in {place} failed ({error}); mend that'
        explained = DataError(f'{said}. Then run the same command again.')
        for note in getattr(error, '__notes__', ()):
            explained.add_note(note)
        raise explained from error


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; the system lets go of it however the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.warning('Another process is preparing data in %s; waiting for it.', folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise DataError(
                f'{folder} cannot be locked ({error.strerror}), so two processes could write there at once; give a '
                '`data_dir` on a file system that has locks.'
            ) from error
        yield
    finally:
        os.close(handle)
