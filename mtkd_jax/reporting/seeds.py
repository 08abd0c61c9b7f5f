"""One table of several runs that differ in their seed only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from mtkd_jax.reporting.conditions import SEED, ByTask, differences, marks
from mtkd_jax.reporting.delta import delta_m, protocol_name
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import Row, load_stages, rows
from mtkd_jax.reporting.tables import markdown, metric_columns, with_average
from mtkd_jax.types import UserError

PLUS_MINUS = ' ± '


class SeedsRows(NamedTuple):
    """What `seeds_table` is made of: its heads, its rows by their titles, the sentences below it."""

    heads: list[str]
    body: list[list[str]]
    notes: list[str]


def seeds_table(workdirs: Sequence[Path], tasks: Sequence[ReportedTask], protocol: str = 'accumulated') -> str:
    """A row per network and branch, a column per metric: mean ± standard deviation over the workdirs that have it.

    The deviation is that of a sample (n - 1). `seeds` is the number of workdirs that have the row. If fewer have a
    metric (because a single-task network is missing), the cell gives their number: `12.3 ± 0.4 (2)`. Δm (per task) is
    computed within each workdir, against its own single-task networks, and then averaged; a dash where these are
    missing, of another backbone, budget, seed or data, or were evaluated before a metric was there. Rows of another
    budget or data than the first are marked, and the marks explained below the table; so are seeds, where rows differ
    in them.

    Raises:
        UserError: two workdirs have the same seed, or stages of one name have different settings.
    """
    heads, body, notes = seeds_rows(workdirs, tasks, protocol)
    return '\n\n'.join([markdown(heads, body), *notes])


def seeds_rows(workdirs: Sequence[Path], tasks: Sequence[ReportedTask], protocol: str = 'accumulated') -> SeedsRows:
    """The same in parts."""
    loaded = {path: load_stages(path, [task.name for task in tasks]) for path in workdirs}
    _check(loaded)
    by_title: dict[str, list[dict[str, float]]] = {}
    arose: dict[str, list[ByTask]] = {}
    for stages in loaded.values():
        networks = rows(stages)
        for row in networks:
            by_title.setdefault(row.title, []).append(
                with_average(row.results, tasks) | _delta(row, networks, tasks, protocol)
            )
            arose.setdefault(row.title, []).append(row.conditions)
    given, notes = marks([found[0] for found in arose.values()], ignored=(SEED,))
    columns, labels = metric_columns(tasks, protocol), Labels.of(tasks)
    body = [
        [
            title + mark,
            *(_cell(found, name, labels[name].decimals) for name in columns),
            _cell(found, 'delta_m', 1, ' %'),
            str(len(found)),
        ]
        for (title, found), mark in zip(by_title.items(), given, strict=True)
    ]
    heads = ['network', *(labels.heading(name, way) for name, way in columns.items()), 'Δm ↑', 'seeds']
    return SeedsRows(heads, body, [*notes, *_seeds(arose)])


def _seeds(arose: Mapping[str, Sequence[ByTask]]) -> list[str]:
    """A sentence where rows are means over different seeds."""
    by_row = {
        title: sorted({str(of_task.get(SEED, 'unknown')) for by_task in found for of_task in by_task.values()})
        for title, found in arose.items()
    }
    if len({tuple(seeds) for seeds in by_row.values()}) == 1:
        return []
    said = '; '.join(f'{title} {", ".join(seeds)}' for title, seeds in by_row.items())
    return [f'Rows are means over different seeds: {said}.']


def _delta(row: Row, networks: Sequence[Row], tasks: Sequence[ReportedTask], protocol: str) -> dict[str, float]:
    own = [task for task in tasks if task.name in row.tasks]
    if len(own) < len(row.tasks):
        return {}
    for base in networks:
        fits = base.method == 'stl' and base.network == row.network and set(row.tasks) <= set(base.tasks)
        names = {
            protocol_name(name, metric, protocol)
            for task in own
            for name, metric in task.metrics.each.items()
            if metric.in_delta
        }
        measured = names <= row.results.keys() & base.results.keys()
        if fits and measured and row.method != 'stl' and not differences(row.conditions, base.conditions, row.tasks):
            return {'delta_m': delta_m(row.results, base.results, own, protocol).mean_per_task}
    return {}


def _cell(found: Sequence[dict[str, float]], name: str, decimals: int, unit: str = '') -> str:
    values = [results[name] for results in found if name in results]
    if not values:
        return '–'
    mean = f'{fmean(values):.{decimals}f}'
    spread = f'{PLUS_MINUS}{stdev(values):.{decimals}f}' if len(values) > 1 else ''
    return mean + spread + unit + (f' ({len(values)})' if len(values) < len(found) else '')


def _check(loaded: dict[Path, list[dict[str, Any]]]) -> None:
    seen: dict[tuple[str, Any], Path] = {}
    first: dict[str, tuple[Path, Any]] = {}
    for path, stages in loaded.items():
        if not stages:
            raise UserError(f'{path} has no finished stage (stages/STAGE/results.json); train first.')
        for stage in stages:
            where = (stage['stage'], stage.get('seed'))
            if where in seen:
                raise UserError(f'{seen[where]} and {path} both have seed {where[1]} of {where[0]}; leave one out.')
            seen[where] = path
            settings = {k: v for k, v in (stage.get('settings') or {}).items() if k != 'seed'}
            other, expected = first.setdefault(stage['stage'], (path, settings))
            if settings != expected:
                differ = sorted(k for k in {*settings, *expected} if settings.get(k) != expected.get(k))
                raise UserError(
                    f'{stage["stage"]} in {path} differs from the one in {other} in more than its seed '
                    f'({", ".join(differ)}); compare runs of one recipe.'
                )
