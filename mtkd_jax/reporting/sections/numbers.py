"""Sections that compare: results, Δm, constant predictors."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mtkd_jax.metrics import LEGACY, PER_BATCH, PER_IMAGE
from mtkd_jax.reporting.conditions import differences
from mtkd_jax.reporting.delta import PROTOCOLS, DeltaM, delta_m
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import Row
from mtkd_jax.reporting.tables import (
    NOTHING,
    delta_table,
    markdown,
    metric_columns,
    percent,
    results_cells,
    results_table,
    sections,
    turned_known,
)
from mtkd_jax.types import UserError

Tasks = Sequence[ReportedTask]
HELD_OUT = 'held_out'  # the rule whose results are not of the test split


def _protocols(tasks: Tasks) -> list[str]:
    """The protocols that differ for these tasks."""
    different = metric_columns(tasks, PROTOCOLS[0]).keys() != metric_columns(tasks, PROTOCOLS[1]).keys()
    return list(PROTOCOLS if different else PROTOCOLS[:1])


def results(rows: Sequence[Row], tasks: Tasks) -> str:
    """Tables of our results: all metrics, and those that the legacy protocol counts differently."""
    held_out = any(of_task.get('selection') == HELD_OUT for row in rows for of_task in row.conditions.values())
    where = 'On a part held out of the training set' if held_out else 'On the test split'
    parts = [f'{where}. Bold: the best of a column among networks with the same tasks.']
    if any(row.method == 'stl' for row in rows):
        parts.append('`single-task`: one network per task, put together in one row.')

    def table(tasks: Tasks, protocol: str) -> str:
        shown = [row for row in rows if {task.name for task in tasks} & set(row.tasks)]
        return results_table(shown, tasks, protocol)

    return f'{" ".join(parts)}\n\n{in_protocols(tasks, table)}'


def in_protocols(tasks: Tasks, table: Callable[[Tasks, str], str]) -> str:
    """The table of all tasks, and that of those which the legacy protocol counts differently."""
    first = table(tasks, PROTOCOLS[0])
    if len(_protocols(tasks)) == 1:
        return first
    both = [t for t in tasks if metric_columns([t], PROTOCOLS[0]) != metric_columns([t], PROTOCOLS[1])]
    return (
        f'{first}\n\nAbove: the **accumulated** protocol, over the whole split at once, void and undefined pixels left '
        f"out. Below, the same predictions in the papers' **legacy** protocol. {legacy_in_words(both)} Numbers of the "
        f'two protocols must not be compared with each other.\n\n{table(both, PROTOCOLS[1])}'
    )


def further(rows: Sequence[Row], tasks: Tasks) -> dict[str, str]:
    """Heading → a table of further metrics: a row per metric, a column per network that has any of them.

    Those that were evaluated before there were these metrics have none.
    """
    found = {}
    for heading, columns in sections(tasks).items():
        heads, body, _ = results_cells(rows, tasks, columns)
        if table := turned_known(heads, body):
            found[heading] = f'{table}\n\n{FURTHER}'
    return found


FURTHER = 'Not in Δm. A dash: there was nothing to measure. Bold: the best of a row among networks of the same tasks.'
MEANS = {
    PER_IMAGE: 'the mean over images of each image by itself (IoU over the classes in prediction or label)',
    PER_BATCH: 'the mean over batches of two images, in the order of the split, of each batch by itself',
}


def legacy_in_words(tasks: Tasks) -> str:
    """What the legacy protocol is, and of which metrics; '' where it is ours."""
    every = [metric for task in tasks for metric in task.metrics.each.values()]
    titles = {suffix: [metric.title for metric in every if metric.legacy == suffix] for suffix in LEGACY}
    return ' '.join(f'{"; ".join(own)}: **{LEGACY[end]}**, {MEANS[end]}.' for end, own in titles.items() if own)


def verdict(rows: Sequence[Row], tasks: Tasks) -> str:
    """A sentence for every multi-task network: its Δm, and in which tasks it is better or worse."""
    single = {row.branch: row for row in rows if row.method == 'stl'}
    lines = []
    for row in (row for row in rows if row.method != 'stl'):
        base, own = single.get('') or single.get(row.branch), [task for task in tasks if task.name in row.tasks]
        if base is None or base.network != row.network or differences(row.conditions, base.conditions, row.tasks):
            lines.append(f'- **{row.title}**: there are no single-task networks to compare it with.')
            continue
        try:
            change = delta_m(row.results, base.results, own)
        except UserError as error:
            lines.append(f'- **{row.title}**: no Δm. {error}')
            continue
        better = [name for name, value in change.per_task.items() if value > 0]
        worse = [name for name, value in change.per_task.items() if value < 0]
        told = [f'{word} in {", ".join(names)}' for word, names in (('better', better), ('worse', worse)) if names]
        lines.append(
            f'- **{row.title}**: Δm {percent(change.mean_per_task)} per task against single-task networks, '
            f'{"; ".join(told) or "no different in any task"}.'
        )
    if not lines:
        return 'Only single-task networks ran.'
    return '\n'.join([*lines, '', 'One run of each: nothing is shown to be significant.'])


def delta(rows: Sequence[Row], tasks: Tasks) -> str:
    """Δm of every multi-task network in both variants and protocols, or what is missing for it."""
    single = {row.branch: row for row in rows if row.method == 'stl'}
    networks = [row for row in rows if row.method != 'stl']
    if not networks:
        return 'Only single-task networks ran: there is nothing to compare with them yet.'
    groups: dict[tuple[str, ...], list[tuple[str, str, DeltaM]]] = {}
    missing: list[str] = []
    without: dict[tuple[str, ...], list[str]] = {}
    for row in networks:
        base = single.get('') or single.get(row.branch)
        own = [task for task in tasks if task.name in row.tasks]
        absent = [task.name for task in own if base is None or task.name not in base.tasks]
        if base is None or absent:
            without.setdefault(tuple(absent), []).append(row.title)
            continue
        if base.network != row.network:
            missing.append(f'No Δm for {row.title}: it is {row.network}, the single-task networks are {base.network}.')
            continue
        unknown = sorted(set(row.tasks) - {task.name for task in own})
        if unknown:
            missing.append(f'No Δm for {row.title}: the command that wrote this report had no {", ".join(unknown)}.')
            continue
        if differ := differences(row.conditions, base.conditions, row.tasks):
            missing.append(f'No Δm for {row.title}: it and the single-task networks differ ({"; ".join(differ)}).')
            continue
        for protocol in _protocols(own):
            try:
                change = delta_m(row.results, base.results, own, protocol)
            except UserError as error:
                missing.append(f'No Δm for {row.title} ({protocol.replace("_", " ")} protocol): {error}')
                continue
            groups.setdefault(row.tasks, []).append((row.title, protocol, change))
    lines = [delta_table(entries) for entries in groups.values()]
    if lines:
        lines.append(
            'Relative change against the single-task row, in %; + is better, whatever the direction of the metric. '
            'Per task: the mean over the metrics of each task, then over tasks. Flat: the mean over all metrics, in '
            'which a task with more metrics weighs more.'
        )
    return '\n\n'.join([*lines, *(_no_base(titles, absent) for absent, titles in without.items()), *missing])


def _no_base(titles: Sequence[str], absent: Sequence[str]) -> str:
    return (
        f'No Δm for {", ".join(titles)}: this workdir has no single-task results for {", ".join(absent)}. To get '
        'them, run the same command with `method=stl` and the same `--workdir` (`--config=FILE:method=stl`); the '
        'report is then written again.'
    )


def constants(rows: Sequence[Row], tasks: Tasks) -> str:
    """How much better than the best constant prediction each network is."""
    body = [entry for task in tasks for row in rows if task.name in row.tasks for entry in _constant(row, task)]
    if not body:
        return 'No constant predictors were evaluated.'
    header = ['task', 'constant', 'metric', 'of the constant', 'network', 'of the network', 'network / constant', '']
    return (
        'One constant prediction for every pixel (or image), taken from the training set, on the same test split. '
        f'Better or not is said by that metric alone.\n\n{markdown(header, body)}'
    )


def _constant(row: Row, task: ReportedTask) -> Iterator[list[str]]:
    found: Mapping[str, Any] = row.baselines.get(task.name, {})
    labels = Labels.of([task])
    for name in (name for name in task.metrics.each if name in found and name in row.results):
        value, ours, way = found[name], row.results[name], task.metrics.each[name].direction
        known = math.isfinite(ours - value)
        ratio = f'{ours / value:.2f}' if known and value else NOTHING
        verdict = ('better' if way * (ours - value) > 0 else '**not better**') if known else NOTHING
        predictor, heading = str(found.get('predictor', 'constant')), labels.heading(name, way)
        numbers = labels.number(name, value), labels.number(name, ours)
        yield [task.name, predictor, heading, numbers[0], row.title, numbers[1], ratio, verdict]
