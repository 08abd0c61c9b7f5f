"""The memory of a process that computes on CPUs."""

import ctypes
import os

LIMIT = 2**30  # bytes

SETTINGS = {'MMAP_THRESHOLD_': -3, 'TRIM_THRESHOLD_': -1}
"""What is set to `LIMIT`: glibc's variable of the environment without `MALLOC_` → its number in `mallopt`."""


def keep_freed() -> None:
    """Keeps what is freed, pieces of up to `LIMIT`, for the process's next need.

    XLA asks for a step's intermediate values anew in every step. glibc takes pieces above 32 MiB from the system, which
    fills them with zeros, page by page, and gives them back afterwards: a fifth of a step of the rooms job
    (docs/performance.md). A thread's heap has at most 64 MiB, so that larger pieces still go that way.

    Does nothing for a C library without `mallopt`, nor where one of these variables is set.
    """
    change = getattr(ctypes.CDLL(None), 'mallopt', None)
    if change is None or any(f'MALLOC_{name}' in os.environ for name in SETTINGS):
        return
    for number in SETTINGS.values():
        change(number, LIMIT)
