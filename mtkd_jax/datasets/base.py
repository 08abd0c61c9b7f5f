"""What a data set is: a frozen bundle of all there is to know of it."""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtkd_jax.data.sources import Source
from mtkd_jax.datasets.flags import Flag
from mtkd_jax.errors import UserError

if TYPE_CHECKING:
    from mtkd_jax.tasks import Task

Progress = Callable[[str, int, int], None]
"""A callback: (split, examples done, examples in total)."""

GIVEN = ('ignore_label', 'depth_scale')
"""What a user says of preprocessed files (`Preparation`); entries of the metadata where it was given."""

# Entries of the metadata that identify prepared data of one name.
MADE = ('source', 'normals', 'resampling', 'depth', 'test_split', 'parts', 'targets', 'missing_buildings', *GIVEN)


def quiet(split: str, done: int, total: int) -> None:
    """Reports nothing."""


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        path: its folder; of a data set outside the package, its module's file.
        sources: random access to the examples of each split, from any number of threads, as NumPy arrays by name.
        metadata: how it was made, and per split what is in it (`metadata.json` in the folder).
    """

    path: Path
    sources: Mapping[str, Source]
    metadata: Mapping[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """Examples in each split."""
        return {split: len(source) for split, source in self.sources.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the segmentation classes, in the order of their ids."""
        return tuple(self.metadata['classes'])

    @property
    def class_count(self) -> int | dict[str, int]:
        """Classes of the segmentation; of a data set with a pool per task, of each task."""
        classes = self.metadata['classes']
        return {task: len(names) for task, names in classes.items()} if isinstance(classes, Mapping) else len(classes)

    @property
    def made(self) -> dict[str, Any]:
        """Identifies prepared data among those of the same name, as JSON."""
        made = {key: self.metadata[key] for key in MADE if key in self.metadata}
        excluded = self.metadata.get('excluded', {})
        if excluded:
            made['excluded'] = hashlib.sha256(json.dumps(excluded, sort_keys=True).encode()).hexdigest()[:12]
        return made | {'examples': self.counts}


@dataclass(frozen=True)
class Preparation:
    """How a data set is prepared.

    Attributes:
        source: where the user's files are; '' of rendered data.
        data_dir: where prepared data lie; None: tensorflow-datasets' own folder.
        progress: receives the progress.
        overwrite: whether what is prepared already is made again.
        ignore_label: the label of preprocessed files that is read as void; None: -1 only.
        depth_scale: what one unit of preprocessed depth is in the stored unit; None: 1.
    """

    source: str = ''
    data_dir: str | None = None
    progress: Progress = quiet
    overwrite: bool = False
    ignore_label: int | None = None
    depth_scale: float | None = None


@dataclass(frozen=True)
class DataSet:
    """A data set.

    `data` below is a config's or a model folder's `data`, a plain mapping; `data_dir` is where prepared data lie, None
    for tensorflow-datasets' own folder ($TFDS_DATA_DIR or ~/tensorflow_datasets).

    Attributes:
        name: what `data.dataset` says; of one outside the package, its module.
        defaults: the fields of `config.data` that are its own, in order, with their defaults.
        task_names: the tasks it offers, in the order of its papers.
        tasks: data → all its tasks by name. Of `data`, only `dataset`, `height`, `width` and `classes` must be there.
        check: raises a `UserError` for values of `data` that do not fit.
        open: (data, data_dir) → what is prepared; raises `DataNotPrepared`, which says how to make it.
        ready: (data, data_dir, progress) → as `open`, but what can be rendered is rendered first.
        prepare: (data, how) → prepared from the user's files, or rendered; `data` holds only the requested fields,
            without defaults. None if there is nothing to prepare.
        flags: its own flags of `python -m mtkd_jax.prepare`, besides those that all data sets have.
        own_validation: whether it may have a validation split of its own.
        per_image: whether its tasks have one answer per image.
        free: its own fields of `data` that do not change what is learned.
        training: how many images its papers train on, of each task where it has a pool per task; 0: not fixed.
        about: what its images are, and what follows for a network that learnt from them, in sentences for model cards.
    """

    name: str
    defaults: Mapping[str, Any]
    task_names: tuple[str, ...]
    tasks: Callable[[Mapping[str, Any]], dict[str, 'Task']]
    check: Callable[[Mapping[str, Any]], None]
    open: Callable[[Mapping[str, Any], str | None], Prepared]
    ready: Callable[[Mapping[str, Any], str | None, Progress], Prepared]
    prepare: Callable[[Mapping[str, Any], Preparation], Prepared] | None = None
    flags: tuple[Flag, ...] = ()
    own_validation: bool = False
    per_image: bool = False
    free: tuple[str, ...] = ()
    training: Mapping[str, int] | int = 0
    about: str = ''


def from_files(package: str) -> dict[str, Any]:
    """`tasks`, `open`, `ready` and `prepare` of a data set that is made from the user's files.

    They are in the modules `tasks` and `builder` of `package`. These are not imported before they are needed: tasks
    import jax, builders tensorflow-datasets.
    """

    def builder() -> Any:
        return importlib.import_module(f'{package}.builder')

    return {
        'tasks': lambda data: {task.name: task for task in importlib.import_module(f'{package}.tasks').tasks(data)},
        'open': lambda data, data_dir: builder().opened(data, data_dir),
        'ready': lambda data, data_dir, progress: builder().opened(data, data_dir),
        'prepare': lambda data, how: builder().prepared(data, how),
    }


def rendered(package: str) -> dict[str, Any]:
    """The same of a data set that is rendered: it makes itself ready."""
    made = from_files(package)
    return {
        **made,
        'ready': lambda data, data_dir, progress: made['prepare'](data, Preparation('', data_dir, progress)),
    }


def known(names: Sequence[str], classes: int) -> tuple[str, ...]:
    """`names` of classes; () where there are not as many `classes`."""
    return tuple(names) if len(names) == classes else ()


def given_size(data: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width in pixels that `data` asks for; None where it does not say."""
    return (data['height'], data['width']) if 'height' in data else None


def check_ranges(name: str, data: Mapping[str, Any], limits: Mapping[str, tuple[int, int]]) -> None:
    """Raises a `UserError` that names a field of `data` beyond its `limits` (least, most)."""
    for field, (least, most) in limits.items():
        if field in data and not least <= data[field] <= most:
            raise UserError(f'`{field}` of {name} is {data[field]}; give a number from {least} to {most}.')
