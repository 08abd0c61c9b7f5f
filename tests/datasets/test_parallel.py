"""Work in other processes: in order, a few items ahead and no further."""

import operator

import pytest

from mtkd_jax.datasets.storage import parallel


@pytest.mark.parametrize('start', [0, 5])
@pytest.mark.parametrize('count', [1, 60])
def test_results_are_in_order_and_items_are_taken_as_needed(count, start, monkeypatch):
    """With processes, which take no time to start, and without."""
    monkeypatch.setattr(parallel, 'cores', lambda: 2)
    monkeypatch.setattr(parallel, 'START', start)
    taken = []

    def items():
        for i in range(count):
            taken.append(i)
            yield i

    for done, result in enumerate(parallel.ordered_map(operator.neg, items(), count)):
        assert result == -done
        assert len(taken) <= done + 2 + 2 * parallel.AHEAD
    assert taken == list(range(count))


@pytest.mark.parametrize('start', [0, 5])
def test_what_fails_is_raised_in_its_place(start, monkeypatch):
    monkeypatch.setattr(parallel, 'START', start)
    results = parallel.ordered_map((1.0).__truediv__, iter([1.0] * 5 + [0.0] + [1.0] * 30), 36)
    assert [next(results) for _ in range(5)] == [1.0] * 5
    with pytest.raises(ZeroDivisionError):
        next(results)
