"""The section that puts the paper's row beside ours."""

from collections.abc import Iterator, Sequence

from mtkd_jax.reporting.delta import PROTOCOLS, delta_m
from mtkd_jax.reporting.labels import number
from mtkd_jax.reporting.protocols import ReportedTask
from mtkd_jax.reporting.stages import Row
from mtkd_jax.reporting.tables import header_of, markdown, metric_columns, paper_results, paper_row, percent


def paper(rows: Sequence[Row], tasks: Sequence[ReportedTask], note: str) -> str:
    """The paper's row below each of ours that has one; segmentation in the legacy protocol, as the papers'."""
    pointers = [row for row in rows if row.paper]
    if not pointers:
        reason = note or 'The config names no table of a paper.'
        return f"No paper's row stands beside these results. {reason}"
    columns = list(metric_columns(tasks, PROTOCOLS[0]).items())
    legacy = list(metric_columns(tasks, PROTOCOLS[1]))
    body, missing = [], []
    for row in pointers:
        ours = {name: row.results.get(old) for (name, _), old in zip(columns, legacy, strict=True)}
        found = paper_row(row.paper or {}, row.branch)
        theirs = paper_results(found, (row.paper or {}).get('prefix', '')) if found else {}
        body.append([f'{row.title}, ours', *(number(name, ours[name]) for name, _ in columns)])
        if found:
            body.append([f'{row.title}, paper', *(number(name, theirs.get(name)) for name, _ in columns)])
        else:
            missing.append(f'The paper has no row for {_pointer(row)}.')
    table = markdown(['network', *(header_of(name, way) for name, way in columns)], body)
    tables = sorted({row.paper['table'] for row in pointers if row.paper})
    lines = [
        f'From `{"`, `".join(tables)}`. In this table, ours too are in the **per-image legacy** protocol where there '
        "are two, because the papers' numbers are.",
        table,
        *missing,
    ]
    return '\n\n'.join([*lines, *_paper_delta(pointers, tasks)])


def _pointer(row: Row) -> str:
    where = row.paper or {}
    branch = f', branch {row.branch}' if row.branch else ''
    return f'`{where["method"]}` on `{where["backbone"]}`{branch} in `{where["table"]}`'


def _paper_delta(rows: Sequence[Row], tasks: Sequence[ReportedTask]) -> Iterator[str]:
    """The paper's own Δm, from its own single-task row."""
    for row in (r for r in rows if r.method != 'stl'):
        found = paper_row(row.paper or {}, row.branch)
        base = paper_row({**(row.paper or {}), 'method': 'stl'})
        if found and base:
            prefix = (row.paper or {}).get('prefix', '')
            own = [task for task in tasks if task.name in row.tasks]
            change = delta_m(paper_results(found, prefix), paper_results(base, prefix), own)
            yield (
                f"Δm of the paper's {_pointer(row)} against its own single-task row: "
                f'{percent(change.mean_per_task)} per task, {percent(change.flat)} flat.'
            )
