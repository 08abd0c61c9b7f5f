"""One table of several runs that differ in their seed only."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtkd_jax.reporting.compared import compared
from mtkd_jax.reporting.formats import Page, cells, means
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.tables import markdown, turned_known


class SeedsRows(NamedTuple):
    """What `seeds_table` is made of: its heads, its rows by their titles, the sentences below it."""

    heads: list[str]
    body: list[list[str]]
    notes: list[str]


def seeds_table(workdirs: Sequence[Path], tasks: Sequence[ReportedTask], protocol: str = 'accumulated') -> str:
    """A row per network and branch, a column per metric: mean ± standard deviation over the workdirs that have it.

    The deviation is that of a sample (n - 1). `seeds` is the number of seeds that have the row. If fewer have a
    metric (because a single-task network is missing), the cell gives their number: `12.3 ± 0.4 (2)`. Δm (per task) is
    computed for each seed, against its own single-task networks, and then averaged; a dash where these are missing, of
    another backbone, budget, seed or data, or were evaluated before a metric was there. Rows of another budget or data
    than the first are marked, and the marks explained below the table; so are seeds, where rows differ in them.

    Raises:
        UserError: see `compared`.
    """
    heads, body, notes = seeds_rows(workdirs, tasks, protocol)
    return '\n\n'.join([markdown(heads, body), *notes])


def seeds_sections(workdirs: Sequence[Path], tasks: Sequence[ReportedTask]) -> dict[str, str]:
    """Heading → a table of the further metrics that belong there: a row per metric, a column per network and branch.

    Without rows where no network has a number, and without tables that would have no row.
    """
    comparison = compared(workdirs, tasks)
    return {
        heading: table
        for heading, columns in comparison.sections.items()
        if (table := turned_known(*means(comparison, columns)))
    }


def seeds_rows(workdirs: Sequence[Path], tasks: Sequence[ReportedTask], protocol: str = 'accumulated') -> SeedsRows:
    """The same in parts."""
    page = Page(compared(workdirs, tasks, protocol))
    return SeedsRows(*cells(page), page.notes)
