"""A lock that ends with its process, also on NFS: of several runs in one workdir, one writes."""

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtkd_jax.places import Stored
from mtkd_jax.training.lease import LOCK, leased
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError

POLL_SECONDS = 0.2


@contextmanager
def locked(folder: Path, stop: StopRequest) -> Iterator[None]:
    """Holds the lock of `folder`; waits, and says so, while another process holds it. In a store it is a lease.

    Raises:
        UserError: the file system has no locks.
        StoppedError: a stop was requested while it waited.
    """
    if isinstance(folder, Stored):
        with leased(folder, stop):
            yield
        return
    said = False
    while True:
        if stop.requested:
            raise StoppedError(f'Stopped on request before the lock of {folder} was free; run the same command again.')
        folder.mkdir(parents=True, exist_ok=True)
        # NFS locks only what is open for writing.
        with (folder / LOCK).open('a+') as stream:
            if _taken(stream.fileno(), folder):
                # A folder that was removed meanwhile, perhaps made again, has another lock.
                if not _is_still(stream.fileno(), folder / LOCK):
                    continue
                stream.truncate(0)
                stream.write(f'process {os.getpid()} on {socket.gethostname()}')
                stream.flush()
                yield
                return
            if not said:
                stream.seek(0)
                print(f'{folder} is in use by {stream.read() or "another process"}; waiting for it.', file=sys.stderr)
                said = True
        time.sleep(POLL_SECONDS)


def free(folder: Path) -> bool:
    """Whether nobody holds the lock of `folder` now.

    Raises:
        UserError: the file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open('a+') as stream:
        return _taken(stream.fileno(), folder)


def _is_still(descriptor: int, file: Path) -> bool:
    return file.exists() and os.path.samestat(os.fstat(descriptor), file.stat())


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
