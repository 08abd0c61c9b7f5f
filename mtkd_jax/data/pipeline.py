"""From a prepared split to batches on the device (grain).

Batch `i` of epoch `e` is a pure function of (split, seed, e, i): a run that starts again at any step sees exactly the
batches it would have seen, without any reader state to restore.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import numpy as np
from jaxtyping import Int

from mtkd_jax.data.examples import Label, first_examples, to_example, with_labels
from mtkd_jax.data.reading import read
from mtkd_jax.data.sources import Example, Pools, Source, Subset, hold_out
from mtkd_jax.tasks import Task
from mtkd_jax.types import Batch, Batches, UserError

__all__ = ['Pools', 'Source', 'Split', 'Subset', 'first_examples', 'hold_out', 'to_example']


@dataclass(frozen=True)
class Split:
    """A split read in batches of `batch_size` per process.

    Of `Pools`, a training batch holds `batch_size` / total images of each pool that has one of the tasks.
    `process_index` and `process_count` choose this process's share `[index::count]` of the examples. `read_threads`
    threads read ahead, shared among `read_workers` processes unless that is 0; the batches are the same.
    """

    source: Source
    tasks: Sequence[Task | Label]
    batch_size: int
    seed: int = 0
    read_threads: int = 4
    process_index: int = 0
    process_count: int = 1
    read_workers: int = 0

    def __post_init__(self) -> None:
        if len(self.source) == 0:
            raise UserError('The split is empty; prepare the data again.')
        if self.read_threads < 1 or self.read_workers < 0:
            raise UserError(
                f'`read_threads` is {self.read_threads} and `read_workers` {self.read_workers}; give at least 1 and 0.'
            )

    @property
    def examples(self) -> Source:
        """The examples that carry a label of one of the tasks."""
        return with_labels(self.source, self.tasks)

    @property
    def train_batch_size(self) -> int:
        """Images that a training batch of one process holds."""
        examples = self.examples
        return (
            self.batch_size // examples.total * len(examples.pools) if isinstance(examples, Pools) else self.batch_size
        )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; the remainder is dropped (a different one each epoch).

        Raises:
            UserError: the split has fewer examples than one batch.
        """
        source, each = self.source, self.batch_size
        if isinstance(source, Pools):
            each = self.batch_size // source.total
            if each * source.total < self.batch_size:
                raise UserError(
                    f'`batch_size` {self.batch_size * self.process_count} does not divide into equal shares of '
                    f'{", ".join(source.pools)} in {self.process_count} processes; choose a multiple of '
                    f'{source.total * self.process_count}.'
                )
            shortest = min(len(pool) for pool in source.pools.values())
            if shortest < self.process_count:
                raise UserError(f'A pool of the split has {shortest} examples for {self.process_count} processes.')
        steps = (source.longest if isinstance(source, Pools) else len(source)) // self.process_count // each
        if steps == 0:
            raise UserError(
                f'`batch_size` {self.batch_size * self.process_count} is larger than the split, which has '
                f'{len(source)} examples; choose a smaller batch size.'
            )
        return steps

    def check_trains(self) -> None:
        """Raises the UserError of `steps_per_epoch` where it has one."""
        _ = self.steps_per_epoch

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of the images of a batch of `ordered`: [b h w 3]."""
        return self.batch_size, *self.to_example(self.examples[0]).image.shape

    def epoch(self, epoch: int, start: int = 0) -> Batches:
        """The shuffled training batches `start`, `start + 1`, ... of an epoch."""
        return self.epochs(epoch, epoch + 1, start)

    def epochs(self, first: int, end: int, start: int = 0) -> Batches:
        """The training batches of the epochs `first`, ..., `end` - 1 without a pause between, from batch `start`."""
        split = self._to_send
        examples = grain.MapDataset.source(Epochs(split, first, end)).map(split.to_example)
        return self._read(examples.batch(self.train_batch_size, drop_remainder=True)[start:])

    def shuffled(self, epoch: int) -> Any:
        """The examples of this process's batches of an epoch, in order."""
        examples = self.examples
        if isinstance(examples, Pools):
            return Subset(examples, self._pools_order(examples, epoch))
        return self._shuffle(grain.MapDataset.source(examples), epoch)

    def order(self, epoch: int) -> Int[np.ndarray, 'steps b']:
        """Numbers, in `source`, of the examples of this process's batches of an epoch: those of `shuffled`."""
        examples, steps = self.examples, self.steps_per_epoch
        if isinstance(examples, Pools):
            numbers = self._pools_order(examples, epoch)
        else:
            shuffled = self._shuffle(grain.MapDataset.range(len(examples)), epoch)
            numbers = np.fromiter((shuffled[i] for i in range(steps * self.batch_size)), np.int32)
        return self._places[numbers].reshape(steps, self.train_batch_size)

    def numbers(self) -> Int[np.ndarray, 'batches b']:
        """Numbers, in `source`, of the examples of the batches of `ordered`; -1 for one that fills up."""
        mine = self._places[self.process_index :: self.process_count]
        largest_share = math.ceil(len(self._places) / self.process_count)
        batches = math.ceil(largest_share / self.batch_size)
        filled = np.full(batches * self.batch_size, -1, np.int32)
        filled[: len(mine)] = mine
        return filled.reshape(batches, self.batch_size)

    @functools.cached_property
    def _places(self) -> Int[np.ndarray, 'n']:
        """For each of `examples`, its number in `source`."""
        if not isinstance(self.source, Pools):
            return np.arange(len(self.source), dtype=np.int32)
        chosen, first, places = self.examples, 0, []
        for task, pool in self.source.pools.items():
            if isinstance(chosen, Pools) and task in chosen.pools:
                places.append(np.arange(first, first + len(pool), dtype=np.int32))
            first += len(pool)
        return np.concatenate(places)

    def _pools_order(self, examples: Pools, epoch: int) -> np.ndarray:
        each = self.batch_size // examples.total
        return examples.order([self.seed, epoch], each, self.steps_per_epoch, self.process_index, self.process_count)

    def _shuffle(self, examples: Any, epoch: int) -> Any:
        """Of a `grain.MapDataset` of all examples, what this process reads of an epoch, in order."""
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        # Equal shares: every process must take the same number of steps.
        mine = examples.shuffle(seed=seed)[self.process_index :: self.process_count]
        return mine[: self.steps_per_epoch * self.batch_size]

    def ordered(self) -> Batches:
        """Every example once, in order; the last batches are filled with examples that no mask counts."""
        source = self.examples
        examples = grain.MapDataset.source(source)[self.process_index :: self.process_count]
        blank = jax.tree.map(np.zeros_like, self.to_example(source[0]))
        with contextlib.closing(self._read(examples.map(self._to_send.to_example).batch(self.batch_size))) as found:
            for _ in self.numbers():
                yield self._padded(next(found, None), blank)

    def to_example(self, example: Example) -> Batch:
        """A prepared example as an unbatched `Batch`."""
        return to_example(example, self.tasks)

    @property
    def _to_send(self) -> 'Split':
        """The same split, fit to be sent to another process."""
        return dataclasses.replace(self, tasks=tuple(Label.of(task) for task in self.tasks))

    def _padded(self, batch: Batch | None, blank: Batch) -> Batch:
        if batch is not None and batch.image.shape[0] == self.batch_size:
            return batch
        have = 0 if batch is None else batch.image.shape[0]

        def fill(zero: np.ndarray, *filled: np.ndarray) -> np.ndarray:
            return np.concatenate([*filled, np.stack([zero] * (self.batch_size - have))])

        return jax.tree.map(fill, blank, *([] if batch is None else [batch]))

    def _read(self, batches: Any) -> Batches:
        return read(batches, self.read_threads, self.read_workers)


class Epochs:
    """The shuffled examples of a split's epochs `first`, ..., `end` - 1, one epoch after the other: a source."""

    def __init__(self, split: Split, first: int, end: int) -> None:
        self._split, self._first = split, first
        self._each = split.steps_per_epoch * split.train_batch_size
        self._length = (end - first) * self._each
        self._kept: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> Example:
        epoch, place = divmod(int(i), self._each)
        return self._shuffled(self._first + epoch)[place]

    def _shuffled(self, epoch: int) -> Any:
        examples = self._kept.get(epoch)
        if examples is None:
            # Several threads may compute this at once; they get the same result. Two epochs are kept, because both are
            # read where one ends.
            examples = self._split.shuffled(epoch)
            self._kept = {epoch: examples} | {e: kept for e, kept in self._kept.items() if abs(e - epoch) == 1}
        return examples
