"""What a terminal shows when a run has ended: the verdict, and the results with a line for every metric."""

from collections.abc import Sequence
from pathlib import Path

from mtkd_jax.reporting import sections
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import load_stages, rows
from mtkd_jax.reporting.seeds import seeds_rows
from mtkd_jax.reporting.tables import metric_columns, results_cells, turned


def summary(workdirs: Sequence[Path], tasks: Sequence[ReportedTask]) -> str:
    """The results of one run, or of several that differ in their seed only: mean ± standard deviation.

    Raises:
        UserError: a results file is damaged.
    """
    if len(workdirs) > 1:
        return turned(*seeds_rows(workdirs, tasks)[:2])
    names = {task.name for task in tasks}
    networks = [row for row in rows(load_stages(workdirs[0], names)) if names & set(row.tasks)]
    heads, body, _ = results_cells(networks, tasks, metric_columns(tasks, 'accumulated'))
    return f'{turned(heads, body)}\n\n{sections.verdict(networks, tasks)}'.replace('**', '')
