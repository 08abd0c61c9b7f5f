"""Data sets of the user's own: a Python module instead of the name of one that is here.

`data.dataset='my_data'` imports `my_data`, which has

- `TASKS`: task name → `Task`; those of `mtkd_jax.tasks`, or new ones;
- `sources(data)`: the config's `data` → split → random access to its examples: `train`, `test` and, where there is one,
  `validation`. An example is a mapping of arrays: `image` [h w 3], uint8 or floats in [0, 1], and one [h w c] per task.
  (`evaluate` calls it without `read_threads`, `read_workers` and `depth_maximum`; `data_dir` is its own flag.)
"""

import functools
import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.data import builders
from mtkd_jax.data.sources import Source
from mtkd_jax.tasks import Task
from mtkd_jax.types import UserError

NEEDED = ('TASKS', 'sources')


def is_custom(dataset: str) -> bool:
    """Whether `dataset` is a module of the user's."""
    return dataset not in builders.DATASETS


def tasks_of(dataset: str) -> Mapping[str, Task]:
    """The tasks of the user's module.

    Raises:
        UserError: there is no such module, or it lacks what it must have.
    """
    found = _module(dataset).TASKS
    for name, task in found.items():
        if not isinstance(task, Task) or task.name != name:
            raise UserError(f'`TASKS` of {dataset} has {name!r}: {task!r}; give a Task of that name.')
    return found


def prepared(dataset: str, data: Mapping[str, Any]) -> builders.Prepared:
    """The splits of the user's module for a config's (or a model folder's) `data`.

    Raises:
        UserError: see `tasks_of`; or a split is missing, or its first example is not what the config says.
    """
    module, known = _module(dataset), tasks_of(dataset)
    sources: Mapping[str, Source] = module.sources(data)
    for split in ('train', 'test'):
        if split not in sources:
            raise UserError(f'`sources` of {dataset} gives {", ".join(sources)}; give {split}, too.')
    size = data['height'], data['width']
    for split, source in sources.items():
        example = source[0]
        for name in ('image', *known):
            shape = example[name].shape if name in example else None
            per_image = name in known and known[name].words is not None
            if shape is None or shape[:2] != ((1, 1) if per_image else size) or len(shape) != 3:
                has = f'is {shape}' if shape else f'is missing; there are {", ".join(example)}'
                raise UserError(
                    f'{name!r} of an example of {split} of {dataset} {has}; give {size[0]}×{size[1]}×channels.'
                )
        image = np.asarray(example['image'])
        if image.shape[-1] != 3 or (image.dtype != np.uint8 and not (image.min() >= 0 and image.max() <= 1)):
            raise UserError(
                f"'image' of an example of {split} of {dataset} is {image.dtype} {image.shape} from {image.min():g} to "
                f'{image.max():g}; give three channels, uint8 or floats in [0, 1].'
            )
    file = Path(str(module.__file__))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return builders.Prepared(file, sources, {'source': f'{dataset} ({digest})'})


@functools.cache
def _module(dataset: str) -> Any:
    if not dataset or dataset.startswith('.'):
        raise UserError(f'`data.dataset` is {dataset!r}; give one of {", ".join(builders.DATASETS)}, or a module.')
    try:
        module = importlib.import_module(dataset)
    except ModuleNotFoundError as error:
        if error.name != dataset.partition('.')[0] and error.name != dataset:
            raise  # one that the user's module imports
        have = ', '.join(builders.DATASETS)
        raise UserError(
            f'`data.dataset` is {dataset!r}, which is none of {have}, nor a Python module that can be imported from '
            f'here ({Path.cwd()}).'
        ) from error
    lacking = [name for name in NEEDED if not hasattr(module, name)]
    if lacking:
        raise UserError(
            f'{module.__file__}, given as `data.dataset`, has no {lacking[0]!r}; it needs {", ".join(NEEDED)}.'
        )
    return module
