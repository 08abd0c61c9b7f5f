"""Joining several processes that train together, and ending together: a process that fails or dies ends the others."""

import atexit
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import jax

from mtkd_jax.training.processes import POLL_SECONDS, ROOT, client, found_by_jax
from mtkd_jax.training.stop import STOPPED, StoppedError, StopRequest
from mtkd_jax.types import UserError

BEAT_SECONDS = 2.0  # between two signs of life
SILENT_BEATS = 10  # looks without a new sign of life after which a process counts as dead
SILENT = f'has given no sign of life for {SILENT_BEATS * BEAT_SECONDS:.0f} s'
JOIN_SECONDS = 300.0  # that processes wait for the others to be started
SAID_SECONDS = 15.0  # after which a process says that it waits
GRACE_SECONDS = 20.0  # that a process has to save and leave when another was asked to stop
LINGER_SECONDS = 1.0  # that the first one keeps the store for those that have said that they end
DONE_SECONDS = 0.1  # between two looks at whether all have done their work
HEARTBEAT_SECONDS = 45  # jax's own; ours comes first, and names the process
ALIVE, DONE, CAUSE, LEFT = (f'{ROOT}/{name}' for name in ('alive', 'done', 'cause', 'left'))


@contextmanager
def joined(
    stop: StopRequest, coordinator: str = '', count: int | None = None, index: int | None = None
) -> Iterator[None]:
    """Here this process is one of several, where arguments or cluster say so; all end when one of them fails.

    Args:
        stop: is requested where another process was asked to stop.
        coordinator: HOST:PORT of the first process; with it, `count` and `index` (from 0) are needed. Without it jax
            asks the cluster (Slurm, TPU, GKE, Open MPI); where there is none, the process is alone.

    Raises:
        UserError: an argument is missing or does not fit.
        StoppedError: this process was asked to stop after its own work, before all others had done theirs.
        SystemExit: another one has failed or was asked to stop, and has said so.
    """
    _check(coordinator, count, index)
    if not coordinator and found_by_jax() is None:
        yield
        return
    # Requests to stop are ours: jax's own owner of SIGTERM would take them.
    jax.config.update('jax_enable_preemption_service', False)
    given: dict[str, Any] = {
        'coordinator_address': coordinator,
        'num_processes': count,
        'process_id': index,
        'cluster_detection_method': 'deactivate',
    }
    at = coordinator and f' at {coordinator}'
    remedy = f'all must be started, and reach the first one{at}'
    try:
        with _waiting(remedy):
            jax.distributed.initialize(
                **(given if coordinator else {}),
                # Ours comes first: jax's would end the process with a page of text.
                initialization_timeout=int(JOIN_SECONDS + 60),
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
    except (RuntimeError, ValueError) as error:
        said = ' '.join(str(error).split())[:300]
        raise UserError(f'The processes did not find each other ({said}); {remedy}.') from error
    watch = _Watch(stop)
    with ExitStack() as finishing:
        try:
            yield
            finishing.enter_context(stop.noted())
            ended = watch.finish()
        except BaseException as error:
            # Asked once more to stop, it goes on leaving.
            with stop.noted():
                status = stop.status if isinstance(error, StoppedError) else 1
                # What the others' end does to this one.
                caused = isinstance(error, jax.errors.JaxRuntimeError)
                told = watch.fail(status, f'{type(error).__name__}: {error}', caused)
            if told is not None:
                # Another process has said it already.
                raise SystemExit(told) from None
            raise
        if ended is not None:
            raise ended


@contextmanager
def _waiting(remedy: str) -> Iterator[None]:
    """Says when this process has waited for a while, and ends it when it has waited in vain."""

    def in_vain() -> None:
        _say(f'the processes did not find each other in {JOIN_SECONDS:.0f} s; {remedy}')
        _end(1)

    said = f'waiting up to {JOIN_SECONDS:.0f} s for the other processes'
    timers = [
        threading.Timer(SAID_SECONDS, print, [said], {'file': sys.stderr, 'flush': True}),
        threading.Timer(JOIN_SECONDS, in_vain),
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


def _check(coordinator: str, count: int | None, index: int | None) -> None:
    given = {'--coordinator': coordinator or None, '--processes': count, '--process': index}
    lacking = [name for name, value in given.items() if value is None]
    if len(lacking) not in (0, 3):
        raise UserError(f'{lacking[0]} is missing; several processes need --coordinator, --processes and --process.')
    if count is not None and index is not None and not 0 <= index < count:
        raise UserError(f'--process is {index} of --processes={count}; give 0 to {count - 1}.')
    if coordinator and not coordinator.rpartition(':')[2].isdecimal():
        raise UserError(f'--coordinator is {coordinator!r}; give HOST:PORT, such as localhost:9876.')


class _Watch:
    """A thread that tells the others that this process lives, and ends it when another has failed or died."""

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop
        self._client, self._me, self._count = client(), jax.process_index(), jax.process_count()
        self._leaving, self._said = threading.Event(), threading.Lock()
        # Of a way out that nobody has thought of.
        self._status: int | None = 1
        # Runs before jax's own, which would wait for processes that have failed.
        atexit.register(self._exit)
        self._thread = threading.Thread(target=self._watch, name='watch', daemon=True)
        self._thread.start()

    def fail(self, status: int, why: str, caused: bool) -> int | None:
        """Says that this process ends with `status`, and why, and lets the others end.

        Where another has said why before, gives its status. `caused`: perhaps only because another process is gone.
        """
        self._status = status
        # Where all fail for the same reason, the first one says it.
        patience = (SILENT_BEATS + 2) * BEAT_SECONDS if caused else 1.0 if self._me else 0.0
        end = time.monotonic() + patience
        while (cause := self._cause()) is None and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        if cause is None:
            # Before the watching thread can take this process's own words for another's.
            self._leaving.set()
            self._tell(status, f'process {self._me} on {socket.gethostname()} ended ({why})')
        else:
            self._status = _status(cause)
            if caused:
                self._say_also(cause)
        self.leave()
        return None if cause is None else self._status

    def finish(self) -> BaseException | None:
        """Says that this process has done its work, and returns once all have, or one has ended before.

        Gives what this process is to raise then: StoppedError where it was asked to stop itself, SystemExit where
        another one has ended.
        """
        self._client.key_value_set(f'{DONE}/{self._me}', '1')
        stopped = False
        while (cause := self._cause()) is None:
            # The first that tells why they end decides it for all.
            if not self._me and len(self._client.key_value_dir_get(DONE)) == self._count:
                self._tell(0, 'all have done their work')
            elif self._stop.requested:
                why = f'process {self._me} on {socket.gethostname()} ended ({STOPPED})'
                stopped = self._tell(self._stop.status, why)
            else:
                time.sleep(DONE_SECONDS)
        # With 0, Python ends as jax wants it: together with the others.
        self._status = _status(cause) or None
        self._leaving.set()
        if 0 < _status(cause) < 128:
            self._say_also(cause)
        # In a call of jax when Python ends, the thread would abort the process.
        self._thread.join(GRACE_SECONDS)
        self.leave()
        if self._status is None:
            return None
        return StoppedError(STOPPED) if stopped else SystemExit(self._status)

    def leave(self) -> None:
        """Says that this process ends. The first one, which keeps the store, gives the others some time to end."""
        self._leaving.set()
        self._client.key_value_set(f'{LEFT}/{self._me}', '1', allow_overwrite=True)
        if self._me:
            return
        # The others see up to two beats later why they end.
        end = time.monotonic() + GRACE_SECONDS + 2 * BEAT_SECONDS
        while len(self._client.key_value_dir_get(LEFT)) < self._count and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        if self._status is not None:
            time.sleep(LINGER_SECONDS)

    def _tell(self, status: int, why: str) -> bool:
        """Tells all why they end; whether no other process had done so before."""
        try:
            self._client.key_value_set(f'{CAUSE}/it', f'{status} {why}')
        except jax.errors.JaxRuntimeError as error:
            if 'ALREADY_EXISTS' not in str(error):
                raise
            return False
        return True

    def _cause(self) -> str | None:
        return next((text for _, text in self._client.key_value_dir_get(CAUSE)), None)

    def _exit(self) -> None:
        if self._status is not None:
            _end(self._status)

    def _watch(self) -> None:
        beats: dict[str, tuple[str, int]] = {}
        for beat in itertools.count():
            try:
                self._client.key_value_set(f'{ALIVE}/{self._me}', str(beat), allow_overwrite=True)
                if (cause := self._cause()) is None:
                    self._look(beats)
            except Exception:
                if not self._leaving.is_set():
                    _say('the first process, which the others need, does not answer')
                    _end(1)
                return
            if self._leaving.is_set():
                return
            if cause is not None:
                self._follow(cause)
                return
            self._leaving.wait(BEAT_SECONDS)

    def _look(self, beats: dict[str, tuple[str, int]]) -> None:
        """Tells all where a process has given no sign of life. `beats`: the last one of each, and how often seen."""
        alive = dict(self._client.key_value_dir_get(ALIVE))
        gone = {key.rpartition('/')[2] for key, _ in self._client.key_value_dir_get(LEFT)}
        for key, text in alive.items():
            before, silent = beats.get(key, ('', 0))
            beats[key] = text, silent + 1 if text == before else 0
            who = key.rpartition('/')[2]
            if beats[key][1] >= SILENT_BEATS and who not in gone and not self._leaving.is_set():
                # Nobody waits for it.
                self._client.key_value_set(f'{LEFT}/{who}', '1', allow_overwrite=True)
                self._tell(1, f'process {who} {SILENT}: it was killed, or its machine is lost')
                return

    def _follow(self, cause: str) -> None:
        """Ends this process, because another ended with `cause`; one that was asked to stop lets this one save."""
        if not _status(cause):
            return
        if _status(cause) > 128:
            if not self._stop.requested:
                os.kill(os.getpid(), signal.SIGTERM)
            if self._leaving.wait(GRACE_SECONDS):
                return
        if self._leaving.is_set():
            return
        self._say_also(cause)
        self.leave()
        _end(_status(cause))

    def _say_also(self, cause: str) -> None:
        if self._said.acquire(blocking=False):
            _say(f'{cause.partition(" ")[2]}; so this one ends, too')


def _status(cause: str) -> int:
    return int(cause.partition(' ')[0])


def _say(text: str) -> None:
    print(f'error: {text}', file=sys.stderr, flush=True)


def _end(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
