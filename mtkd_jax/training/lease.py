"""A lock in an object store: a lease that its process renews, and that ends when it is not heard of.

The lock of a folder is the object of the highest number in `FOLDER/lock`. Who takes it over writes the next number,
which the store lets one process do: one that was asleep finds a higher number than its own, and writes no more.
Ages are measured by the clock of the one who waits: clocks need not agree.
"""

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from absl import logging

from mtkd_jax.places import Stored, gain, lose
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError

LOCK = 'lock'
LEASE_SECONDS, RENEW_SECONDS, POLL_SECONDS = 60.0, 15.0, 2.0
SETTLE_SECONDS = 3.0  # how long to wait for others where a store does not refuse the second of two


@contextmanager
def leased(folder: Stored, stop: StopRequest) -> Iterator[None]:
    """Holds the lease of `folder`; waits, and says so, while another process holds it.

    Raises:
        UserError: the store cannot be reached.
        StoppedError: a stop was requested while it waited.
    """
    lease, said = Lease(folder), False
    while (holder := lease.take()) is not None:
        if stop.requested:
            raise StoppedError(f'Stopped on request before the lock of {folder} was free; run the same command again.')
        if not said:
            ends = f'one that was killed is waited for {LEASE_SECONDS:g} s'
            print(f'{folder} is in use by {holder}; waiting for it ({ends}).', file=sys.stderr)
            said = True
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lease.release()


class Lease:
    """One process's hold on `folder`, or its wait for it."""

    def __init__(self, folder: Stored) -> None:
        self._folder, self._locks = folder, folder / LOCK
        self._owner = secrets.token_hex(8)
        self._number = 0
        self._beats = 0
        self._seen: tuple[int, Any, float] = 0, None, 0.0  # number, content, since when it is that
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    def take(self) -> str | None:
        """Takes the lease where it is free, and returns None; otherwise says who holds it."""
        newest = self._newest()
        held = self._read(newest)
        if held is not None and not held.get('released') and not self._expired(newest, held):
            return str(held.get('who', 'another process'))
        self._number = newest + 1
        mine = self._object(self._number)
        # Where the store refuses to write it once more, it has refused the others.
        if mine.create(self._content()) and mine.create(self._content()):
            time.sleep(SETTLE_SECONDS)
        if not self._holds():
            self._withdraw()
            return 'another process'
        for number in self._numbers():
            if number < self._number:
                self._object(number).unlink(missing_ok=True)
        gain(self._folder)
        self._renewing.start()
        return None

    def release(self) -> None:
        """Lets go; the object stays, so that numbers only grow."""
        self._ended.set()
        self._renewing.join()
        try:
            if self._holds():
                self._object(self._number).put(self._content(released=True))
        except UserError as error:
            # What ended before is worth more than this; the lease ends by itself.
            logging.warning('%s', error)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            try:
                if not self._holds():
                    lose(self._folder)
                    return
                self._beats += 1
                self._object(self._number).put(self._content())
            except UserError as error:
                logging.warning('%s', error)

    def _holds(self) -> bool:
        return self._newest() == self._number and (self._read(self._number) or {}).get('owner') == self._owner

    def _withdraw(self) -> None:
        """Removes the own object where another's number is higher; one that another has overwritten is the other's."""
        if (self._read(self._number) or {}).get('owner') == self._owner:
            self._object(self._number).unlink(missing_ok=True)

    def _expired(self, number: int, held: dict[str, Any]) -> bool:
        if self._seen[:2] != (number, held):
            self._seen = number, held, time.monotonic()
        return time.monotonic() - self._seen[2] > LEASE_SECONDS

    def _content(self, released: bool = False) -> bytes:
        who = f'process {os.getpid()} on {socket.gethostname()}'
        return json.dumps({'owner': self._owner, 'who': who, 'beats': self._beats, 'released': released}).encode()

    def _object(self, number: int) -> Stored:
        return self._locks / f'{number:08d}'

    def _numbers(self) -> list[int]:
        return [int(path.name) for path in self._locks.glob('*') if path.name.isdecimal()]

    def _newest(self) -> int:
        return max(self._numbers(), default=0)

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            found = json.loads(self._object(number).read_bytes().decode())
        except FileNotFoundError:
            return None
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}
