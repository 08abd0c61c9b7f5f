"""Evaluates a model folder or a workdir on a prepared split, or predictions from any framework; prints JSON.

    python -m mtkd_jax.evaluate --model=DIR [--split=test] [--data_dir=DIR]
    python -m mtkd_jax.evaluate --workdir=DIR
    python -m mtkd_jax.evaluate --predictions=FILE.npz --targets=FILE.npz

Names and units are those of the metrics (docs/metrics.md): accuracies and IoU in %, depth in metres, angles in degrees.
"""

import json
import math
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from mtkd_jax import command, datasets, records
from mtkd_jax.experiment.evaluation import evaluate
from mtkd_jax.files import read_npz, wide
from mtkd_jax.names import choice
from mtkd_jax.tasks import Task
from mtkd_jax.tasks.gate import admit, numbers
from mtkd_jax.training.evaluate import score_arrays
from mtkd_jax.types import MAIN, UserError

MODEL = flags.DEFINE_string('model', None, 'A model folder.', allow_override=True)
WORKDIR = flags.DEFINE_string('workdir', None, 'A workdir: every model in it is evaluated.', allow_override=True)
DATA_DIR = flags.DEFINE_string(
    'data_dir',
    None,
    'Where prepared data lie; default $TFDS_DATA_DIR or ~/tensorflow_datasets.',
    allow_override=True,
)
SPLIT = flags.DEFINE_string('split', 'test', 'The split to evaluate on.', allow_override=True)
BATCH_SIZE = flags.DEFINE_integer(
    'batch_size', 8, 'Images at a time; the results do not depend on it.', lower_bound=1, allow_override=True
)
PREDICTIONS = flags.DEFINE_string(
    'predictions', None, '.npz with arrays [n h w c] named by task, or branch/task.', allow_override=True
)
TARGETS = flags.DEFINE_string(
    'targets', None, '.npz with arrays named by task: label -1, depth 0, normal 0 undefined.', allow_override=True
)
CLASSES = flags.DEFINE_integer(
    'classes', 13, 'Classes of predictions that are class ids.', lower_bound=2, allow_override=True
)

ALLOW_MODULES = flags.DEFINE_bool(
    'allow_modules',
    False,
    "Import a Python module that a model folder names (somebody's own backbone or data set), which runs its code.",
    allow_override=True,
)


BESIDE = ('image', 'names')  # what lies beside predictions and targets in a file


class _Callable(types.ModuleType):
    """This module as a function: `mtkd_jax.evaluate` is the library's `evaluate`, also where this was imported."""

    def __call__(self, *arguments: Any, **options: Any) -> dict[str, float]:
        return evaluate(*arguments, **options)


sys.modules[__name__].__class__ = _Callable


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


def to_json(results: Any) -> str:
    """JSON, with null for a metric that is no number: nothing was defined, or a network predicts NaN or infinity."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(clean(results), indent=1)


def _evaluate(folder: Path) -> dict[str, float]:
    return evaluate(folder, SPLIT.value, DATA_DIR.value, BATCH_SIZE.value, allow_modules=ALLOW_MODULES.value)


def main() -> None:
    """Chooses what to evaluate from the flags."""
    chosen = [flag.name for flag in (MODEL, WORKDIR, PREDICTIONS) if flag.value]
    if len(chosen) != 1 or bool(PREDICTIONS.value) != bool(TARGETS.value):
        raise UserError('Give one of --model=DIR, --workdir=DIR, or --predictions=FILE with --targets=FILE.')
    if PREDICTIONS.value:
        results: Any = score(Path(PREDICTIONS.value), Path(command.value(TARGETS)), CLASSES.value)
    elif MODEL.value:
        results = _evaluate(Path(MODEL.value))
    else:
        folders = records.stage_folders(Path(command.value(WORKDIR)), f'{records.MODEL}/model.json')
        if not folders:
            raise UserError(f'{WORKDIR.value} has no finished stage; train first, or give --model=DIR.')
        results = {folder.name: _evaluate(folder / records.MODEL) for folder in folders}
    print(to_json(results))


if __name__ == '__main__':
    command.start(main)
