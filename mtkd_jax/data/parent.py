"""Processes that end with the one that started them."""

import multiprocessing
import os
import threading


def follow_parent() -> None:
    """Ends this process as soon as the one that started it has ended, even if that was killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # A parent that was killed cannot tell its workers to stop: they would wait for work for ever.
        os._exit(1)
