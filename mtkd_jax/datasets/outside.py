"""The user's own data sets: a Python module instead of the name of a data set of the package.

`data.dataset='my_data'` imports `my_data`, which has

- `TASKS`: task name → `Task`; those of `mtkd_jax.tasks`, or new ones;
- `sources(data)`: the config's `data` → split → random access to its examples: `train`, `test` and, where there is one,
  `validation`. An example is a mapping of arrays: `image` [h w 3], uint8 or floats in [0, 1], and one [h w c] per task.
  Every example is checked when it is read, by its tasks' `check`.
  (`evaluate` calls it without `read_threads`, `read_workers` and `depth_maximum`; `data_dir` is its own flag.)
- optionally `DATA`: the fields of `config.data` that are its own, with their defaults; `sources` gets them all.

The first paragraph of its docstring, if it has one, says in model cards what its images are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax import names
from mtkd_jax.data import images
from mtkd_jax.data.sources import Example, Pools, Source
from mtkd_jax.datasets.base import DataSet, Prepared
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.errors import UserError
from mtkd_jax.tasks import Task
from mtkd_jax.tasks.gate import Check, admit

NEEDED = ('TASKS', 'sources')
Sources = Callable[[Mapping[str, Any]], Mapping[str, Source]]


@dataclass(frozen=True)
class Checked:
    """A user's examples, each checked whenever it is read: images, and what every task demands of its targets.

    That costs about a millisecond for an image of 288×384 with three tasks.

    Attributes:
        source: the examples.
        place: where they are, in messages.
        checks: what is wrong with each array, by name.
        shapes: of each array, by name; those of the first example.
    """

    source: Source
    place: str
    checks: Mapping[str, Check]
    shapes: Mapping[str, tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Example:
        """Example `i`.

        Raises:
            DataError: an array in it is not what it should be.
        """
        example = self.source[i]
        for key, check in self.checks.items():
            shape = np.shape(example[key]) if key in example else 'missing'
            if shape != self.shapes[key]:
                raise DataError(
                    f'{key!r} of example {i} of {self.place} is {shape}, of the first example {self.shapes[key]}; give '
                    'all examples one shape.'
                )
            admit(f'{key!r} of example {i} of {self.place}', np.asarray(example[key]), check, DataError)
        return example


def data_set(name: str, here: tuple[str, ...]) -> DataSet:
    """The user's module `name`, given for `data.dataset` instead of one that is `here`.

    Raises:
        UserError: there is no such module, or it lacks what it must have.
    """
    module = names.module('data.dataset', name, NEEDED, here)
    tasks, defaults = _tasks(name, module.TASKS), _defaults(name, getattr(module, 'DATA', {}))

    def opened(data: Mapping[str, Any], data_dir: str | None) -> Prepared:
        given = {**defaults, **data, 'data_dir': data_dir or ''}
        sources = _checked(name, module.sources(given), tasks, (given['height'], given['width']))
        return Prepared(Path(str(module.__file__)), sources, {'source': f'{name} ({names.digest(module)})'})

    return DataSet(
        name=name,
        defaults=defaults,
        task_names=tuple(tasks),
        tasks=lambda data: dict(tasks),
        check=lambda data: None,
        open=opened,
        ready=lambda data, data_dir, progress: opened(data, data_dir),
        own_validation=True,
        about=' '.join((module.__doc__ or '').partition('\n\n')[0].split()),
        per_image=any(task.words is not None for task in tasks.values()),
    )


def _tasks(name: str, found: Any) -> Mapping[str, Task]:
    if not isinstance(found, Mapping):
        raise UserError(f'`TASKS` of {name} is {found!r}; give a mapping of names to Tasks.')
    for key, task in found.items():
        if not isinstance(task, Task) or task.name != key:
            raise UserError(f'`TASKS` of {name} has {key!r}: {task!r}; give a Task of that name.')
    return found


def _defaults(name: str, found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise UserError(f'`DATA` of {name} is {found!r}; give a mapping of fields of `config.data` to their defaults.')
    return found


def _checked(
    name: str, sources: Mapping[str, Source], tasks: Mapping[str, Task], size: tuple[int, int]
) -> Mapping[str, Source]:
    """`sources`, if the first example of every split fits the config."""
    for split in ('train', 'test'):
        if split not in sources:
            raise UserError(f'`sources` of {name} gives {", ".join(sources)}; give {split}, too.')
    for split, source in sources.items():
        example, place = source[0], f'of an example of {split} of {name}'
        for key in ('image', *tasks):
            per_image = key in tasks and tasks[key].words is not None
            _check_shape(key, example, place, (1, 1) if per_image else size)
        image = np.asarray(example['image'])
        if image.shape[-1] != 3 or (image.dtype != np.uint8 and not (image.min() >= 0 and image.max() <= 1)):
            raise UserError(
                f"'image' {place} is {image.dtype} {image.shape} from {image.min():g} to {image.max():g}; give three "
                'channels, uint8 or floats in [0, 1].'
            )
    checks = {'image': images.fault, **{key: task.check for key, task in tasks.items()}}
    return {split: _with_checks(source, f'{split} of {name}', checks) for split, source in sources.items()}


def _with_checks(source: Source, place: str, checks: Mapping[str, Check]) -> Source:
    shapes = {key: np.shape(source[0][key]) for key in checks}
    if isinstance(source, Pools):
        pools = {task: Checked(pool, f'{task}, {place}', checks, shapes) for task, pool in source.pools.items()}
        return Pools(pools, source.total, source.longest)
    return Checked(source, place, checks, shapes)


def _check_shape(key: str, example: Mapping[str, Any], place: str, size: tuple[int, int]) -> None:
    shape = example[key].shape if key in example else None
    if shape is None or shape[:2] != size or len(shape) != 3:
        has = f'is {shape}' if shape else f'is missing; there are {", ".join(example)}'
        raise UserError(f'{key!r} {place} {has}; give {size[0]}×{size[1]}×channels.')
