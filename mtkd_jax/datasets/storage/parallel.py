"""Work spread over processes, with results in order and only a few of them in memory."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from mtkd_jax.data.parent import follow_parent
from mtkd_jax.datasets.errors import DataError

AHEAD = 4  # results per process that may wait to be taken
START = 5.0  # seconds that processes take to start, about

_work: Any = None


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def ordered_map(work: Callable[[Any], Any], items: Iterable[Any], count: int) -> Generator[Any, None, None]:
    """`work` of each of the `count` items, in order; on all cores once the rest would take longer than processes start.

    `work` is sent to every process once.

    Raises:
        DataError: one of the processes was killed.
    """
    workers, left, spent = min(cores(), count), iter(items), 0.0
    for done, item in enumerate(left, 1):
        began = time.monotonic()
        result = work(item)
        spent += time.monotonic() - began
        yield result
        if workers > 1 and spent / done * (count - done) > START:
            break
    else:
        return
    # Fresh processes: forking one in which JAX already runs threads can hang.
    context = multiprocessing.get_context('spawn')
    with contextlib.ExitStack() as stack:
        pool = ProcessPoolExecutor(workers, context, _start_worker, (work,))
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting: deque[Future[Any]] = deque()
        try:
            for item in left:
                waiting.append(pool.submit(_call, item))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                'One of the processes that read frames was killed, perhaps for want of memory; free some, and run the '
                'same command again.'
            ) from error


def _call(item: Any) -> Any:
    return _work(item)


def _start_worker(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    # Ctrl-C reaches every process of the terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
