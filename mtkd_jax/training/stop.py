"""Stopping on request, and stopping because a number is not finite."""

import signal
import threading
from types import FrameType, TracebackType


class StoppedError(Exception):
    """The run was asked to stop and has saved its state; the same command continues it."""


class NonFiniteLossError(RuntimeError):
    """A loss or gradient became infinite or NaN."""


class StopRequest:
    """Notes a SIGTERM instead of dying of it, so that the loop can save first. Use as a context manager."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> 'StopRequest':
        # Only the main thread may install a handler; elsewhere nobody asks to stop.
        self._installed = threading.current_thread() is threading.main_thread()
        if self._installed:
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed and self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
