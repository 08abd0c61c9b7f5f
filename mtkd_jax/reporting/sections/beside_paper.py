"""The section that puts the paper's row beside ours."""

from collections.abc import Iterator, Mapping, Sequence

from mtkd_jax.reporting.delta import PROTOCOLS, delta_m
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import Row
from mtkd_jax.reporting.sections.numbers import legacy_in_words
from mtkd_jax.reporting.tables import markdown, metric_columns, paper_results, paper_row, percent, with_average

Place = Mapping[str, str]


def paper(rows: Sequence[Row], tasks: Sequence[ReportedTask], note: str) -> str:
    """The paper's row below each of ours that has one, ours in the papers' protocol."""
    pointers = [(row, place) for row in rows for place in row.papers]
    if not pointers:
        reason = note or 'No paper reports on this.'
        return f"No paper's row stands beside these results. {reason}"
    columns, labels = list(metric_columns(tasks, PROTOCOLS[0]).items()), Labels.of(tasks)
    legacy = list(metric_columns(tasks, PROTOCOLS[1]))
    body, missing = [], []
    for row in [row for row in rows if row.papers]:
        results = with_average(row.results, tasks)
        ours = {name: results.get(old) for (name, _), old in zip(columns, legacy, strict=True)}
        body.append([f'{row.title}, ours', *(labels.number(name, ours[name]) for name, _ in columns)])
        for place in row.papers:
            found = paper_row(place, row.branch)
            if found is None:
                missing.append(f'The paper has no row for {_pointer(row, place)}.')
                continue
            theirs = paper_results(found, place.get('prefix', ''))
            said = 'paper' if len(row.papers) == 1 else f'`{place["table"]}`'
            body.append([f'{row.title}, {said}', *(labels.number(name, theirs.get(name)) for name, _ in columns)])
    table = markdown(['network', *(labels.heading(name, way) for name, way in columns)], body)
    tables = sorted({place['table'] for _, place in pointers})
    lines = [
        f'From `{"`, `".join(tables)}`. In this table, ours too are in the **legacy** protocol where there are two, '
        f"because the papers' numbers are. {legacy_in_words(tasks)}".rstrip(),
        table,
        *missing,
    ]
    return '\n\n'.join([*lines, *_paper_delta(pointers, tasks)])


def _pointer(row: Row, place: Place) -> str:
    branch = f', branch {row.branch}' if row.branch else ''
    named = place.get('method') or place.get('distilled_layers', '')
    return f'`{named}` on `{place["backbone"]}`{branch} in `{place["table"]}`'


def _paper_delta(pointers: Sequence[tuple[Row, Place]], tasks: Sequence[ReportedTask]) -> Iterator[str]:
    """The paper's own Δm, from its own single-task row."""
    for row, place in pointers:
        # A table without methods has no single-task row.
        if row.method == 'stl' or not place.get('method'):
            continue
        found, base = paper_row(place, row.branch), paper_row({**place, 'method': 'stl'})
        if found and base:
            prefix = place.get('prefix', '')
            own = [task for task in tasks if task.name in row.tasks]
            change = delta_m(paper_results(found, prefix), paper_results(base, prefix), own)
            yield (
                f"Δm of the paper's {_pointer(row, place)} against its own single-task row: "
                f'{percent(change.mean_per_task)} per task, {percent(change.flat)} flat.'
            )
