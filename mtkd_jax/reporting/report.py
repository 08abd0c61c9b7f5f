"""The report of a run, or of several seeds of it, made from the files in its workdir alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtkd_jax.files import write_text
from mtkd_jax.records import REPORT, read_spent
from mtkd_jax.reporting import sections
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import load_stages, rows
from mtkd_jax.reporting.seeds import seeds_sections
from mtkd_jax.types import UserError

UNDRAWN = (
    'Drawing ended with an error ({}). Pictures below are missing, or of an earlier run. The same command draws again.'
)


def write_report(workdir: Path, tasks: Mapping[str, ReportedTask], note: str = '', undrawn: str = '') -> Path:
    """Writes `workdir/report.md` from `stages/*/results.json` and the pictures in `figures/`; returns its path.

    Args:
        workdir: the run's folder.
        tasks: the tasks whose metrics are shown, by name.
        note: why no paper's row stands beside ours, or ''.
        undrawn: why pictures are missing, or ''.

    Raises:
        UserError: no stage is finished, or a results file is damaged.
    """
    stages = load_stages(workdir, tasks)
    if not stages:
        raise UserError(f'{workdir} has no finished stage (stages/STAGE/results.json); train first.')
    return _written(workdir / REPORT, _text(workdir, stages, list(tasks.values()), note, undrawn))


def write_seeds_report(
    report: Path, finished: Sequence[Path], planned: Sequence[Path], tasks: Sequence[ReportedTask]
) -> Path:
    """Writes `report`, of several runs that differ in their seed only; returns its path.

    Args:
        report: the file.
        finished: the workdirs of the seeds that have come to their end, each with a report of its own.
        planned: the workdirs of all seeds.
        tasks: the tasks whose metrics are shown.

    Raises:
        UserError: see `seeds_table`.
    """
    stages = [load_stages(workdir, [task.name for task in tasks]) for workdir in finished]
    parts = {
        'What ran': sections.seeds(finished, planned),
        'Results': sections.seeds_results(finished, tasks),
        **seeds_sections(finished, tasks),
        'Cost': sections.seeds_cost(stages),
        'Curves': sections.picture(report.parent, 'curves'),
        f'Networks side by side, {finished[0].name}': sections.side_by_side(finished[0], tasks, f'{finished[0].name}/'),
        f'Settings of {finished[0].name}': sections.settings(stages[0]),
    }
    return write_document(report, parts)


def write_document(report: Path, parts: Mapping[str, str]) -> Path:
    """Writes `report`, a heading for each part; returns its path."""
    return _written(report, _document(report.parent, parts))


def _written(report: Path, text: str) -> Path:
    write_text(report, text)
    return report


def _document(workdir: Path, parts: Mapping[str, str]) -> str:
    title = f'# {workdir.resolve().name}\n'
    return '\n'.join([title, *(f'## {heading}\n\n{body}\n' for heading, body in parts.items() if body)])


def _text(
    workdir: Path, stages: Sequence[Mapping[str, Any]], tasks: Sequence[ReportedTask], note: str, undrawn: str
) -> str:
    # Only rows that have one of the tasks: a workdir may hold stages of another command.
    names = {task.name for task in tasks}
    networks = [row for row in rows(stages) if names & set(row.tasks)]
    shown = {task for row in networks for task in row.tasks}
    tasks = [task for task in tasks if task.name in shown]
    parts = {
        'Verdict': sections.verdict(networks, tasks),
        'What ran': sections.what_ran(workdir, stages, names),
        'Results': sections.results(networks, tasks),
        "The paper's numbers": sections.paper(networks, tasks, note),
        'Δm: change against single-task networks': sections.delta(networks, tasks),
        **sections.further(networks, tasks),
        'Constant predictors': sections.constants(networks, tasks),
        'Where the losses end': sections.ends(workdir, stages),
        'Cost': '\n\n'.join(filter(None, (sections.cost(stages), sections.time(stages, read_spent(workdir))))),
        'How the numbers were chosen': sections.selection(stages),
        'What could not be drawn': UNDRAWN.format(undrawn) if undrawn else '',
        'Curves': sections.curves(workdir),
        'Networks side by side': sections.side_by_side(workdir, tasks),
        'Predictions': sections.panels(workdir, stages),
        'Settings': sections.settings(stages),
    }
    return _document(workdir, parts)
