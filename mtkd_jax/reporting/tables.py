"""Markdown tables of results, and the papers' own rows."""

import csv
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from statistics import fmean

from mtkd_jax.reporting.conditions import marks
from mtkd_jax.reporting.delta import DeltaM, protocol_name
from mtkd_jax.reporting.labels import AVERAGE, Labels
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import Row
from mtkd_jax.types import UserError

NOTHING = '–'  # stands where there is no number
KEYS = ('backbone', 'method', 'branch', 'distilled_layers')
PaperRow = dict[str, str | float | None]


def markdown(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table: first column to the left, the others to the right; its source is readable as well."""
    cells = [list(header), *(list(row) for row in body)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    rule = [':' + '-' * (widths[0] - 1), *('-' * (width - 1) + ':' for width in widths[1:])]

    def line(row: Sequence[str]) -> str:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return f'| {" | ".join([first, *rest])} |'

    return '\n'.join([line(cells[0]), line(rule), *(line(row) for row in cells[1:])])


def turned(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table with rows and columns exchanged."""
    header, *lines = [list(column) for column in zip(heads, *body, strict=True)]
    return markdown(['', *header[1:]], lines)


def turned_known(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """`turned`; '' where the body has nothing but dashes, and without networks that have nothing else."""
    known = [line for line in body if set(line[1:]) != {NOTHING}]
    return turned(heads, known) if known else ''


def metric_columns(tasks: Sequence[ReportedTask], protocol: str) -> dict[str, int]:
    """Metric name in `protocol` → direction, for all tasks in order; then `AVERAGE`, where they have one.

    Without those that have a table of their own (`sections`).
    """
    columns = {
        protocol_name(name, metric, protocol): metric.direction
        for task in tasks
        for name, metric in task.metrics.each.items()
        if not metric.section
    }
    return columns | ({AVERAGE: 1} if _averaged(tasks) else {})


def sections(tasks: Sequence[ReportedTask]) -> dict[str, dict[str, int]]:
    """Heading of a table of its own → name of a metric → direction; none of them has a legacy protocol."""
    found: dict[str, dict[str, int]] = {}
    for name, metric in [item for task in tasks for item in task.metrics.each.items()]:
        if metric.section:
            found.setdefault(metric.section, {})[name] = metric.direction
    return found


def with_average(results: Mapping[str, float], tasks: Sequence[ReportedTask]) -> dict[str, float]:
    """`results` and, as in table 1 of Li & Bilen (2020), the average of the tasks: of their only metrics, all in %."""
    names = _averaged(tasks)
    if not names or not names <= results.keys():
        return dict(results)
    return {**results, AVERAGE: fmean(results[name] for name in names)}


def _averaged(tasks: Sequence[ReportedTask]) -> set[str]:
    """The metrics that have an average: of several tasks with one answer per image, each with one metric in %."""
    each = [(name, metric) for task in tasks for name, metric in task.metrics.each.items()]
    fits = len(tasks) > 1 and all(task.words is not None and len(task.metrics.each) == 1 for task in tasks)
    return {name for name, _ in each} if fits and all(metric.unit == '%' for _, metric in each) else set()


def results_table(rows: Sequence[Row], tasks: Sequence[ReportedTask], protocol: str = 'accumulated') -> str:
    """`results_cells` as Markdown."""
    heads, body, notes = results_cells(rows, tasks, metric_columns(tasks, protocol))
    return '\n\n'.join([markdown(heads, body), *notes])


def results_cells(
    rows: Sequence[Row], tasks: Sequence[ReportedTask], columns: Mapping[str, int]
) -> tuple[list[str], list[list[str]], list[str]]:
    """(heads, body, notes): a row per network, a column per metric (name → direction); a dash where a row has none.

    The best value of a column is bold among rows of the same tasks, where there is more than one. Rows that arose under
    other conditions are marked, and are not among them; below the table the marks are explained.
    """
    labels = Labels.of(tasks)
    rows = [dataclasses.replace(row, results=with_average(row.results, tasks)) for row in rows]
    given, notes = marks([row.conditions for row in rows])
    groups = {mark: [row for row, own in zip(rows, given, strict=True) if own == mark] for mark in given}
    body = [
        [row.title + mark, *(_cell(groups[mark], row, metric, way, labels) for metric, way in columns.items())]
        for row, mark in zip(rows, given, strict=True)
    ]
    return ['network', *(labels.heading(metric, way) for metric, way in columns.items())], body, notes


def _cell(rows: Sequence[Row], row: Row, metric: str, direction: int, labels: Labels) -> str:
    text = labels.number(metric, row.results.get(metric))
    peers = [r.results[metric] for r in rows if set(r.tasks) == set(row.tasks) and metric in r.results]
    known = [value for value in peers if value == value]
    if len(known) < 2 or metric not in row.results:
        return text
    best = max(known) if direction > 0 else min(known)
    # Compared as printed: of two equal numbers in a table neither is the better one.
    return f'**{text}**' if text == labels.number(metric, best) else text


def delta_table(entries: Sequence[tuple[str, str, DeltaM]]) -> str:
    """Rows of (network, protocol, Δm), all over the same tasks; + is better than single-task."""
    names = list(dict.fromkeys(task for _, _, delta in entries for task in delta.per_task))
    header = ['network', 'protocol', *names, '**Δm per task**', 'Δm flat']
    body = [
        [
            title,
            protocol.replace('_', ' '),
            *(percent(delta.per_task.get(name)) for name in names),
            f'**{percent(delta.mean_per_task)}**',
            percent(delta.flat),
        ]
        for title, protocol, delta in entries
    ]
    return markdown(header, body)


def percent(value: float | None) -> str:
    """A signed relative change, `+1.23 %`; a dash where there is none."""
    # Adding 0 turns a -0.0 that rounding left into 0.0.
    return NOTHING if value is None else f'{round(value, 2) + 0.0:+.2f} %'


def paper_tables() -> list[str]:
    """Names of the papers' tables that come with the package."""
    folder = resources.files('mtkd_jax.reporting') / 'paper_tables'
    return sorted(file.name.removesuffix('.csv') for file in folder.iterdir() if file.name.endswith('.csv'))


def paper_rows(table: str) -> list[PaperRow]:
    """The rows of a paper's result table: numbers as float, None where a cell is empty.

    Raises:
        UserError: there is no such table.
    """
    if table not in paper_tables():
        raise UserError(f'`paper.table` is {table!r}; the tables are {", ".join(paper_tables())}.')
    file = resources.files('mtkd_jax.reporting') / 'paper_tables' / f'{table}.csv'
    return [
        {name: (text or None) if name in KEYS else float(text) if text else None for name, text in row.items()}
        for row in csv.DictReader(file.read_text().splitlines())
    ]


def paper_row(paper: Mapping[str, str], branch: str = '') -> PaperRow | None:
    """The one row that `paper` (`table`, `backbone`, `method`, `distilled_layers`) and the branch point to, or None.

    Only the columns that the table has are compared.
    """
    wanted = {**{name: paper.get(name) or None for name in KEYS}, 'branch': branch or None}
    every = paper_rows(paper['table'])
    found = [row for row in every if all(row[name] == wanted[name] for name in KEYS if name in row)]
    return found[0] if len(found) == 1 else None


def paper_results(row: PaperRow, prefix: str = '') -> dict[str, float]:
    """The metrics of a paper's row; `prefix`: of the columns that belong to the data set, where a table has several."""
    numbers = {name: value for name, value in row.items() if isinstance(value, float)}
    return {name.removeprefix(prefix): value for name, value in numbers.items() if name.startswith(prefix)}
