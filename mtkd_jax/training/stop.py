"""Stopping on request, and stopping because a number is not finite."""

import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TypeVar

T = TypeVar('T')
STOPPED = 'Stopped on request; what is finished is saved. Run the same command to continue.'


class StoppedError(BaseException):
    """The run was asked to stop and has saved its state; the same command continues it.

    As KeyboardInterrupt, no `Exception`: what takes a damaged file's errors for damage must not take a stop for it.
    """


class NonFiniteLossError(RuntimeError):
    """A loss or gradient became infinite or NaN."""


class StopRequest:
    """Ends a run by `StoppedError` instead of dying of a signal. Use as a context manager.

    The loop only notes a signal (`noted`), so that it can save first; elsewhere it ends the run at once, because what
    is finished is saved. A second SIGINT is a KeyboardInterrupt.

    Args:
        signals: those that ask to stop. Library and notebook keep SIGINT as it is; `main` takes it, too.
    """

    def __init__(self, signals: Sequence[int] = (signal.SIGTERM,)) -> None:
        self.requested = False
        self.status = 128 + signal.SIGTERM
        """What a shell reports of a process that the signal ended."""
        self._signals = signals
        self._noting = 0
        self._signalled = False
        self._lock = threading.Lock()

    def __enter__(self) -> 'StopRequest':
        # Only the main thread may install a handler; elsewhere nobody asks to stop.
        main = threading.current_thread() is threading.main_thread()
        self._previous = {number: signal.signal(number, self._note) for number in (self._signals if main else ())}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            if previous is not None:
                signal.signal(number, previous)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Here a signal is only noted: who runs this saves, and raises `StoppedError`. Several threads may be here."""
        with self._lock:
            self._noting += 1
        try:
            yield
        finally:
            with self._lock:
                self._noting -= 1

    def unless(self, items: Iterable[T]) -> Generator[T, None, None]:
        """The same items; raises `StoppedError` in front of one where a stop is requested."""
        for item in items:
            if self.requested:
                raise StoppedError(STOPPED)
            yield item

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested, self._signalled, self.status = True, True, 128 + number
        if not self._noting:
            raise StoppedError(STOPPED)
