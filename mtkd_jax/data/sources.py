"""Examples by number: a whole split, some of it, or a part for every task."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mtkd_jax.types import UserError

Example = Mapping[str, np.ndarray]
GOLDEN = (5**0.5 - 1) / 2


@runtime_checkable
class Source(Protocol):
    """Examples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Example: ...


@dataclass(frozen=True)
class Subset:
    """Some examples of a random-access source, in the given order."""

    source: Source
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Example:
        return self.source[int(self.indices[i])]


@dataclass(frozen=True)
class Parts:
    """A data set in which every image carries one task's label: a part per task, numbered one after the other.

    A training batch takes the same number of images of each part. An epoch is once through the longest part; shorter
    ones are cycled, in a new order each time. `of` keeps the parts of some tasks and changes nothing else: a
    single-task network sees the images that a multi-task one sees of its task, in the same order and number.

    Attributes:
        parts: the examples that carry a label of the task.
        total: how many parts a batch is divided among, those that `of` left out included.
        longest: the number of examples in the longest of them.
    """

    parts: Mapping[str, Source]
    total: int
    longest: int

    @classmethod
    def whole(cls, parts: Mapping[str, Source]) -> 'Parts':
        """All parts of a data set."""
        return cls(parts, len(parts), max(len(part) for part in parts.values()))

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts.values())

    def __getitem__(self, i: int) -> Example:
        for part in self.parts.values():
            if i < len(part):
                return part[i]
            i -= len(part)
        raise IndexError(f'There are only {len(self)} examples.')

    def of(self, tasks: Iterable[str]) -> 'Parts':
        """The parts of `tasks`."""
        chosen = set(tasks)
        return Parts({task: part for task, part in self.parts.items() if task in chosen}, self.total, self.longest)

    def order(self, seed: Sequence[int], each: int, steps: int, index: int, count: int) -> np.ndarray:
        """Numbers of the examples of `steps` batches that hold `each` of every part, alternating.

        Every pass through a part is another permutation of it; process `index` of `count` takes its equal share.
        """
        orders, first = [], 0
        for task, part in self.parts.items():
            fair = len(part) // count
            key = [*seed, zlib.crc32(task.encode())]
            passes = range(-(-steps * each // fair))
            mine = [np.random.default_rng([*key, p]).permutation(len(part))[index::count][:fair] for p in passes]
            orders.append(first + np.concatenate(mine)[: steps * each])
            first += len(part)
        return np.stack(orders, axis=-1).reshape(-1)

    def spread(self, count: int) -> list[int]:
        """`count` numbers of examples, of the parts in turn and spread over each."""
        found, sizes = [], [len(part) for part in self.parts.values()]
        for i in range(count):
            turn, part = divmod(i, len(sizes))
            # Multiples of the golden ratio: even steps would meet one class only where classes take turns.
            found.append(sum(sizes[:part]) + int(turn * GOLDEN % 1 * sizes[part]))
        return found


def hold_out(source: Source, fraction: float, seed: int) -> tuple[Source, Source]:
    """`source` as (training, validation): a random `fraction` is held out (spec A3), the same for the same seed.

    Of `Parts`, that fraction of every part.
    """
    if not 0 < fraction < 1:
        raise UserError(f'`validation_fraction` is {fraction}; give a share between 0 and 1, such as 0.1.')
    if isinstance(source, Parts):
        pairs = {task: hold_out(part, fraction, seed) for task, part in source.parts.items()}
        train, held = ({task: pair[i] for task, pair in pairs.items()} for i in (0, 1))
        return Parts.whole(train), Parts.whole(held)
    count = max(1, round(fraction * len(source)))
    order = np.random.default_rng([seed, 10]).permutation(len(source))
    return Subset(source, np.sort(order[count:])), Subset(source, np.sort(order[:count]))
