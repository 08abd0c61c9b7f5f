"""Blank examples in place of a data set's own: for plans of data that are not at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtkd_jax.data.sources import Example, Pools
from mtkd_jax.datasets.base import Prepared

if TYPE_CHECKING:
    from mtkd_jax.tasks import Task


@dataclass(frozen=True)
class Blank:
    """`count` examples [height width], all zeros."""

    count: int
    size: tuple[int, int]
    tasks: Sequence['Task']

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Example:
        found = {'image': np.zeros((*self.size, 3), np.uint8)}
        for task in self.tasks:
            size = (1, 1) if task.words else self.size
            # Of classes a target has the number alone.
            channels = 1 if np.issubdtype(task.value_dtype, np.integer) else task.channels
            found[task.name] = np.zeros((*size, channels), task.value_dtype)
        return found


def blank(data: Mapping[str, Any], tasks: Sequence['Task'], counts: Mapping[str, int] | int) -> Prepared:
    """A data set of `counts` training examples, of each task where it has a pool per task.

    `tasks`: all that it offers.
    """
    size = (data['height'], data['width'])

    def split(counts: Mapping[str, int] | int) -> Any:
        if isinstance(counts, int):
            return Blank(counts, size, tasks)
        return Pools.whole({task: Blank(count, size, tasks) for task, count in counts.items()})

    test = dict.fromkeys(counts, 1) if isinstance(counts, Mapping) else 1
    return Prepared(Path(), {'train': split(counts), 'test': split(test)}, {})
