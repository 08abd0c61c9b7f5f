"""Shared memory of reading processes that were killed together with their run: the next run frees it.

Every run that reads in processes keeps a record in the folder of shared memory, locked for as long as the run lives;
the names of its shared memory begin with the record's. A record that can be locked is of a run that has died.
"""

import atexit
import contextlib
import fcntl
import functools
import os
import secrets
from multiprocessing import shared_memory
from pathlib import Path

ROOM = Path('/dev/shm')  # where Linux shows shared memory as files; elsewhere it cannot be listed
RECORD = 'mk' + '[0-9a-f]' * 6


@functools.cache
def prefix() -> str:
    """What the names of this run's shared memory begin with, after freeing that of runs that have died.

    Empty where shared memory cannot be listed.
    """
    if not os.access(ROOM, os.W_OK):
        return ''
    free()
    while True:
        record = ROOM / f'mk{secrets.token_hex(3)}'
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(record, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Another run may have taken it for a dead one's, and removed it, before it was locked.
            if record.exists():
                atexit.register(_end, record, os.getpid())
                return f'/{record.name}_'
            os.close(descriptor)


def take(names: str) -> None:
    """From now on, names of shared memory that this process makes begin with `names`."""
    if names:
        # No public argument reaches the calls, which are grain's.
        shared_memory._SHM_NAME_PREFIX = names  # type: ignore[attr-defined]


def free() -> None:
    """Frees the shared memory of runs that have died."""
    for record in ROOM.glob(RECORD):
        # Another user's, or one that another run frees at this moment.
        with contextlib.suppress(PermissionError, FileNotFoundError, BlockingIOError), record.open('r+') as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in ROOM.glob(f'{record.name}_*'):
                left.unlink(missing_ok=True)
            record.unlink()


def _end(record: Path, owner: int) -> None:
    # A forked process has the same list of what to do as it ends.
    if os.getpid() == owner:
        record.unlink(missing_ok=True)
