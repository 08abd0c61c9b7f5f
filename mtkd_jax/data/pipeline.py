"""From a prepared split to batches on the device (grain).

Batch `i` of epoch `e` is a pure function of (split, seed, e, i): a run that starts again at any step sees exactly the
batches it would have seen, without any reader state to restore.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import grain
import jax
import numpy as np

from mtkd_jax.tasks import Task
from mtkd_jax.types import Batch, Target, UserError

Example = Mapping[str, np.ndarray]


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


def hold_out(source: Source, fraction: float, seed: int) -> tuple[Source, Source]:
    """`source` as (training, validation): a random `fraction` is held out (spec A3), the same for the same seed."""
    if not 0 < fraction < 1:
        raise UserError(f'`validation_fraction` is {fraction}; give a share between 0 and 1, such as 0.1.')
    held = max(1, round(fraction * len(source)))
    order = np.random.default_rng([seed, 10]).permutation(len(source))
    return Subset(source, np.sort(order[held:])), Subset(source, np.sort(order[:held]))


def to_example(example: Example, tasks: Sequence[Task]) -> Batch:
    """A prepared example as an unbatched `Batch`: image float32 in [0, 1], a value and a mask per task."""
    image: Any = example['image']
    if image.dtype == np.uint8:
        image = image.astype(np.float32) / 255
    targets = {}
    for task in tasks:
        value: Any = example[task.name].astype(task.value_dtype)
        targets[task.name] = Target(value, task.validity(value))
    return Batch(image.astype(np.float32), targets)


def first_examples(source: Source, tasks: Sequence[Task], count: int) -> Batch:
    """The first `count` examples of a source as one batch."""
    return jax.tree.map(lambda *x: np.stack(x), *[to_example(source[i], tasks) for i in range(count)])


@dataclass(frozen=True)
class Split:
    """A split read in batches of `batch_size` per process.

    `process_index` and `process_count` choose this process's share `[index::count]` of the examples.
    """

    source: Source
    tasks: Sequence[Task]
    batch_size: int
    seed: int = 0
    read_threads: int = 4
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        if len(self.source) == 0:
            raise UserError('The split is empty; prepare the data again.')

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; the remainder is dropped (a different one each epoch).

        Raises:
            UserError: the split has fewer examples than one batch.
        """
        steps = len(self.source) // self.process_count // self.batch_size
        if steps == 0:
            raise UserError(
                f'`batch_size` {self.batch_size * self.process_count} is larger than the split, which has '
                f'{len(self.source)} examples; choose a smaller batch size.'
            )
        return steps

    def check_trains(self) -> None:
        """Raises the UserError of `steps_per_epoch` where it has one."""
        _ = self.steps_per_epoch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The shuffled training batches `start`, `start + 1`, ... of an epoch."""
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        examples = grain.MapDataset.source(self.source).shuffle(seed=seed)
        # Equal shares: every process must take the same number of steps.
        share = self.steps_per_epoch * self.batch_size
        examples = examples[self.process_index :: self.process_count][:share]
        batches = examples.map(self._to_example).batch(self.batch_size, drop_remainder=True)
        return self._read(batches[start:])

    def ordered(self) -> Iterator[Batch]:
        """Every example once, in order; the last batches are filled with examples that no mask counts."""
        examples = grain.MapDataset.source(self.source)[self.process_index :: self.process_count]
        largest_share = -(-len(self.source) // self.process_count)
        batches = -(-largest_share // self.batch_size)
        read = self._read(examples.map(self._to_example).batch(self.batch_size)) if len(examples) else iter(())
        blank = jax.tree.map(np.zeros_like, self._to_example(self.source[0]))
        for _ in range(batches):
            yield self._padded(next(read, None), blank)

    def _to_example(self, example: Example) -> Batch:
        return to_example(example, self.tasks)

    def _padded(self, batch: Batch | None, blank: Batch) -> Batch:
        if batch is not None and batch.image.shape[0] == self.batch_size:
            return batch
        have = 0 if batch is None else batch.image.shape[0]

        def fill(zero: np.ndarray, *filled: np.ndarray) -> np.ndarray:
            return np.concatenate([*filled, np.stack([zero] * (self.batch_size - have))])

        return jax.tree.map(fill, blank, *([] if batch is None else [batch]))

    def _read(self, batches: Any) -> Iterator[Batch]:
        options = grain.ReadOptions(num_threads=self.read_threads, prefetch_buffer_size=4 * self.read_threads)
        iterator = iter(batches.to_iter_dataset(options))
        try:
            yield from iterator
        finally:
            iterator.close()
