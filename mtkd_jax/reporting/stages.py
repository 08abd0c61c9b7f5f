"""What a workdir holds, read from its JSON files alone."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtkd_jax.types import STUDENT, TEACHER, UserError

# `loss/depth` is a loss; in `student/miou` and `student/loss/depth` the first word is a branch.
KINDS = ('loss', 'distillation', 'agreement', 'weight', 'weighting', 'gradient', 'cosine', 'cka')


@dataclass(frozen=True)
class Row:
    """One row of a table: a branch of a stage, or the single-task networks together.

    `branch` is '' where the network has only one; `network`: its backbone in words; `results` are without branch
    names; `paper`: where the paper's row is.
    """

    name: str
    method: str
    branch: str
    network: str
    tasks: tuple[str, ...]
    results: Mapping[str, float]
    paper: Mapping[str, str] | None
    baselines: Mapping[str, Mapping[str, Any]]

    @property
    def title(self) -> str:
        """The stage, and the branch where there are several."""
        return f'{self.name} ({self.branch})' if self.branch else self.name


def split_branch(name: str) -> tuple[str, str]:
    """`student/miou` → (`student`, `miou`); `loss/depth` → ('', `loss/depth`)."""
    first, slash, rest = name.partition('/')
    return (first, rest) if slash and first not in KINDS else ('', name)


def by_branch(results: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """{branch: results without the branch's name}; teacher, student, then others."""
    branches: dict[str, dict[str, float]] = {}
    for key, value in results.items():
        branch, name = split_branch(key)
        branches.setdefault(branch, {})[name] = value
    order = ('', TEACHER, STUDENT)
    return dict(sorted(branches.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def load_stages(workdir: Path, tasks: Iterable[str]) -> list[dict[str, Any]]:
    """The `results.json` of every finished stage: single-task stages first, in the order of `tasks`.

    Raises:
        UserError: a file is not valid JSON or lacks its results.
    """
    stages = [_load(file) for file in sorted(workdir.glob('stages/*/results.json'))]
    order = {f'stl_{task}': i for i, task in enumerate(tasks)}
    return sorted(stages, key=lambda s: (s['method'] != 'stl', order.get(s['stage'], len(order)), s['stage']))


def _load(file: Path) -> dict[str, Any]:
    try:
        stage = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f'{file} is not valid JSON ({error}); remove it and run the stage again.') from error
    missing = [name for name in ('stage', 'method', 'tasks', 'results') if name not in stage]
    if missing:
        raise UserError(f'{file} lacks `{"`, `".join(missing)}`; remove it and run the stage again.')
    return stage


def read_records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a `metrics.jsonl`; a last line that was cut off while it was written is left out.

    Raises:
        UserError: another line is not JSON.
    """
    for i, line in enumerate(file.read_text().splitlines(keepends=True), 1):
        if not line.endswith('\n'):
            return
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f'{file}, line {i} is not JSON ({error}); remove that line.') from error


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
    paper, baselines = stage.get('paper'), stage.get('baselines') or {}
    tasks = tuple(stage['tasks'])
    return Row(stage['stage'], stage['method'], branch, _network(stage), tasks, results, paper, baselines)


def _network(stage: Mapping[str, Any]) -> str:
    without = (stage.get('settings') or {}).get('attention') is False
    return str(stage.get('backbone', 'a network')) + (' without attention' if without else '')


def _single_row(stages: Sequence[Mapping[str, Any]], branch: str, results: Mapping[str, float]) -> Row:
    tasks = tuple(task for stage in stages for task in stage['tasks'])
    baselines = {task: found for stage in stages for task, found in (stage.get('baselines') or {}).items()}
    papers = [stage.get('paper') for stage in stages]
    # A given teacher was not trained as the paper's were: the whole row then is not the paper's.
    paper = papers[0] if all(papers) else None
    network = ' and '.join(sorted({_network(stage) for stage in stages}))
    return Row('single-task', 'stl', branch, network, tasks, results, paper, baselines)
