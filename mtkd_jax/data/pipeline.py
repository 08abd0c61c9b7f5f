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
    """A split read in batches of `batch_size`.

    Of `Pools`, a training batch holds `batch_size` / total images of each pool that has one of the tasks. Of several
    processes that train together, each reads equally many neighbouring rows of every batch, in the order of
    `process_index`; `process_count` divides the batches. `read_threads` threads read ahead, shared among `read_workers`
    processes unless that is 0. The batches are the same in all these cases.
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
        """Images that a training batch holds."""
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
                    f'`batch_size` {self.batch_size} does not divide into equal shares of {", ".join(source.pools)}; '
                    f'choose a multiple of {source.total}.'
                )
        steps = (source.longest if isinstance(source, Pools) else len(source)) // each
        if steps == 0:
            raise UserError(
                f'`batch_size` {self.batch_size} is larger than the split, which has {len(source)} examples; choose a '
                'smaller batch size.'
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
        return self._read(examples.batch(self.share(self.train_batch_size)[1], drop_remainder=True)[start:])

    @property
    def whole(self) -> 'Split':
        """The same split, read by this process alone."""
        return dataclasses.replace(self, process_index=0, process_count=1)

    def share(self, size: int) -> tuple[int, int]:
        """Of the rows of a batch of `size`, the first that this process reads, and how many."""
        each = size // self.process_count
        return self.process_index * each, each

    def shuffled(self, epoch: int) -> Any:
        """The examples of all batches of an epoch, in order."""
        examples = self.examples
        if isinstance(examples, Pools):
            return Subset(examples, self._pools_order(examples, epoch))
        return self._shuffle(grain.MapDataset.source(examples), epoch)

    def order(self, epoch: int) -> Int[np.ndarray, 'steps b']:
        """Numbers, in `source`, of the examples of all batches of an epoch: those of `shuffled`."""
        examples, steps = self.examples, self.steps_per_epoch
        if isinstance(examples, Pools):
            numbers = self._pools_order(examples, epoch)
        else:
            shuffled = self._shuffle(grain.MapDataset.range(len(examples)), epoch)
            numbers = np.fromiter((shuffled[i] for i in range(steps * self.batch_size)), np.int32)
        return self._places[numbers].reshape(steps, self.train_batch_size)

    def numbers(self) -> Int[np.ndarray, 'batches b']:
        """Numbers, in `source`, of the examples of the batches of `ordered`; -1 for one that fills up."""
        batches = math.ceil(len(self._places) / self.batch_size)
        filled = np.full(batches * self.batch_size, -1, np.int32)
        filled[: len(self._places)] = self._places
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
        return examples.order([self.seed, epoch], each, self.steps_per_epoch)

    def _shuffle(self, examples: Any, epoch: int) -> Any:
        """Of a `grain.MapDataset` of all examples, those that are read of an epoch, in order."""
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        return examples.shuffle(seed=seed)[: self.steps_per_epoch * self.batch_size]

    def ordered(self) -> Batches:
        """Every example once, in order; the last batch is filled with examples that no mask counts."""
        source, (first, each) = self.examples, self.share(self.batch_size)
        rows = np.arange(self.numbers().size).reshape(-1, self.batch_size)[:, first : first + each]
        examples = grain.MapDataset.source(Subset(source, rows[rows < len(source)]))
        blank = jax.tree.map(np.zeros_like, self.to_example(source[0]))
        with contextlib.closing(self._read(examples.map(self._to_send.to_example).batch(each))) as found:
            for _ in rows:
                yield _padded(next(found, None), blank, each)

    def to_example(self, example: Example) -> Batch:
        """A prepared example as an unbatched `Batch`."""
        return to_example(example, self.tasks)

    @property
    def _to_send(self) -> 'Split':
        """The same split, fit to be sent to another process."""
        return dataclasses.replace(self, tasks=tuple(Label.of(task) for task in self.tasks))

    def _read(self, batches: Any) -> Batches:
        return read(batches, self.read_threads, self.read_workers)


def _padded(batch: Batch | None, blank: Batch, size: int) -> Batch:
    """`batch`, filled up to `size` examples with `blank`."""
    have = 0 if batch is None else batch.image.shape[0]
    if batch is not None and have == size:
        return batch

    def fill(zero: np.ndarray, *filled: np.ndarray) -> np.ndarray:
        return np.concatenate([*filled, np.stack([zero] * (size - have))])

    return jax.tree.map(fill, blank, *([] if batch is None else [batch]))


class Epochs:
    """The shuffled examples that this process reads of a split's epochs `first`, ..., `end` - 1: a source."""

    def __init__(self, split: Split, first: int, end: int) -> None:
        self._split, self._first = split, first
        self._row, self._share = split.share(split.train_batch_size)
        self._each = split.steps_per_epoch * self._share
        self._length = (end - first) * self._each
        self._kept: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> Example:
        epoch, place = divmod(int(i), self._each)
        batch, row = divmod(place, self._share)
        return self._shuffled(self._first + epoch)[batch * self._split.train_batch_size + self._row + row]

    def _shuffled(self, epoch: int) -> Any:
        examples = self._kept.get(epoch)
        if examples is None:
            # Several threads may compute this at once; they get the same result. Two epochs are kept, because both are
            # read where one ends.
            examples = self._split.shuffled(epoch)
            self._kept = {epoch: examples} | {e: kept for e, kept in self._kept.items() if abs(e - epoch) == 1}
        return examples
