"""Statistics of many batches in one: summed on the host, in float64 and int64, whatever the batches are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsFloat

import numpy as np
from jaxtyping import ArrayLike

Statistics = Mapping[str, ArrayLike]
Rows = Mapping[str, np.ndarray]

EACH = 'each/'
"""Begins the name of a statistic that holds a row per example, which `Accumulator.of_batch` sees; it is not summed."""
BATCH = 2
"""Images of a batch in the papers' evaluation (papers.md C)."""


@dataclass
class Accumulator:
    """Sums of statistics over the batches seen so far.

    Floating-point statistics hold a number per example, integer ones are counts.

    Attributes:
        of_batch: rows of the `EACH` statistics of one of the papers' batches, `BATCH` images in the order of the split
            (the last may have fewer), by name without `EACH` → numbers by name; empty where nothing is defined. Which
            images the batches of an evaluation hold plays no part. None: there is no such thing.
        sums: by name; those of `of_batch` as `batches/NAME`, and the number of these batches as `batches/count`.
        waiting: rows of images whose batch is not full yet.
    """

    of_batch: Callable[[Rows], Mapping[str, float]] | None = None
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    waiting: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, statistics: Statistics) -> None:
        """Adds one batch's statistics."""
        rows = {}
        for name, value in statistics.items():
            array = np.asarray(value)
            if name.startswith(EACH):
                rows[name.removeprefix(EACH)] = array
            elif np.issubdtype(array.dtype, np.floating):
                self._count(name, np.sum(array, axis=0, dtype=np.float64))
            else:
                self._count(name, array.astype(np.int64))
        if rows:
            self._add_rows(rows)

    def totals(self) -> dict[str, np.ndarray]:
        """All sums; images whose batch is not full are a smaller one."""
        whole = Accumulator(self.of_batch, dict(self.sums))
        if self.waiting:
            whole._add_batch(self.waiting)
        return whole.sums

    def _add_rows(self, rows: Rows) -> None:
        if self.waiting:
            rows = {name: np.concatenate([self.waiting[name], new]) for name, new in rows.items()}
        count = len(next(iter(rows.values())))
        full = count - count % BATCH
        for i in range(0, full, BATCH):
            self._add_batch({name: x[i : i + BATCH] for name, x in rows.items()})
        # Copied, so that the rows of the others can go.
        self.waiting = {name: x[full:].copy() for name, x in rows.items()} if full < count else {}

    def _add_batch(self, rows: Rows) -> None:
        found = self.of_batch(rows) if self.of_batch is not None else {}
        if found:
            self._count('batches/count', np.asarray(1))
        for name, value in found.items():
            self._count(f'batches/{name}', np.asarray(value, np.float64))

    def _count(self, name: str, term: Any) -> None:
        self.sums[name] = np.asarray(self.sums[name] + term if name in self.sums else term)


def ratio(total: SupportsFloat, count: SupportsFloat) -> float:
    """`total / count`, and NaN when nothing was counted: a result that does not exist is not zero."""
    return float(total) / float(count) if float(count) else float('nan')


def mean_of_batches(sums: Mapping[str, np.ndarray], name: str) -> float:
    """Mean over the papers' batches of what `Accumulator.of_batch` calls `name`."""
    return ratio(sums.get(f'batches/{name}', np.zeros(())), sums.get('batches/count', np.zeros(())))
