"""The rows of tables: what a workdir holds, read from its JSON files alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtkd_jax.records import by_branch, finished_stages
from mtkd_jax.reporting import conditions
from mtkd_jax.types import UserError


@dataclass(frozen=True)
class Row:
    """One row of a table: a branch of a stage, or the single-task networks together.

    `branch` is '' where the network has only one; `network`: its backbone in words; `results` are without branch
    names; `papers`: where the papers' rows for it are; `conditions`: by task, under which its numbers arose.
    """

    name: str
    method: str
    branch: str
    network: str
    tasks: tuple[str, ...]
    results: Mapping[str, float]
    papers: Sequence[Mapping[str, str]]
    baselines: Mapping[str, Mapping[str, Any]]
    conditions: conditions.ByTask

    @property
    def title(self) -> str:
        """The stage, and the branch where there are several."""
        return f'{self.name} ({self.branch})' if self.branch else self.name


SINGLE = 'single-task'
"""What the row of the single-task networks is called."""


def load_stages(workdir: Path, tasks: Iterable[str]) -> list[dict[str, Any]]:
    """The results of every finished stage: single-task stages first, in the order of `tasks`.

    Raises:
        UserError: a file is damaged, or lacks its results.
    """
    return list(stages_by_folder(workdir, tasks).values())


def stages_by_folder(workdir: Path, tasks: Iterable[str]) -> dict[Path, dict[str, Any]]:
    """`load_stages`, each with its folder."""
    order = {f'stl_{task}': i for i, task in enumerate(tasks)}

    def place(item: tuple[Path, Mapping[str, Any]]) -> tuple[bool, int, str]:
        stage = item[1]
        return stage['method'] != 'stl', order.get(stage['stage'], len(order)), stage['stage']

    return dict(sorted(finished_stages(workdir).items(), key=place))


def rows(stages: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for the single-task networks together, then one per branch of every other stage."""
    single = [stage for stage in stages if stage['method'] == 'stl']
    others = [stage for stage in stages if stage['method'] != 'stl']
    found = [_row(stage, branch) for stage in others for branch in by_branch(stage['results'])]
    merged = single_task_base(single)
    return [_single_row(single, branch, results) for branch, results in by_branch(merged).items()] + found


def single_task_base(stages: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The results of all single-task stages (method `stl`) in one; other stages are passed over.

    Raises:
        UserError: two stages report the same metric, so that neither can be the base.
    """
    merged: dict[str, float] = {}
    owner: dict[str, str] = {}
    for stage in (s for s in stages if s['method'] == 'stl'):
        for name, value in stage['results'].items():
            if name in owner:
                raise UserError(
                    f'`{name}` is reported by the single-task stages {owner[name]} and {stage["stage"]}; '
                    'keep one of their folders in the workdir.'
                )
            merged[name], owner[name] = value, stage['stage']
    return merged


def _row(stage: Mapping[str, Any], branch: str) -> Row:
    results = by_branch(stage['results'])[branch]
    tasks, baselines = tuple(stage['tasks']), stage.get('baselines') or {}
    arose = dict.fromkeys(tasks, conditions.of_stage(stage))
    return Row(
        stage['stage'], stage['method'], branch, network_of(stage), tasks, results, _papers(stage), baselines, arose
    )


def _papers(stage: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Where the papers' rows are; results of format 1 name one at most."""
    return list(stage['papers']) if 'papers' in stage else [stage['paper']] if stage.get('paper') else []


def network_of(stage: Mapping[str, Any]) -> str:
    """The backbone of a stage in words."""
    settings = stage.get('settings') or {}
    without = settings.get('backbone_settings', settings).get('attention') is False
    return str(stage.get('backbone', 'a network')) + (' without attention' if without else '')


def _single_row(stages: Sequence[Mapping[str, Any]], branch: str, results: Mapping[str, float]) -> Row:
    tasks = tuple(task for stage in stages for task in stage['tasks'])
    baselines = {task: found for stage in stages for task, found in (stage.get('baselines') or {}).items()}
    # A given teacher was not trained like the paper's, so the paper's row does not correspond to ours.
    papers = [place for place in _papers(stages[0]) if all(place in _papers(stage) for stage in stages)]
    network = ' and '.join(sorted({network_of(stage) for stage in stages}))
    arose = {task: conditions.of_stage(stage) for stage in stages for task in stage['tasks']}
    return Row(SINGLE, 'stl', branch, network, tasks, results, papers, baselines, arose)
