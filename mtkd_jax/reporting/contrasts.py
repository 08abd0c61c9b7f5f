"""What seeds can tell of compared rows: paired differences to one of them, and which of many are told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev
from string import ascii_lowercase

from scipy import stats

from mtkd_jax.names import suggestion
from mtkd_jax.reporting.compared import DELTA, Compared, Comparison, Numbers
from mtkd_jax.reporting.conditions import SEED, differences
from mtkd_jax.reporting.statistics import Paired, holm, paired, sign_flip
from mtkd_jax.types import UserError

ALPHA = 0.05


@dataclass(frozen=True)
class Contrast:
    """A paired difference to the baseline, and its p-value corrected for the number of rows."""

    paired: Paired
    p_holm: float | None


@dataclass(frozen=True)
class Baseline:
    """Differences to the row `title`: row → metric, or `delta_m`, → difference. `notes`: which rows have none."""

    title: str
    contrasts: Mapping[str, Mapping[str, Contrast]]
    notes: Sequence[str]


def against(comparison: Comparison, title: str) -> Baseline:
    """Paired differences of all rows to the row `title`, in every metric and in Δm, over the seeds that both have.

    Only of rows that arose under equal conditions; Δm only of rows of the same tasks. Holm's correction is for the rows
    that are compared in one metric.

    Raises:
        UserError: there is no such row, or none has a seed in common with it.
    """
    named = {row.title: row for row in comparison.rows}
    if title not in named:
        there = '; '.join(repr(name) for name in named)
        raise UserError(f'`baseline` is {title!r}; the rows are {there}.{suggestion(title, named)}')
    base, others = named[title], [row for row in comparison.rows if row.title != title]
    known = {row.title: (set(row.seeds) & set(base.seeds)) - {None} for row in others}
    if not any(known.values()):
        raise UserError(f'No row has a seed in common with the baseline {title!r}, so nothing is paired.')
    fitting, notes = [], []
    for row in others:
        differ = differences(row.conditions, base.conditions, row.tasks, ignored=(SEED,))
        if differ or not known[row.title]:
            notes.append(f'Not compared with {title}: {row.title} ({"; ".join(differ) or "no seed in common"}).')
        else:
            fitting.append(row)
    made = {
        name: _contrasts([row for row in fitting if name != DELTA or set(row.tasks) == set(base.tasks)], base, name)
        for name in base.numbers
    }
    found = {row.title: {name: of[row.title] for name, of in made.items() if row.title in of} for row in fitting}
    return Baseline(title, found, notes)


def _contrasts(others: Sequence[Compared], base: Compared, name: str) -> dict[str, Contrast]:
    theirs = _known(base.numbers[name])
    made = {row.title: paired(ours, theirs) for row in others if set(ours := _known(row.numbers[name])) & set(theirs)}
    tested = {row_title: pair.p for row_title, pair in made.items() if pair.p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {row_title: Contrast(pair, corrected.get(row_title)) for row_title, pair in made.items()}


def _known(numbers: Numbers) -> dict[int, float]:
    """The numbers whose seed is known: others cannot be paired."""
    return {seed: value for seed, value in numbers.items() if seed is not None}


@dataclass(frozen=True)
class Ranked:
    """A row's mean rank by Δm (1 is the best), its sample standard deviation, and the letters of its groups."""

    mean: float
    spread: float
    groups: str


@dataclass(frozen=True)
class Ranking:
    """Row → its rank, over `seeds`. Rows that share a letter are not told apart."""

    seeds: Sequence[int]
    rows: Mapping[str, Ranked]
    notes: Sequence[str]


def ranking(comparison: Comparison) -> Ranking:
    """Ranks of all rows that have a Δm, seed by seed, over the seeds that all of them have.

    Two rows are told apart where the exact sign-flip test of their paired differences in Δm has p ≤ 0.05 after Holm's
    correction for all pairs. This is said of seeds, on one data set: nothing is said of other data.

    Raises:
        UserError: fewer than two rows have a Δm, they arose under different conditions or are of different tasks, or
            fewer than two seeds are common to all.
    """
    ranked = [row for row in comparison.rows if _known(row.numbers[DELTA])]
    if len(ranked) < 2:
        raise UserError(f'`rank` needs two rows with a Δm, and there are {len(ranked)}; give more workdirs.')
    first = ranked[0]
    for row in ranked[1:]:
        differ = differences(row.conditions, first.conditions, row.tasks, ignored=(SEED,))
        if differ or set(row.tasks) != set(first.tasks):
            why = '; '.join(differ) or f'tasks {"+".join(first.tasks)} and {"+".join(row.tasks)}'
            raise UserError(f'{first.title} and {row.title} cannot be ranked together ({why}); leave one out.')
    deltas = {row.title: _known(row.numbers[DELTA]) for row in ranked}
    seeds = sorted(set.intersection(*(set(of) for of in deltas.values())))
    if len(seeds) < 2:
        raise UserError(f'`rank` needs two seeds with a Δm of every row, and there are {len(seeds)}; train more.')
    by_seed = [stats.rankdata([-of[seed] for of in deltas.values()]) for seed in seeds]
    ranks = {title: [float(of[i]) for of in by_seed] for i, title in enumerate(deltas)}
    best_first = sorted(ranks, key=lambda title: fmean(ranks[title]))
    groups = letters(best_first, _told_apart(deltas, seeds))
    found = {title: Ranked(fmean(of), stdev(of), groups[title]) for title, of in ranks.items()}
    left = [row.title for row in comparison.rows if row.title not in deltas and not row.single]
    notes = [f'Without Δm, not ranked: {"; ".join(left)}.'] if left else []
    return Ranking(seeds, found, [_said(len(seeds), len(deltas)), *notes])


def _told_apart(deltas: Mapping[str, Mapping[int, float]], seeds: Sequence[int]) -> list[tuple[str, str]]:
    pairs = list(combinations(deltas, 2))
    found = [sign_flip([deltas[a][seed] - deltas[b][seed] for seed in seeds]) for a, b in pairs]
    return [pair for pair, p in zip(pairs, holm(found), strict=True) if p <= ALPHA]


def letters(rows: Sequence[str], apart: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Letters for every row: two share one exactly where they are not told `apart` (Piepho 2004).

    The first row has `a`.
    """
    groups = [set(rows)]
    for a, b in apart:
        split = [one for group in groups for one in ([group - {a}, group - {b}] if {a, b} <= group else [group])]
        # One that lies within another says nothing more; of equal ones the first is kept.
        groups = [g for i, g in enumerate(split) if not any(g < o or (g == o and j < i) for j, o in enumerate(split))]
    groups.sort(key=lambda group: [row not in group for row in rows])
    return {row: ''.join(_letter(i) for i, group in enumerate(groups) if row in group) for row in rows}


def _letter(i: int) -> str:
    again, place = divmod(i, len(ascii_lowercase))
    return ascii_lowercase[place] + (str(again) if again else '')


def _said(seeds: int, rows: int) -> str:
    pairs, least = rows * (rows - 1) // 2, 2 / 2**seeds
    text = (
        f'Ranks by Δm over {seeds} common seeds, mean ± sample standard deviation; 1 is the best. Rows '
        f'that share a letter are not told apart (exact sign-flip tests of all {pairs} pairs, Holm, {ALPHA}). With '
        f'{seeds} seeds p cannot be below {least:.2g}'
    )
    return text + (', so that no two rows can be told apart here.' if least * pairs > ALPHA else '.')
