"""A lock that ends with its process, also on NFS: of several runs in one workdir, one writes."""

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError

LOCK = 'lock'
POLL_SECONDS = 0.2


@contextmanager
def locked(folder: Path, stop: StopRequest) -> Iterator[None]:
    """Holds the lock of `folder`; waits, and says so, while another process holds it.

    Raises:
        UserError: the file system has no locks.
        StoppedError: a stop was requested while it waited.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # NFS locks only what is open for writing.
    with (folder / LOCK).open('a+') as stream:
        said = False
        while not _taken(stream.fileno(), folder):
            if not said:
                stream.seek(0)
                print(f'{folder} is in use by {stream.read() or "another process"}; waiting for it.', file=sys.stderr)
                said = True
            if stop.requested:
                raise StoppedError(f'Stopped on request while waiting for {folder}.')
            time.sleep(POLL_SECONDS)
        stream.truncate(0)
        stream.write(f'process {os.getpid()} on {socket.gethostname()}')
        stream.flush()
        yield


def _taken(descriptor: int, folder: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f'{folder / LOCK} cannot be locked ({error.strerror}); choose a --workdir on a file system with locks.'
        ) from error
    return True
