"""How many examples a second the loader reads, for every number of worker processes.

    python benchmarks/pipeline.py --dataset=nyuv2 [--workers=0,2] [--threads=4,8] [--seconds=20]

Writes random data of the real size with the package's own builders into a temporary folder, and reads training batches
of it as fast as they come, with nobody computing. The rows take turns, three times, so that a busy machine slows all of
them: the Markdown table gives medians, the range, and the median ratio to the first row. Own CPU is what reading
costs the process that trains; the first batch includes starting the workers. Files stay in the system's cache: this
measures decoding, not the disk. Noise hardly compresses: as many bytes are read as of any real image of that size.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import jax
import numpy as np
from absl import app, flags, logging

from mtkd_jax import datasets, tasks
from mtkd_jax.data.pipeline import Source, Split
from mtkd_jax.data.reading import AHEAD
from mtkd_jax.datasets.cityscapes.builder import Cityscapes
from mtkd_jax.datasets.cityscapes.classes import CATEGORIES
from mtkd_jax.datasets.files.reader import Frame
from mtkd_jax.datasets.nyuv2.builder import Nyuv2
from mtkd_jax.datasets.nyuv2.files import class_names
from mtkd_jax.datasets.storage.writing import prepared
from mtkd_jax.datasets.taskonomy.builder import Taskonomy
from mtkd_jax.datasets.taskonomy.storing import CLASSES
from mtkd_jax.tasks import Task

WORKERS = flags.DEFINE_list('workers', ['0', '2'], 'Numbers of worker processes; 0: threads only.')
THREADS = flags.DEFINE_list('threads', ['4'], 'Numbers of reading threads, shared among the workers.')
SECONDS = flags.DEFINE_float('seconds', 20, 'How long each row is measured.')
TURNS = 3


@dataclass(frozen=True)
class DataSet:
    """A data set to read: who prepares it in a folder, its tasks, the batch size of its config."""

    prepare: Callable[[str], datasets.Prepared]
    tasks: Sequence[Task]
    batch_size: int


class RandomFrames:
    """A reader of frames that are noise, in the stored conventions, with the given targets."""

    skipped = ()

    def __init__(self, size: tuple[int, int], count: int, classes: Sequence[str], targets: Sequence[str]) -> None:
        self.size, self.splits, self.classes, self.targets = size, {'train': count, 'test': 1}, tuple(classes), targets
        self.metadata = {'source': 'random', 'resampling': 'none'}

    def files(self, split: str, i: int) -> Sequence[Path]:
        """See `reader.Reader`."""
        del split, i
        return ()

    def read(self, split: str, i: int) -> Frame:
        """See `reader.Reader`."""
        del split
        rng = np.random.default_rng(i)
        normals = rng.standard_normal((*self.size, 3), np.float32)
        frame = {
            'image': rng.random((*self.size, 3), np.float32),
            'segmentation': rng.integers(0, len(self.classes), (*self.size, 1), np.int8),
            'depth': rng.random((*self.size, 1), np.float32) * 10,
            'normals': normals / np.linalg.norm(normals, axis=-1, keepdims=True),
            'keypoints': rng.random((*self.size, 1), np.float32),
            'edges': rng.random((*self.size, 1), np.float32),
        }
        return {**{name: frame[name] for name in ('image', *self.targets)}, 'index': np.array(i, np.int32)}


def nyuv2(folder: str) -> datasets.Prepared:
    """Frames of 288×384 pixels."""
    reader = RandomFrames((288, 384), 64, class_names(13), NAMES[:3])
    return prepared(Nyuv2, {}, datasets.Preparation(data_dir=folder), reader)


def cityscapes(folder: str) -> datasets.Prepared:
    """Frames of 128×256 pixels."""
    reader = RandomFrames((128, 256), 128, CATEGORIES, NAMES[:2])
    return prepared(Cityscapes, {}, datasets.Preparation(data_dir=folder), reader)


def taskonomy(folder: str) -> datasets.Prepared:
    """Frames of 256×256 pixels with five targets, stored as whole numbers."""
    reader = RandomFrames((256, 256), 64, CLASSES, NAMES)
    return prepared(Taskonomy, {}, datasets.Preparation(data_dir=folder), reader)


def rooms(folder: str) -> datasets.Prepared:
    """Rendered rooms of the default size."""
    data = {'train_images': 96, 'test_images': 1}
    return datasets.named('rooms').ready(data, folder, datasets.quiet)


def glyphs(folder: str) -> datasets.Prepared:
    """Glyphs of the size of SVHN & Omniglot, which are stored alike."""
    data = {'height': 64, 'width': 64, 'digits_train': 1024, 'digits_test': 10}
    return datasets.named('glyphs').ready(
        {**data, 'classes': {'digits': 10, 'characters': 100}}, folder, datasets.quiet
    )


NAMES = ('segmentation', 'depth', 'normals', 'keypoints', 'edges')
DENSE = (tasks.segmentation(18), tasks.depth(), tasks.normals(), tasks.keypoints(), tasks.edges())
DATASETS = {
    'nyuv2': DataSet(nyuv2, DENSE[:3], 2),
    'cityscapes': DataSet(cityscapes, DENSE[:2], 8),
    'taskonomy': DataSet(taskonomy, DENSE, 4),
    'rooms': DataSet(rooms, DENSE[:3], 4),
    # With the batch size of SVHN & Omniglot, too.
    'glyphs': DataSet(glyphs, (tasks.classification('digits', 10), tasks.classification('characters', 100)), 512),
}
DATASET = flags.DEFINE_enum('dataset', 'nyuv2', list(DATASETS), 'What to read.')


class Row:
    """One number of workers and threads, and what was measured of it."""

    def __init__(self, workers: int, threads: int) -> None:
        self.workers, self.threads = workers, threads
        self.rates: list[float] = []
        self.own: list[float] = []
        self.first: list[float] = []

    def measure(self, source: Source, data: DataSet, seconds: float) -> None:
        """Starts, reads what is soon there anyway, and then for so long."""
        split = Split(source, data.tasks, data.batch_size, read_threads=self.threads, read_workers=self.workers)
        began = time.perf_counter()
        with closing(split.epochs(0, 10**6)) as batches:
            next(batches)
            self.first.append(time.perf_counter() - began)
            for _ in range(AHEAD * self.threads):
                next(batches)
            began, busy, count = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() - began < seconds:
                count += next(batches).image.shape[0]
            self.rates.append(count / (time.perf_counter() - began))
            self.own.append((time.process_time() - busy) / count)


def main(argv: list[str]) -> None:
    """Prepares, reads in turns, prints."""
    del argv
    logging.set_verbosity(logging.WARNING)
    data = DATASETS[DATASET.value]
    with tempfile.TemporaryDirectory() as folder:
        source = data.prepare(folder).sources['train']
        batch = next(Split(source, data.tasks, data.batch_size).epochs(0, 1))
        megabytes = sum(x.nbytes for x in jax.tree.leaves(batch)) / 1e6
        print(f'{DATASET.value}: batch {data.batch_size} of {megabytes:.1f} MB\n')
        choices = itertools.product(WORKERS.value, THREADS.value)
        rows = [Row(int(workers), int(threads)) for workers, threads in choices]
        for _, row in itertools.product(range(TURNS), rows):
            row.measure(source, data, SECONDS.value / TURNS)
    print('| workers | threads | examples/s | range | ÷ first row | own CPU (ms/example) | first batch (s) |')
    print('| ---: | ---: | ---: | ---: | ---: | ---: | ---: |')
    for row in rows:
        ratio = median(own / first for own, first in zip(row.rates, rows[0].rates, strict=True))
        print(
            f'| {row.workers} | {row.threads} | {median(row.rates):.0f} | '
            f'{min(row.rates):.0f} to {max(row.rates):.0f} | {ratio:.2f} | '
            f'{1000 * median(row.own):.2f} | {median(row.first):.1f} |'
        )


if __name__ == '__main__':
    app.run(main)
