"""Weights of classes in the cross-entropy, from how often each is seen in the training set."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mtkd_jax.data.pipeline import Split
from mtkd_jax.tasks import Task
from mtkd_jax.types import UserError

OFF = 'none'


class Seen(NamedTuple):
    """What a training set has of every class: `pixels` of it, and `among`: all pixels of images that have it."""

    pixels: Int[np.ndarray, 'classes']
    among: Int[np.ndarray, 'classes']


def median_frequency(seen: Seen) -> Float[np.ndarray, 'classes']:
    """median_c f_c / f_c, f_c: the share of a class in the pixels of images that have it (Eigen & Fergus 2015, 6.3.2).

    1 for a class that is never seen; the median is of those that are.
    """
    there = seen.pixels > 0
    if not there.any():
        return np.ones(len(there))
    share = seen.pixels[there] / seen.among[there]
    weights = np.ones(len(there))
    weights[there] = np.median(share) / share
    return weights


def inverse_log(seen: Seen) -> Float[np.ndarray, 'classes']:
    """1 / ln(1.02 + p_c), p_c: the share of a class in all pixels; 1.4 to 50.5 (Paszke et al. 2016, ENet, 5.1)."""
    return 1 / np.log(1.02 + seen.pixels / max(seen.pixels.sum(), 1))


RULES: Mapping[str, Callable[[Seen], np.ndarray]] = {
    'median_frequency': median_frequency,
    'inverse_log': inverse_log,
}
CHOICES = (OFF, *RULES)


def count(tasks: Sequence[Task], train: Split) -> dict[str, Seen]:
    """What the training set has of the classes of those `tasks` that have some, by task; reads all of it once."""
    found = {
        t.name: Seen(np.zeros(t.channels, np.int64), np.zeros(t.channels, np.int64)) for t in tasks if t.class_weighted
    }
    for batch in train.whole.ordered():
        for task in (task for task in tasks if task.name in found):
            for value, mask in zip(*batch.targets[task.name], strict=True):
                pixels = np.bincount(value[mask].astype(int), minlength=task.channels)
                found[task.name].pixels[:] += pixels
                found[task.name].among[:] += np.where(pixels > 0, pixels.sum(), 0)
    return found


def weighted(tasks: Sequence[Task], rule: str, train: Split) -> tuple[Task, ...]:
    """The same tasks; in the loss of those that have classes each class counts as `rule` says.

    Raises:
        UserError: none of them has classes.
    """
    if rule == OFF:
        return tuple(tasks)
    check(tasks, rule)
    seen = count(tasks, train)

    def of(task: Task) -> Task:
        if task.class_weighted is None:
            return task
        loss = task.class_weighted(RULES[rule](seen[task.name]).astype(np.float32))
        return dataclasses.replace(task, loss=loss)

    return tuple(of(task) for task in tasks)


def check(tasks: Sequence[Task], rule: str) -> None:
    """Raises a UserError where `rule` would do nothing."""
    if rule != OFF and not any(task.class_weighted for task in tasks):
        names = ', '.join(task.name for task in tasks)
        raise UserError(f'`class_weights` is {rule!r}, but none of the tasks ({names}) has classes; set it to {OFF!r}.')
