"""Metrics of predictions from any framework."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtkd_jax import datasets
from mtkd_jax.errors import UserError
from mtkd_jax.files import read_npz, wide
from mtkd_jax.names import choice
from mtkd_jax.tasks import Task
from mtkd_jax.tasks.gate import admit, numbers
from mtkd_jax.training.evaluate import score_arrays
from mtkd_jax.types import MAIN

BESIDE = ('image', 'names')  # what lies beside predictions and targets in a file


def score(predictions: Path, targets: Path, classes: int) -> dict[str, float]:
    """Metrics of predictions from any framework.

    Segmentation may be logits, scores or class ids. Arrays of one channel may leave it out ([n h w]). Of tasks with one
    answer per image (svhn, omniglot, digits, characters), arrays are class ids [n] or scores [n classes].

    Raises:
        UserError: a file cannot be read, or an array is missing, unknown or of another shape than its target.
    """
    predicted, true = _read(predictions), _read(targets)
    results: dict[str, float] = {}
    for name, array in predicted.items():
        branch, _, task_name = name.rpartition('/')
        if task_name not in true:
            raise UserError(f'{targets} has no `{task_name}` for {predictions}: `{name}`; it has {", ".join(true)}.')
        channels = array.shape[-1]
        task = _task(task_name, classes)
        if _has_classes(task) and channels > 1:
            task = _task(task_name, channels)
        target = true[task_name]
        allowed = (1, task.channels) if _has_classes(task) else (task.channels,)
        if array.shape[:3] != target.shape[:3] or channels not in allowed:
            raise UserError(f'`{name}` is {array.shape}, its target {target.shape}; both must be [n h w c].')
        _check_target(task, target, targets)
        scores = score_arrays(task, array, target)
        named = {f'{branch}/{k}' if branch not in ('', MAIN) else k: v for k, v in scores.items()}
        if named.keys() & results.keys():
            raise UserError(f'{predictions} has `{task_name}` twice, with and without `{MAIN}/`; leave one out.')
        results.update(named)
    return results


def _task(name: str, classes: int) -> Task:
    """The task of that name, of the first data set that has it."""
    offered = {task: found for found in map(datasets.named, reversed(datasets.NAMES)) for task in found.task_names}
    known = offered[choice('predictions', name, tuple(offered))]
    default = known.defaults['classes']
    counted = {**default, name: classes} if isinstance(default, Mapping) else classes
    return known.tasks({**known.defaults, 'dataset': known.name, 'classes': counted})[name]


def _has_classes(task: Task) -> bool:
    """Whether targets are class ids, of pixels or of whole images."""
    return bool(np.issubdtype(task.value_dtype, np.integer))


def _check_target(task: Task, target: np.ndarray, file: Path) -> None:
    channels = 1 if _has_classes(task) else task.channels
    if target.shape[-1] != channels:
        raise UserError(f'{file}: `{task.name}` is {target.shape}; its last axis must be {channels}.')
    admit(f'{file}: `{task.name}`', target, task.check)


def _as_pictures(array: np.ndarray) -> np.ndarray:
    """[n h w] as [n h w 1]; of one answer per image, [n] and [n classes] as pictures of 1×1 pixels."""
    if array.ndim in (1, 2) and array.size:
        return array.reshape(len(array), 1, 1, -1)
    return array[..., None] if array.ndim == 3 else array


def _read(file: Path) -> dict[str, np.ndarray]:
    found = {name: array for name, array in read_npz(file).items() if name not in BESIDE}
    if not found:
        raise UserError(f'{file} holds no arrays; name them by task: segmentation, depth, normals.')
    found = {name: _as_pictures(wide(array)) for name, array in found.items()}
    for name, array in found.items():
        if array.ndim != 4 or not array.size:
            raise UserError(f'{file}: `{name}` has shape {array.shape}; give [n h w c], at least one image.')
        admit(f'{file}: `{name}`', array, numbers)
    return found
