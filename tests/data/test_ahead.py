"""Work ahead of its use: in order, a bounded amount of it, and errors in their place."""

import threading
import time

import pytest

from mtkd_jax.data.ahead import ahead, batches
from mtkd_jax.types import UserError


def taken(results):
    """What comes before an error, and the error."""
    found = []
    try:
        found.extend(results)
    except UserError as error:
        return found, str(error)
    return found, None


def failing(count):
    yield from range(count)
    raise UserError(f'no {count}')


def test_results_come_in_order_and_few_are_made_ahead():
    found, made, lock = [], [], threading.Lock()

    def slow_first(i):
        time.sleep(0.02 if i == 0 else 0)
        with lock:
            made.append(i)
        return i * i

    def source():
        for i in range(50):
            assert i - len(found) < 6, 'taken from the source too early'
            yield i

    for result in ahead(slow_first, source(), threads=3, most=6):
        found.append(result)
        assert len(made) <= len(found) + 5
    assert found == [i * i for i in range(50)]
    assert list(ahead(str, [], threads=2, most=2)) == []


@pytest.mark.parametrize('threads', [1, 4])
def test_an_error_comes_after_all_results_before_it(threads):
    def refused(i):
        if i == 7:
            raise UserError('seven')
        return i

    assert taken(ahead(refused, range(20), threads, most=6)) == (list(range(7)), 'seven')
    assert taken(ahead(int, failing(5), threads, most=6)) == (list(range(5)), 'no 5')


def test_what_nobody_takes_is_given_up():
    begun = []
    results = ahead(begun.append, range(1000), threads=1, most=4)
    next(results)
    results.close()
    assert len(begun) <= 4


def test_batches_are_whole_but_for_the_last():
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert taken(batches(failing(4), 3)) == ([[0, 1, 2], [3]], 'no 4')
