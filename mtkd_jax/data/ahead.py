"""Work done ahead of its use, in threads, a bounded amount of it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mtkd_jax.errors import UserError

T = TypeVar('T')
R = TypeVar('R')


def ahead(function: Callable[[T], R], items: Iterable[T], threads: int, most: int) -> Iterator[R]:
    """`function` of each of `items`, in order, computed by `threads` threads.

    At most `most` results are under way or wait, so memory does not grow with the number of items, which are taken one
    by one by the caller's thread. A `UserError`, of `function` or of `items`, is raised after all results before it.
    """
    source, waiting = iter(items), deque[Future[R]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            ended = False
            while waiting or not ended:
                while not ended and len(waiting) < most:
                    try:
                        waiting.append(pool.submit(function, next(source)))
                    except StopIteration:
                        ended = True
                    except UserError as error:
                        ended = True
                        waiting.append(_failed(error))
                if waiting:
                    yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, in order; the last may be shorter. A `UserError` of `items` comes after all before it."""
    batch: list[T] = []
    failed = None
    try:
        for item in items:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
    except UserError as error:
        failed = error
    if batch:
        yield batch
    if failed is not None:
        raise failed


def _failed(error: UserError) -> 'Future[R]':
    future: Future[R] = Future()
    future.set_exception(error)
    return future
