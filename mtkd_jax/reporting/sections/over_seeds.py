"""Sections of the report of several seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtkd_jax.records import REPORT
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.sections.numbers import in_protocols
from mtkd_jax.reporting.sections.time import at_once
from mtkd_jax.reporting.seeds import seeds_table
from mtkd_jax.reporting.statistics import mean_and_spread
from mtkd_jax.reporting.tables import markdown


def seeds(finished: Sequence[Path], planned: Sequence[Path]) -> str:
    """Where each seed's own report is, and which seeds are not finished."""
    links = ', '.join(f'[{path.name}]({path.name}/{REPORT})' for path in finished)
    left = ', '.join(path.name for path in planned if path not in finished)
    many = len(finished) > 1
    return (
        f'{f"{len(finished)} runs that differ in their seed only" if many else "One run"}, with a report each: {links}.'
        + (f' Not finished, and not counted here: {left}.' if left else '')
        + ('' if many else ' How much another seed would change is not measured yet.')
    )


def seeds_results(finished: Sequence[Path], tasks: Sequence[ReportedTask]) -> str:
    """Every metric as mean ± standard deviation over the seeds."""
    return (
        'On the test split. Mean ± sample standard deviation over the seeds; Δm per task against the single-task '
        'networks of the same seed.\n\n'
        + in_protocols(tasks, lambda tasks, protocol: seeds_table(finished, tasks, protocol))
    )


def seeds_cost(stages: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """Time of every stage, by seed: the stages of each of them."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    timed = [stage for of_seed in stages for stage in of_seed if stage.get('timing')]
    for stage in timed:
        by_name.setdefault(stage['stage'], []).append(stage['timing'])
    body = [
        [name, *(_spread(found, *column) for column in COLUMNS), str(len(found))] for name, found in by_name.items()
    ]
    table = markdown(['stage', 'step (ms, median)', 'training (s)', 'compilation (s)', 'seeds'], body)
    return f'{table}\n\n{NOTE} {at_once(timed)}'.rstrip()


COLUMNS = (('step_seconds', 1000.0), ('train_seconds', 1.0), ('compile_seconds', 1.0))
NOTE = (
    'Mean ± sample standard deviation over the seeds. What one seed compiled, others on the same devices need not '
    'compile again.'
)


def _spread(found: Sequence[Mapping[str, Any]], name: str, scale: float) -> str:
    return mean_and_spread([timing[name] * scale for timing in found if timing.get(name) is not None], 1)
