"""A table over seeds: ours, the paper's row where there is one, Δm, paired differences to multi-task learning."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtkd_jax.reporting.delta import PROTOCOLS, delta_m
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import load_stages, rows
from mtkd_jax.reporting.sections.numbers import in_protocols
from mtkd_jax.reporting.statistics import holm, mean_and_spread, paired
from mtkd_jax.reporting.tables import (
    markdown,
    metric_columns,
    paper_results,
    paper_row,
    with_average,
)
from mtkd_jax.types import UserError

Results = Mapping[str, float]
Tasks = Sequence[ReportedTask]


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        label: what the paper calls it; `branch`: '' where there is one only.
        backbone: rows of the same one are compared with each other.
        single: whether it is that of the single-task networks, to which Δm is relative.
        baseline: whether the others are compared with it.
        by_seed: seed → metrics.
        theirs: the paper's numbers; {} where it has none.
        same: whether all stages have the protocol of the paper's row (`experiment/paper.py`).
        budget: steps and images of each, in words.
    """

    label: str
    branch: str
    backbone: str
    single: bool
    baseline: bool
    by_seed: Mapping[int, Results]
    theirs: Results
    same: bool
    budget: str

    @property
    def title(self) -> str:
        """The label, and the branch where there are several."""
        return f'{self.label} ({self.branch})' if self.branch else self.label


def read_lines(
    label: str, place: Mapping[str, str], baseline: bool, workdirs: Mapping[int, Sequence[tuple[Path, str]]]
) -> list[Line]:
    """The lines of one entry, one for each branch; [] where nothing is finished.

    `workdirs`: seed → the workdirs that give it (several where every task has a network of its own), each with the name
    of the stage that the row is about.
    """
    single = place['method'] == 'stl'
    found: dict[str, dict[int, dict[str, float]]] = {}
    budget, same = '', True
    for seed, folders in workdirs.items():
        for folder, about in folders:
            stages = load_stages(folder, ())
            for stage in (stage for stage in stages if stage['stage'] == about and stage.get('steps') is not None):
                budget = f'{stage["steps"]:,} steps of {(stage.get("settings") or {}).get("batch_size")}'
            for row in rows(stages):
                if row.method == 'stl' if single else row.name == about:
                    found.setdefault(row.branch, {}).setdefault(seed, {}).update(row.results)
                    same = same and dict(place) in [dict(other) for other in row.papers]
    return [
        Line(label, branch, place['backbone'], single, baseline, by_seed, _theirs(place, branch), same, budget)
        for branch, by_seed in found.items()
    ]


def _theirs(place: Mapping[str, str], branch: str) -> Results:
    row = paper_row(place, branch) if 'table' in place else None
    return paper_results(row, place.get('prefix', '')) if row else {}


def results(lines: Sequence[Line], tasks: Tasks) -> str:
    """Every metric as mean ± standard deviation over seeds, in both protocols."""

    def table(tasks: Tasks, protocol: str) -> str:
        columns, labels = metric_columns(tasks, protocol), Labels.of(tasks)
        body = [[line.title, *(_cell(line, name, labels, tasks) for name in columns)] for line in lines]
        return markdown(['network', *(labels.heading(name, way) for name, way in columns.items())], body)

    return 'Mean ± sample standard deviation over seeds.\n\n' + in_protocols(tasks, table)


def _cell(line: Line, name: str, labels: Labels, tasks: Tasks) -> str:
    results = [with_average(found, tasks) for found in line.by_seed.values()]
    values = [found[name] for found in results if name in found and math.isfinite(found[name])]
    return mean_and_spread(values, labels[name].decimals, of=len(line.by_seed))


def beside_paper(lines: Sequence[Line], tasks: Tasks) -> str:
    """Ours above the paper's own row, both in the papers' protocol; '' where no row was trained with the paper's."""
    lines = [line for line in lines if line.same and line.theirs]
    if not lines:
        return ''
    columns, labels = list(metric_columns(tasks, PROTOCOLS[0]).items()), Labels.of(tasks)
    legacy = list(metric_columns(tasks, PROTOCOLS[1]))
    body = []
    for line in lines:
        body.append([f'{line.title}, ours', *(_cell(line, old, labels, tasks) for old in legacy)])
        body.append([f'{line.title}, paper', *(labels.number(name, line.theirs.get(name)) for name, _ in columns)])
    return markdown(['network', *(labels.heading(name, way) for name, way in columns)], body)


def comparison(lines: Sequence[Line], tasks: Tasks) -> tuple[str, list[dict[str, Any]]]:
    """Δm of every line, and its paired difference to the baseline of the same backbone: a table, and its content."""
    deltas = {line.title: _deltas(line, lines, tasks) for line in lines}
    facts: list[dict[str, Any]] = []
    for line in lines:
        base = next((other for other in lines if other.baseline and other.backbone == line.backbone), None)
        apart = None
        if base is not None and base is not line and set(deltas[line.title]) & set(deltas[base.title]):
            apart = paired(deltas[line.title], deltas[base.title])
        facts.append({'line': line, 'deltas': deltas[line.title], 'base': base, 'apart': apart})
    tested = [fact['apart'] for fact in facts if fact['apart'] is not None and fact['apart'].p is not None]
    corrected = dict(zip(map(id, tested), holm([found.p for found in tested]), strict=True))
    body, content = [], []
    for fact in facts:
        line, apart = fact['line'], fact['apart']
        p = corrected.get(id(apart))
        theirs = _paper_delta(line, lines, tasks)
        body.append(
            [
                line.title,
                mean_and_spread(list(fact['deltas'].values()), 2, ' %', sign='+'),
                '–' if line.single else str(len(fact['deltas'])),
                '–' if theirs is None else f'{theirs:+.2f} %',
                '–' if apart is None else apart.words,
                '–' if apart is None or apart.p is None else f'{apart.p:.3g}',
                '–' if p is None else f'{p:.3g}',
                str(len(line.by_seed)),
                line.budget,
            ]
        )
        content.append(
            {
                'row': line.title,
                'delta_m': {str(seed): value for seed, value in fact['deltas'].items()},
                'paper_delta_m': theirs,
                'baseline': fact['base'].title if fact['base'] else None,
                'difference': None if apart is None else apart.__dict__ | {'p_holm': p},
                'results': {str(seed): dict(found) for seed, found in line.by_seed.items()},
                'budget': line.budget,
            }
        )
    heads = [
        'network',
        'Δm',
        'seeds of Δm',
        "the paper's Δm",
        'Δm - baseline [95 %]',
        'p',
        'p (Holm)',
        'seeds',
        'budget',
    ]
    return f'{markdown(heads, body)}\n\n{NOTE}', content


NOTE = (
    'Δm per task against the single-task networks of the same backbone and seed, accumulated protocol. The baseline is '
    'multi-task learning with constant task weights (`uniform`, `vanilla`) on the same backbone. Differences are '
    'paired by seed, with a bootstrap interval and an exact sign-flip test; p (Holm) is corrected for the number of '
    "rows. The paper's Δm is of its own numbers, data and protocol."
)


def _deltas(line: Line, lines: Sequence[Line], tasks: Tasks) -> dict[int, float]:
    """Δm of every seed in which the line and its single-task networks have all tasks that the line has in any."""
    base = next((other for other in lines if other.single and other.backbone == line.backbone), None)
    if base is None or line.single:
        return {}
    own = [
        task for task in tasks if any(name in found for found in line.by_seed.values() for name in task.metrics.each)
    ]
    found = {}
    for seed in sorted(set(line.by_seed) & set(base.by_seed)):
        try:
            found[seed] = delta_m(line.by_seed[seed], base.by_seed[seed], own).mean_per_task
        except UserError:
            # A task is missing, undefined, or 0 in the single-task network; `seeds of Δm` says how many are left.
            continue
    return found


def _paper_delta(line: Line, lines: Sequence[Line], tasks: Tasks) -> float | None:
    """The paper's own Δm, where it gives every metric of both rows."""
    base = next((other.theirs for other in lines if other.single and other.backbone == line.backbone), {})
    if line.single or not base or not line.theirs:
        return None
    own = [task for task in tasks if any(name in line.theirs for name in task.metrics.each)]
    try:
        return delta_m(line.theirs, base, own).mean_per_task
    except UserError:
        # It leaves out a metric that we count.
        return None
