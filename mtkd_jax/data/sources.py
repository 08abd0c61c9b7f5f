"""Examples by number: a whole split, some of it, or a pool for every task."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mtkd_jax.errors import UserError

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
class Pools:
    """A data set in which every image carries one task's label: a pool per task, numbered one after the other.

    A training batch takes the same number of images of each pool. An epoch is once through the longest pool; shorter
    ones are cycled, in a new order each time. `of` keeps the pools of some tasks and changes nothing else. A
    single-task network therefore sees the same images of its task as a multi-task network, in the same order and
    number.

    Attributes:
        pools: the examples that carry a label of the task.
        total: how many pools a batch is divided among, those that `of` left out included.
        longest: the number of examples in the longest of them.
    """

    pools: Mapping[str, Source]
    total: int
    longest: int

    @classmethod
    def whole(cls, pools: Mapping[str, Source]) -> 'Pools':
        """All pools of a data set."""
        return cls(pools, len(pools), max(len(pool) for pool in pools.values()))

    def __len__(self) -> int:
        return sum(len(pool) for pool in self.pools.values())

    def __getitem__(self, i: int) -> Example:
        for pool in self.pools.values():
            if i < len(pool):
                return pool[i]
            i -= len(pool)
        raise IndexError(f'There are only {len(self)} examples.')

    def of(self, tasks: Iterable[str]) -> 'Pools':
        """The pools of `tasks`."""
        chosen = set(tasks)
        return Pools({task: pool for task, pool in self.pools.items() if task in chosen}, self.total, self.longest)

    def order(self, seed: Sequence[int], each: int, steps: int) -> np.ndarray:
        """Numbers of the examples of `steps` batches that hold `each` of every pool, alternating.

        Every pass through a pool is another permutation of it.
        """
        orders, first = [], 0
        for task, pool in self.pools.items():
            key = [*seed, zlib.crc32(task.encode())]
            passes = range(-(-steps * each // len(pool)))
            permutations = [np.random.default_rng([*key, p]).permutation(len(pool)) for p in passes]
            orders.append(first + np.concatenate(permutations)[: steps * each])
            first += len(pool)
        return np.stack(orders, axis=-1).reshape(-1)

    def spread(self, count: int) -> list[int]:
        """`count` numbers of examples, of the pools in turn and spread over each."""
        found, sizes = [], [len(pool) for pool in self.pools.values()]
        for i in range(count):
            turn, pool = divmod(i, len(sizes))
            # Multiples of the golden ratio. Even steps could pick a single class from data in which the classes
            # alternate.
            found.append(sum(sizes[:pool]) + int(turn * GOLDEN % 1 * sizes[pool]))
        return found


def hold_out(source: Source, fraction: float, seed: int) -> tuple[Source, Source]:
    """`source` as (training, validation): a random `fraction` is held out (papers.md A3), the same for the same seed.

    Of `Pools`, that fraction of every pool.
    """
    if not 0 < fraction < 1:
        raise UserError(f'`validation_fraction` is {fraction}; give a share between 0 and 1, such as 0.1.')
    if isinstance(source, Pools):
        pairs = {task: hold_out(pool, fraction, seed) for task, pool in source.pools.items()}
        train, held = ({task: pair[i] for task, pair in pairs.items()} for i in (0, 1))
        return Pools.whole(train), Pools.whole(held)
    count = max(1, round(fraction * len(source)))
    order = np.random.default_rng([seed, 10]).permutation(len(source))
    return Subset(source, np.sort(order[count:])), Subset(source, np.sort(order[:count]))
