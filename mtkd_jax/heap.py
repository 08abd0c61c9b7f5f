"""The memory of a process that computes on CPUs."""

import ctypes
import gc
import os

PIECES = 2**26, 2**25
"""Up to how many bytes a piece is kept: the first of these that the C library takes; the first glibc 2.35 began to."""
MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2  # parameters of `mallopt`
SET = 'threshold', 'top_pad'
"""How the environment names them."""
COLLECT_AFTER = 10_000
"""New objects after which Python looks for cycles of objects that nobody needs; Python 3.11 chooses 700."""


def keep_freed() -> None:
    """Keeps what is freed, in pieces of up to 64 MiB (old glibc: 32), for the process's next need.

    XLA asks for a step's intermediate values anew in every step. glibc takes pieces above 32 MiB from the system, which
    fills them with zeros, page by page, and gives them back afterwards: a fifth of a step of the rooms job
    (docs/performance.md). A thread's heap has at most 64 MiB, so that larger pieces go that way in any case. A thread
    that needs more gets a second heap, which glibc gives back whenever nothing is in it, unless the room that it keeps
    above what is used (`M_TOP_PAD`) is as large.

    Does nothing for a C library without `mallopt`, nor where the environment sets one of the three already
    (`MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_`, `MALLOC_TOP_PAD_`, or by `GLIBC_TUNABLES`).
    """
    change = getattr(ctypes.CDLL(None), 'mallopt', None)
    said = [*(name for name in os.environ if name.startswith('MALLOC_')), os.environ.get('GLIBC_TUNABLES', '')]
    if change is None or any(name in text.lower() for text in said for name in SET):
        return
    # The others alone would make things worse: each of them ends glibc's own choice of both thresholds.
    if any(change(MMAP_THRESHOLD, size) for size in PIECES):
        change(TRIM_THRESHOLD, 2 * PIECES[0])
        change(TOP_PAD, PIECES[0])


def collect_rarely() -> None:
    """Has Python look for unreachable objects after `COLLECT_AFTER` new ones.

    Tracing a network makes objects by the million that stay. Python looks through all of them again and again, while
    no other thread of its own can run: 5 of 71 s of a short rooms job (docs/performance.md).

    Does nothing where fewer searches, or none, are set already.
    """
    after, *others = gc.get_threshold()
    if gc.isenabled() and 0 < after < COLLECT_AFTER:
        gc.set_threshold(COLLECT_AFTER, *others)
