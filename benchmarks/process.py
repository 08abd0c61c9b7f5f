"""A process with a time limit, whose lines are taken as they come."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

POLL = 0.2  # seconds


class EndedError(Exception):
    """This process was asked to end."""


def end_on_signal() -> None:
    """SIGTERM raises `EndedError`, so that the process that runs is ended, too."""

    def end(number: int, _: object) -> None:
        raise EndedError(f'ended by {signal.Signals(number).name}')

    signal.signal(signal.SIGTERM, end)


def run(
    call: Sequence[str],
    environment: Mapping[str, str],
    limit: float,
    out: Path,
    err: Path,
    take: Callable[[str], None],
) -> int | None:
    """Runs `call` and gives each whole line that it prints to `take`; its output also goes to files.

    Returns:
        The exit status, below 0 for a signal; None: it was ended after `limit` seconds.
    """
    end = time.monotonic() + limit
    with out.open('w') as stdout, err.open('w') as stderr, out.open() as printed:
        # A group of its own: what it has started ends with it.
        child = subprocess.Popen(call, env=dict(environment), stdout=stdout, stderr=stderr, process_group=0)
        rest, status = '', None
        try:
            while status is None and time.monotonic() < end:
                time.sleep(POLL)
                status = child.poll()
                *lines, rest = (rest + printed.read()).split('\n')
                for line in lines:
                    take(line)
        finally:
            _end(child)
    return status


def _end(child: subprocess.Popen) -> None:
    """Ends the group of `child`, whether that has ended or not."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        # Nothing of it is left.
        return
    finally:
        child.wait()


def reason(status: int, err: Path) -> str:
    """Why a process failed: the signal, or the last line of its error stream."""
    if status < 0:
        return f'killed by {signal.Signals(-status).name}'
    lines = err.read_text(errors='replace').strip().splitlines()
    return lines[-1][:300] if lines else f'exit status {status}'
