"""What seeds can tell: spreads, and paired differences with intervals and exact tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy import stats

from mtkd_jax.types import UserError

PLUS_MINUS = ' ± '
LEVEL = 0.95
DRAWS = 9_999  # of the bootstrap
LEAST = 6  # pairs: below, a bootstrap's interval is far too narrow
EXACT = 16  # pairs: up to here all 2^n signs are counted


@dataclass(frozen=True)
class Paired:
    """A mean paired difference: `count` pairs, its interval at `LEVEL`, and the p-value of no difference.

    `low` and `high` are None of fewer than `LEAST` pairs, `p` of a single one: these cannot tell.
    """

    count: int
    mean: float
    low: float | None
    high: float | None
    p: float | None

    @property
    def words(self) -> str:
        """The difference, and its interval where there is one: `+1.20 [+0.30, +2.10]`."""
        inside = '' if self.low is None else f' [{self.low:+.2f}, {self.high:+.2f}]'
        return f'{self.mean:+.2f}{inside}'


def spread(values: Sequence[float]) -> float | None:
    """The sample standard deviation; None of fewer than two."""
    return stdev(values) if len(values) > 1 else None


def mean_and_spread(values: Sequence[float], decimals: int, unit: str = '', of: int = 0, sign: str = '') -> str:
    """`12.3 ± 0.4`: mean and sample standard deviation; a dash where there is no value.

    `of`: how many values there should be; fewer are counted: `12.3 ± 0.4 (2)`. `sign`: `+` gives the mean one always.
    """
    if not values:
        return '–'
    wide = spread(values)
    text = f'{fmean(values):{sign}.{decimals}f}' + ('' if wide is None else f'{PLUS_MINUS}{wide:.{decimals}f}') + unit
    return text + (f' ({len(values)})' if len(values) < of else '')


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Paired:
    """The differences ours - theirs over the seeds that both have.

    The interval is a bootstrap's over seeds (bias-corrected and accelerated; percentiles where all differences are
    alike); the test flips the signs of the differences, all of them up to 16 pairs, so that its p-value is exact: with
    n seeds it cannot be below 2 / 2^n. Both draw with a fixed seed.

    Raises:
        UserError: no seed is common to both.
    """
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        raise UserError(f'Of the seeds {sorted(ours)} and {sorted(theirs)} none is common, so nothing is paired.')
    apart = np.array([ours[seed] - theirs[seed] for seed in seeds])
    if len(apart) == 1:
        return Paired(1, float(apart[0]), None, None, None)
    low, high = _interval(apart) if len(apart) >= LEAST else (None, None)
    return Paired(len(apart), fmean(apart), low, high, sign_flip(apart))


def sign_flip(apart: Sequence[float] | np.ndarray) -> float:
    """The two-sided p-value of at least two paired differences being nothing but chance, as in `paired`."""
    test = stats.permutation_test(
        (np.asarray(apart),),
        np.mean,
        permutation_type='samples',
        vectorized=True,
        n_resamples=np.inf if len(apart) <= EXACT else 10 * DRAWS,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def _interval(apart: np.ndarray) -> tuple[float, float]:
    method = 'BCa' if np.ptp(apart) > 0 else 'percentile'
    found = stats.bootstrap(
        (apart,), np.mean, confidence_level=LEVEL, n_resamples=DRAWS, method=method, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the same order: with these, one false claim among all is as
    rare as the level says."""
    found, largest = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        found[i] = largest
    return found
