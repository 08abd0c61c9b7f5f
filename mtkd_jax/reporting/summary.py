"""What a terminal shows when a run has ended: the verdict, and the results with a line for every metric."""

from collections.abc import Sequence
from pathlib import Path

from mtkd_jax.reporting import sections
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.rows import load_stages, rows
from mtkd_jax.reporting.seeds import seeds_table
from mtkd_jax.reporting.tables import markdown, results_table


def summary(workdirs: Sequence[Path], tasks: Sequence[ReportedTask]) -> str:
    """The results of one run, or of several that differ in their seed only: mean ± standard deviation.

    Raises:
        UserError: a results file is damaged.
    """
    if len(workdirs) > 1:
        return turned(seeds_table(workdirs, tasks))
    names = {task.name for task in tasks}
    networks = [row for row in rows(load_stages(workdirs[0], names)) if names & set(row.tasks)]
    plain = sections.verdict(networks, tasks).replace('**', '')
    return f'{turned(results_table(networks, tasks))}\n\n{plain}'


def turned(text: str) -> str:
    """A Markdown table with rows and columns exchanged, and without bold type; what stands below it is left out."""
    lines = text.partition('\n\n')[0].replace('**', '').splitlines()
    cells = [[cell.strip() for cell in line.strip().strip('|').split('|')] for line in lines]
    header, *body = [list(column) for column in zip(cells[0], *cells[2:], strict=True)]
    return markdown(['', *header[1:]], body)
