"""What seeds can tell."""

import itertools

import numpy as np
import pytest

from mtkd_jax.reporting.statistics import holm, paired, spread
from mtkd_jax.types import UserError


def by_seed(values):
    return dict(enumerate(values))


def test_the_sign_flip_test_is_exact():
    """Two-sided, over all 2^n signs, by hand; with n seeds nothing is below 2 / 2^n."""
    apart = [0.5, 1.2, -0.1, 0.8, 0.3, 0.9]
    found = paired(by_seed(apart), by_seed([0.0] * 6))
    means = [
        abs(np.mean([s * x for s, x in zip(signs, apart, strict=True)]))
        for signs in itertools.product((1, -1), repeat=6)
    ]
    assert found.p == pytest.approx(np.mean([m >= abs(np.mean(apart)) - 1e-12 for m in means]))
    assert found.mean == pytest.approx(0.6)
    assert 0.1 < found.low < 0.35
    assert 0.75 < found.high < 0.95
    assert paired(by_seed(range(1, 9)), by_seed([0.0] * 8)).p == pytest.approx(2 / 2**8)
    assert paired(by_seed(range(1, 6)), by_seed([0.0] * 5)).p > 0.05


def test_only_common_seeds_are_paired():
    found = paired({0: 1.0, 1: 5.0, 2: 3.0}, {1: 4.0, 2: 2.0, 3: 100.0})
    assert (found.count, found.mean, found.low, found.high) == (2, 1.0, None, None)
    assert paired(by_seed(range(5)), by_seed([0.0] * 5)).low is None
    assert paired(by_seed([2.0] * 6), by_seed([0.0] * 6)).low == 2.0
    one = paired({0: 1.0}, {0: 3.0, 1: 2.0})
    assert (one.count, one.mean, one.low, one.p) == (1, -2.0, None, None)
    with pytest.raises(UserError, match=r'seeds \[0\] and \[1\] none is common'):
        paired({0: 1.0}, {1: 1.0})


def test_holm_by_hand():
    """0.01·3, then max(0.03, 0.02·2), then max(0.04, 0.5)."""
    assert holm([0.02, 0.01, 0.5]) == pytest.approx([0.04, 0.03, 0.5])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_number_has_no_spread():
    assert spread([1.0]) is None
    assert spread([1.0, 3.0]) == pytest.approx(np.sqrt(2))
