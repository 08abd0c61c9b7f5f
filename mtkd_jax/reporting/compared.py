"""Rows of any runs: those of equal settings are one, whatever workdirs they are in, with a number for every seed."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mtkd_jax.reporting.bases import Found, base_results
from mtkd_jax.reporting.conditions import SEED, ByTask, marks
from mtkd_jax.reporting.delta import delta_m, protocol_name
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import SINGLE, Row, rows, stages_by_folder
from mtkd_jax.reporting.tables import metric_columns, sections, with_average
from mtkd_jax.reporting.told_apart import Settings, labels, settings_of
from mtkd_jax.types import UserError

DELTA = 'delta_m'
Delta = Callable[[Row, Found, str], float | None]
Numbers = Mapping[Any, float]
"""A number for every seed that has it; the seed is None where the results do not say it."""


@dataclass(frozen=True)
class Compared:
    """A row: a branch of a network, or single-task networks together, with several seeds.

    Attributes:
        title: the stage, its branch and the settings that tell it from rows of the same name.
        single: whether these are single-task networks.
        branch: '' where there is one only.
        backbone: in words.
        tasks: what its networks are trained for.
        settings: of all its stages, but the seed; of single-task networks those that they share.
        conditions: under which its numbers arose, by task.
        seeds: of its networks.
        numbers: metric, or `delta_m` in %, → seed → number. One that is not finite is missing.
        mark: '', or ` [1]` where it must not be compared with the rows above; `remark` says why.
    """

    title: str
    single: bool
    branch: str
    backbone: str
    tasks: tuple[str, ...]
    settings: Settings
    conditions: ByTask
    seeds: tuple[Any, ...]
    numbers: Mapping[str, Numbers]
    mark: str = ''
    remark: str = ''


@dataclass(frozen=True)
class Comparison:
    """Rows, the metrics that are their columns (name → direction), and what there is to say of them.

    `sections`: further metrics, by the heading of the table that shows them.
    """

    rows: Sequence[Compared]
    columns: Mapping[str, int]
    sections: Mapping[str, Mapping[str, int]]
    tasks: Sequence[ReportedTask]
    protocol: str
    notes: Sequence[str]


def compared(workdirs: Sequence[Path], tasks: Sequence[ReportedTask], protocol: str = 'accumulated') -> Comparison:
    """All finished stages in `workdirs` as rows: single-task networks first, then in the order of the workdirs.

    A stage that several workdirs have by links counts once. Δm (per task) is relative to the single-task networks of
    the same seed, budget, data and backbone, in any of the workdirs (`bases.base_results`).

    Raises:
        UserError: a workdir has no finished stage; the same stage is there twice with equal settings and seed.
    """
    groups = _groups(_found(workdirs, [task.name for task in tasks]))
    single = [member for group in groups if group.name == SINGLE for member in group.members.values()]
    columns, further, problems = metric_columns(tasks, protocol), sections(tasks), list[str]()

    def delta(row: Row, member: Found, title: str) -> float | None:
        own = [task for task in tasks if task.name in row.tasks]
        if row.method == 'stl' or len(own) < len(row.tasks):
            return None
        try:
            base = base_results(member, row.branch, single)
            # Where either was evaluated before a metric was there, nothing is said.
            measured = base is not None and _in_delta(own, protocol) <= row.results.keys() & base.keys()
            return delta_m(row.results, base, own, protocol).mean_per_task if base and measured else None
        except UserError as error:
            problems.append(f'No Δm for {title}, seed {member.seed}: {error}')
            return None

    names = [*columns, *(name for of in further.values() for name in of)]
    made = [row for group in groups for row in _rows(group, names, tasks, delta)]
    given, notes = marks([row.conditions for row in made], ignored=(SEED,))
    why = {f' {note.partition(" ")[0]}': note.partition(' ')[2] for note in notes}
    marked = [replace(row, mark=mark, remark=why.get(mark, '')) for row, mark in zip(made, given, strict=True)]
    return Comparison(marked, columns, further, tasks, protocol, [*problems, *notes, *_seeds(marked)])


@dataclass
class _Group:
    """Stages of equal settings, by seed; of single-task networks by seed and task. `label`: what tells it apart."""

    name: str
    members: dict[tuple[Any, ...], Found] = field(default_factory=dict)
    label: str = ''

    @property
    def settings(self) -> Settings:
        first = next(iter(self.members.values()))
        return _common(first) if self.name == SINGLE else first.settings

    def belongs(self, found: Found) -> bool:
        """Whether `found` is of this row, with another seed or, if single-task, for another task."""
        if self.name != found.name:
            return False
        alike = [member for member in self.members.values() if member.tasks == found.tasks]
        return found.settings == alike[0].settings if alike else _common(found) == self.settings

    def add(self, found: Found) -> None:
        key = (found.seed, *(found.tasks if self.name == SINGLE else ()))
        other = self.members.setdefault(key, found)
        if other is not found:
            raise UserError(
                f'{other.workdirs[0]} and {found.workdirs[0]} both have seed {found.seed} of {found.stage["stage"]} '
                'with equal settings; leave one out.'
            )


def _common(single: Found) -> Settings:
    """The settings that a single-task network shares with those of other tasks."""
    return {k: v for k, v in single.settings.items() if k != 'tasks' and not k.startswith('method_settings.')}


def _own(group: _Group) -> Settings:
    """The settings that tell a group from others of its name; given teachers have some by task."""
    if group.name != SINGLE:
        return group.settings
    own = {
        f'{"+".join(member.tasks)}.{k.removeprefix("method_settings.")}': v
        for member in group.members.values()
        for k, v in member.settings.items()
        if k.startswith('method_settings.')
    }
    return {**group.settings, **own}


def _found(workdirs: Iterable[Path], tasks: Sequence[str]) -> list[Found]:
    """Every finished stage once, whatever links lead to it."""
    by_place: dict[Path, Found] = {}
    for workdir in workdirs:
        stages = stages_by_folder(workdir, tasks)
        if not stages:
            raise UserError(f'{workdir} has no finished stage (stages/STAGE/results.json); train first.')
        for folder, stage in stages.items():
            found = by_place.setdefault(folder.resolve(), Found(stage, settings_of(stage), []))
            found.workdirs.append(workdir)
    return list(by_place.values())


def _groups(every: Iterable[Found]) -> list[_Group]:
    """Stages by what they are; those of one name stand together, single-task networks first."""
    by_name: dict[str, list[_Group]] = {SINGLE: []}
    for found in every:
        alike = by_name.setdefault(found.name, [])
        group = next((group for group in alike if group.belongs(found)), None)
        if group is None:
            group = _Group(found.name)
            alike.append(group)
        group.add(found)
    for alike in by_name.values():
        for group, label in zip(alike, labels([_own(group) for group in alike]), strict=True):
            group.label = label
    return [group for alike in by_name.values() for group in alike]


def _rows(group: _Group, metrics: Sequence[str], tasks: Sequence[ReportedTask], delta: Delta) -> list[Compared]:
    """A row for every branch of a group."""
    by_seed: dict[Any, list[Found]] = {}
    for member in group.members.values():
        by_seed.setdefault(member.seed, []).append(member)
    first: dict[str, Row] = {}
    arose: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[Any, dict[str, float]]] = {}
    for seed, members in sorted(by_seed.items(), key=lambda item: (item[0] is None, item[0] or 0)):
        for row in rows([member.stage for member in members]):
            change = delta(row, members[0], _title(row, group))
            first.setdefault(row.branch, row)
            arose[row.branch] = {**row.conditions, **arose.get(row.branch, {})}
            found.setdefault(row.branch, {})[seed] = with_average(row.results, tasks) | (
                {} if change is None else {DELTA: change}
            )
    return [
        Compared(
            title=_title(row, group),
            single=group.name == SINGLE,
            branch=branch,
            backbone=row.network,
            tasks=tuple(arose[branch]),
            settings=group.settings,
            conditions=arose[branch],
            seeds=tuple(found[branch]),
            numbers={name: _finite(name, found[branch]) for name in (*metrics, DELTA)},
        )
        for branch, row in first.items()
    ]


def _in_delta(tasks: Iterable[ReportedTask], protocol: str) -> set[str]:
    return {
        protocol_name(name, metric, protocol)
        for task in tasks
        for name, metric in task.metrics.each.items()
        if metric.in_delta
    }


def _title(row: Row, group: _Group) -> str:
    return row.title + (f', {group.label}' if group.label else '')


def _finite(name: str, by_seed: Mapping[Any, Mapping[str, float]]) -> dict[Any, float]:
    return {seed: of[name] for seed, of in by_seed.items() if name in of and math.isfinite(of[name])}


def _seeds(found: Sequence[Compared]) -> list[str]:
    """A sentence where rows are means over different seeds."""
    if len({row.seeds for row in found}) == 1:
        return []
    said = '; '.join(
        f'{row.title} {", ".join("unknown" if seed is None else str(seed) for seed in row.seeds)}' for row in found
    )
    return [f'Rows are means over different seeds: {said}.']
