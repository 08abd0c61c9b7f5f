"""Augmentations by name: other views of the same scenes, drawn and made on the device, inside the train step.

A preset is a pure function of a key and a batch. Each task moves its own targets (`Task.move`). The draws depend only
on the seed and the number of the step: a run that restarts sees the same views, and so do a teacher and its student.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mtkd_jax.tasks import Task
from mtkd_jax.types import Batch
from mtkd_jax.views import View

Preset = Callable[[Array, Batch, Sequence[Task]], Batch]
Augment = Callable[[Array, Batch], Batch]
"""(updates made so far, batch) → what the step learns from."""

SCALES = (1.0, 1.2, 1.5)  # `RandomScaleCrop` in code that follows MTAN's (lorenmt/mtan, issue 34)


def none(key: Array, batch: Batch, tasks: Sequence[Task]) -> Batch:
    """The batch as it is stored, as in the papers (papers.md A4)."""
    return batch


def scale_crop_flip(key: Array, batch: Batch, tasks: Sequence[Task]) -> Batch:
    """For every image a scale of `SCALES`, a window of that size anywhere in it, and a flip with probability 1/2."""
    return seen(batch, tasks, random_view(key, batch.image.shape))


PRESETS: Mapping[str, Preset] = {'none': none, 'scale_crop_flip': scale_crop_flip}


def augmentation(name: str, tasks: Sequence[Task], seed: int) -> Augment:
    """The preset `name` for batches with targets of `tasks`, drawing anew at every step.

    `seed`: that of the data, so that a single-task network and a multi-task network see the same views of one batch.
    """

    def augment(step: Array, batch: Batch) -> Batch:
        # A number of its own: weightings that draw use the seed itself.
        key = jax.random.key(zlib.crc32(f'{seed}/augment'.encode()))
        return PRESETS[name](jax.random.fold_in(key, step), batch, tasks)

    return augment


NONE = augmentation('none', (), 0)


def random_view(key: Array, shape: tuple[int, ...]) -> View:
    """A view for each of the images [b h w c], independent of the others."""
    which, where, side = jax.random.split(key, 3)
    count, height, width, _ = shape
    scale = jax.random.choice(which, jnp.asarray(SCALES), (count,))
    room = (1 - 1 / scale)[:, None] * jnp.asarray([[height, width]], jnp.float32)
    return View(scale, room * jax.random.uniform(where, (count, 2)), jax.random.bernoulli(side, shape=(count,)))


def seen(batch: Batch, tasks: Sequence[Task], view: View) -> Batch:
    """Image and targets of `batch` in `view`.

    Raises:
        ValueError: one of the tasks cannot follow a view.
    """
    targets = {}
    for task in tasks:
        if task.move is None:
            raise ValueError(f'{task.name} has no `move`: a part of an image may have another answer than the whole.')
        targets[task.name] = task.move(batch.targets[task.name], view)
    return Batch(view.bilinear(batch.image), targets)
