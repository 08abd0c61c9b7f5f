"""Reading prepared data again, to check that they agree with their metadata."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mtkd_jax.data.sources import Example, Pools
from mtkd_jax.datasets.base import Prepared, Progress, quiet
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.reader import check_frame
from mtkd_jax.datasets.storage.parallel import cores
from mtkd_jax.datasets.storage.summary import Summary

TOLERANCE = 1e-6  # of means, whose sums are taken in another order


def verify(data: Prepared, progress: Progress = quiet) -> None:
    """Reads every example of every split.

    Raises:
        DataError: an example cannot be read, has values out of range, or counts, ranges or shares differ from those
            that were recorded when the data were prepared; names split and example.
    """
    for split, source in data.sources.items():
        recorded = data.metadata['splits'][split]
        if len(source) != recorded['examples']:
            raise DataError(f'{data.path}: {split} holds {len(source)} examples, recorded are {recorded["examples"]}.')
        found = _labelled(data, split, progress) if isinstance(source, Pools) else _dense(data, split, progress)
        difference = _difference(found, recorded)
        if difference:
            raise DataError(
                f'{data.path}: {split} differs from what was recorded when it was prepared: {difference}. Prepare it '
                'again with --overwrite.'
            )


def _dense(data: Prepared, split: str, progress: Progress) -> Mapping[str, Any]:
    total = Summary()
    for i, example in enumerate(_examples(data, split, progress)):
        image = example['image']
        arrays = {**example, 'image': image / np.float32(255) if image.dtype == np.uint8 else image}
        arrays.pop('index')
        names = {key: f'{data.path}: {split}, example {i}, {key}' for key in arrays}
        check_frame(arrays, names, (image.shape[0], image.shape[1]), len(data.classes))
        total.add(Summary.of(example, len(data.classes)))
    return total.as_dict()


def _labelled(data: Prepared, split: str, progress: Progress) -> Mapping[str, Any]:
    classes: Any = data.class_count
    counts = {task: np.zeros(number, np.int64) for task, number in classes.items()}
    brightness = 0.0
    for i, example in enumerate(_examples(data, split, progress)):
        labels = {task: int(example[task].item()) for task in counts}
        given = {task: label for task, label in labels.items() if label != -1}
        if len(given) != 1 or any(not 0 <= label < classes[task] for task, label in given.items()):
            raise DataError(f'{data.path}: {split}, example {i} has the labels {labels}; one task has one in range.')
        for task, label in given.items():
            counts[task][label] += 1
        brightness += float(example['image'].mean()) / 255
    return {
        'examples': len(data.sources[split]),
        'mean_brightness': brightness / max(len(data.sources[split]), 1),
        'images_per_class': {task: [int(n.min()), int(n.max())] for task, n in counts.items()},
    }


def _examples(data: Prepared, split: str, progress: Progress) -> Iterator[Example]:
    """All examples in order, read by several threads that are never far ahead."""
    source, threads = data.sources[split], cores()
    total = len(source)
    progress(split, 0, total)
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, total, 8 * threads):
            numbers = range(first, min(first + 8 * threads, total))
            read = pool.map(source.__getitem__, numbers)
            for i, example in zip(numbers, read, strict=True):
                yield example
                progress(split, i + 1, total)


def _difference(found: Any, recorded: Any, where: str = '') -> str:
    """The first place in which two trees of JSON differ, in words; '' if there is none."""
    if isinstance(recorded, Mapping) and isinstance(found, Mapping):
        pairs = [(key, found.get(key), value) for key, value in recorded.items()]
    elif isinstance(recorded, list | tuple) and isinstance(found, list | tuple) and len(recorded) == len(found):
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(found, recorded, strict=True))]
    else:
        number = isinstance(found, int | float) and isinstance(recorded, int | float)
        same = np.isclose(found, recorded, rtol=TOLERANCE, atol=1e-9) if number else found == recorded
        return '' if same else f'{where} is {found}, was {recorded}'
    inner = (_difference(a, b, f'{where}.{key}' if where else str(key)) for key, a, b in pairs)
    return next((difference for difference in inner if difference), '')
