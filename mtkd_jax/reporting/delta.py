"""Δm: by how much a multi-task network is better than the single-task networks (papers.md C)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from mtkd_jax.metrics import Metric
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import single_task_base
from mtkd_jax.types import UserError

__all__ = ['PROTOCOLS', 'DeltaM', 'delta_m', 'protocol_name', 'single_task_base']

PROTOCOLS = ('accumulated', 'legacy')


@dataclass(frozen=True)
class DeltaM:
    """Relative change against the single-task results in %, positive where better.

    `per_task`: the mean over each task's metrics; `mean_per_task`: the mean of those (the usual Δm); `flat`: the mean
    over all metrics, in which a task with more metrics weighs more.
    """

    per_task: dict[str, float]
    mean_per_task: float
    flat: float


def protocol_name(name: str, metric: Metric, protocol: str) -> str:
    """What the metric `name` is called in the results of `protocol`.

    The papers' protocol, `legacy`, is per image for some metrics and per batch for others; one that has neither is the
    same in both (papers.md C).

    Raises:
        UserError: there is no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f'`protocol` is {protocol!r}; choose one of {", ".join(PROTOCOLS)}.')
    return name if protocol == 'accumulated' else name + metric.legacy


def delta_m(
    results: Mapping[str, float],
    base: Mapping[str, float],
    tasks: Iterable[ReportedTask],
    protocol: str = 'accumulated',
) -> DeltaM:
    """Δm = 100 · s · (M - M_base) / |M_base|, averaged; s = ±1 is the metric's direction.

    Args:
        results: one branch's metrics, named without the branch.
        base: the single-task results (`single_task_base`).
        tasks: which metrics enter, and their directions.
        protocol: `accumulated` or `legacy`, for both `results` and `base`.

    Raises:
        UserError: a metric is missing or NaN on either side, or its base is 0; or there are no tasks.
    """
    changes = {
        task.name: [
            metric.direction * _change(results, base, protocol_name(name, metric, protocol))
            for name, metric in task.metrics.each.items()
            if metric.in_delta
        ]
        for task in tasks
        if any(metric.in_delta for metric in task.metrics.each.values())
    }
    if not changes:
        raise UserError('`tasks` is empty, or none of their metrics enters Δm; it needs at least one task.')
    per_task = {task: fmean(values) for task, values in changes.items()}
    flat = fmean(value for values in changes.values() for value in values)
    return DeltaM(per_task, fmean(per_task.values()), flat)


def _change(results: Mapping[str, float], base: Mapping[str, float], metric: str) -> float:
    for side, values in (('results', results), ('single-task results', base)):
        if metric not in values:
            raise UserError(f'Δm needs `{metric}`, which is missing in the {side}; evaluate that task again.')
        if values[metric] != values[metric]:
            raise UserError(f'Δm needs `{metric}`, which is NaN in the {side}: the split has no label for it.')
    if base[metric] == 0:
        raise UserError(
            f'The single-task result of `{metric}` is 0, so nothing can be relative to it; train it longer.'
        )
    return 100 * (results[metric] - base[metric]) / abs(base[metric])
