"""From a prepared example to what a network reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mtkd_jax.data.sources import Example, Pools, Source
from mtkd_jax.tasks import Task
from mtkd_jax.types import Batch, Target


@dataclass(frozen=True)
class Label:
    """The part of a task that reading needs. A whole `Task` holds functions, which cannot be pickled for a worker."""

    name: str
    value_dtype: Any
    validity: Callable[[Any], Any]

    @classmethod
    def of(cls, task: 'Task | Label') -> 'Label':
        """The label of `task`."""
        return cls(task.name, task.value_dtype, task.validity)


def to_example(example: Example, tasks: Sequence[Task | Label]) -> Batch:
    """A prepared example as an unbatched `Batch`: image float32 in [0, 1], a value and a mask per task."""
    image: Any = example['image']
    if image.dtype == np.uint8:
        image = image.astype(np.float32) / 255
    targets = {}
    for task in tasks:
        value: Any = example[task.name].astype(task.value_dtype, copy=False)
        targets[task.name] = Target(value, task.validity(value))
    return Batch(image.astype(np.float32, copy=False), targets)


@dataclass(frozen=True)
class Stored:
    """`stored` of `names`, fit to be sent to another process."""

    names: Sequence[str]

    def __call__(self, example: Example) -> Example:
        return stored(example, self.names)


def stored(example: Example, names: Sequence[str]) -> Example:
    """Image and targets of an example in the types they are stored in."""
    return {name: np.asarray(example[name]) for name in ('image', *names)}


def to_batch(examples: Mapping[str, Array], tasks: Sequence[Label]) -> Batch:
    """`to_example` of many examples [b h w k] at once, on the device: the same to the last bit."""
    image = examples['image']
    if image.dtype == np.uint8:
        # Looked up, because XLA divides by multiplying.
        image = jnp.asarray(np.arange(256, dtype=np.float32) / 255)[image.astype(np.int32)]
    targets = {}
    for task in tasks:
        value = examples[task.name].astype(task.value_dtype)
        targets[task.name] = Target(value, task.validity(value))
    return Batch(image.astype(jnp.float32), targets)


def first_examples(source: Source, tasks: Sequence[Task], count: int) -> Batch:
    """The first `count` examples of a source as one batch; of `Pools`, some of each that has one of the tasks."""
    source = with_labels(source, tasks)
    numbers = source.spread(count) if isinstance(source, Pools) else range(count)
    return jax.tree.map(lambda *x: np.stack(x), *[to_example(source[i], tasks) for i in numbers])


def with_labels(source: Source, tasks: Sequence[Task | Label]) -> Source:
    """What to read for `tasks`: of `Pools`, those in which an image carries a label of one of them."""
    return source.of(task.name for task in tasks) if isinstance(source, Pools) else source
