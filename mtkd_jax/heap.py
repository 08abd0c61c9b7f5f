"""The memory of a process that computes on CPUs."""

import ctypes
import os

PIECES = 2**26, 2**25
"""Up to how many bytes a piece is kept: the first of these that the C library takes; the first glibc 2.35 began to."""
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # parameters of `mallopt`


def keep_freed() -> None:
    """Keeps what is freed, in pieces of up to 64 MiB (old glibc: 32), for the process's next need.

    XLA asks for a step's intermediate values anew in every step. glibc takes pieces above 32 MiB from the system, which
    fills them with zeros, page by page, and gives them back afterwards: a fifth of a step of the rooms job
    (docs/performance.md). A thread's heap has at most 64 MiB, so that larger pieces go that way in any case.

    Does nothing for a C library without `mallopt`, nor where the environment sets one of the two thresholds already
    (`MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_`, or by `GLIBC_TUNABLES`).
    """
    change = getattr(ctypes.CDLL(None), 'mallopt', None)
    said = [*(name for name in os.environ if name.startswith('MALLOC_')), os.environ.get('GLIBC_TUNABLES', '')]
    if change is None or any('threshold' in text.lower() for text in said):
        return
    # The second alone would make things worse: each of them ends glibc's own choice of both.
    if any(change(MMAP_THRESHOLD, size) for size in PIECES):
        change(TRIM_THRESHOLD, 2 * PIECES[0])
