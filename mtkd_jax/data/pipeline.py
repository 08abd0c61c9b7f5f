"""From a prepared split to batches on the device (grain).

Batch `i` of epoch `e` is a pure function of (split, seed, e, i): a run that starts again at any step sees exactly the
batches it would have seen, without any reader state to restore.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import numpy as np

from mtkd_jax.data.sources import Example, Parts, Source, Subset, hold_out
from mtkd_jax.tasks import Task
from mtkd_jax.types import Batch, Target, UserError

__all__ = ['Parts', 'Source', 'Split', 'Subset', 'first_examples', 'hold_out', 'to_example']


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
    """The first `count` examples of a source as one batch; of `Parts`, some of each that has one of the tasks."""
    source = with_labels(source, tasks)
    numbers = source.spread(count) if isinstance(source, Parts) else range(count)
    return jax.tree.map(lambda *x: np.stack(x), *[to_example(source[i], tasks) for i in numbers])


def with_labels(source: Source, tasks: Sequence[Task]) -> Source:
    """What to read for `tasks`: of `Parts`, those in which an image carries a label of one of them."""
    return source.of(task.name for task in tasks) if isinstance(source, Parts) else source


@dataclass(frozen=True)
class Split:
    """A split read in batches of `batch_size` per process.

    Of `Parts`, a training batch holds `batch_size` / total images of each part that has one of the tasks.
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
    def examples(self) -> Source:
        """The examples that carry a label of one of the tasks."""
        return with_labels(self.source, self.tasks)

    @property
    def train_batch_size(self) -> int:
        """Images that a training batch of one process holds."""
        examples = self.examples
        return (
            self.batch_size // examples.total * len(examples.parts) if isinstance(examples, Parts) else self.batch_size
        )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; the remainder is dropped (a different one each epoch).

        Raises:
            UserError: the split has fewer examples than one batch.
        """
        source, each = self.source, self.batch_size
        if isinstance(source, Parts):
            each = self.batch_size // source.total
            if each * source.total < self.batch_size:
                raise UserError(
                    f'`batch_size` {self.batch_size * self.process_count} does not divide into equal shares of '
                    f'{", ".join(source.parts)} in {self.process_count} processes; choose a multiple of '
                    f'{source.total * self.process_count}.'
                )
            shortest = min(len(part) for part in source.parts.values())
            if shortest < self.process_count:
                raise UserError(f'A part of the split has {shortest} examples for {self.process_count} processes.')
        steps = (source.longest if isinstance(source, Parts) else len(source)) // self.process_count // each
        if steps == 0:
            raise UserError(
                f'`batch_size` {self.batch_size * self.process_count} is larger than the split, which has '
                f'{len(source)} examples; choose a smaller batch size.'
            )
        return steps

    def check_trains(self) -> None:
        """Raises the UserError of `steps_per_epoch` where it has one."""
        _ = self.steps_per_epoch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The shuffled training batches `start`, `start + 1`, ... of an epoch."""
        size = self.train_batch_size
        batches = self._shuffled(epoch).map(self._to_example).batch(size, drop_remainder=True)
        return self._read(batches[start:])

    def _shuffled(self, epoch: int) -> Any:
        """The examples of this process's batches, in their order."""
        examples, steps = self.examples, self.steps_per_epoch
        if isinstance(examples, Parts):
            each = self.batch_size // examples.total
            order = examples.order([self.seed, epoch], each, steps, self.process_index, self.process_count)
            return grain.MapDataset.source(Subset(examples, order))
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        shuffled = grain.MapDataset.source(examples).shuffle(seed=seed)
        # Equal shares: every process must take the same number of steps.
        return shuffled[self.process_index :: self.process_count][: steps * self.batch_size]

    def ordered(self) -> Iterator[Batch]:
        """Every example once, in order; the last batches are filled with examples that no mask counts."""
        source = self.examples
        examples = grain.MapDataset.source(source)[self.process_index :: self.process_count]
        largest_share = -(-len(source) // self.process_count)
        batches = -(-largest_share // self.batch_size)
        read = self._read(examples.map(self._to_example).batch(self.batch_size)) if len(examples) else iter(())
        blank = jax.tree.map(np.zeros_like, self._to_example(source[0]))
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
