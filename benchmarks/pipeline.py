"""How many examples a second the loader reads, for every number of worker processes.

    python benchmarks/pipeline.py --dataset=nyuv2 [--workers=0,2] [--threads=4,8] [--seconds=20]

Writes random data of the real size with the package's own builders into a temporary folder, and reads training batches
of it as fast as they come, with nobody computing. Prints a Markdown table: the median of five windows of a fifth of
`--seconds` after a warm-up, their range, and how long the first batch took. Files stay in the system's cache: this
measures decoding, not the disk. Noise hardly compresses: as many bytes are read as of any real image of that size.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from absl import app, flags, logging

from mtkd_jax import tasks
from mtkd_jax.data import builders
from mtkd_jax.data.frames import Frame
from mtkd_jax.data.pipeline import Split
from mtkd_jax.tasks import Task
from mtkd_jax.types import Batches

WORKERS = flags.DEFINE_list('workers', ['0', '2'], 'Numbers of worker processes; 0: threads only.')
THREADS = flags.DEFINE_list('threads', ['4'], 'Numbers of reading threads, shared among the workers.')
SECONDS = flags.DEFINE_float('seconds', 20, 'How long each row is measured, after a quarter of it to warm up.')
WINDOWS = 5


@dataclass(frozen=True)
class DataSet:
    """A data set to read: who prepares it in a folder, its tasks, the batch size of its config."""

    prepare: Callable[[str], builders.Prepared]
    tasks: Sequence[Task]
    batch_size: int


class RandomFrames:
    """A reader of frames that are noise, in the stored conventions."""

    skipped = ()

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self.size, self.splits = size, {'train': count, 'test': 1}
        self.metadata = {'source': 'random', 'normals': 'random', 'resampling': 'none'}

    def read(self, split: str, i: int) -> Frame:
        """See `frames.Reader`."""
        del split
        rng = np.random.default_rng(i)
        normals = rng.standard_normal((*self.size, 3), np.float32)
        return {
            'image': rng.random((*self.size, 3), np.float32),
            'segmentation': rng.integers(-1, 13, (*self.size, 1), np.int8),
            'depth': rng.random((*self.size, 1), np.float32) * 10,
            'normals': normals / np.linalg.norm(normals, axis=-1, keepdims=True),
            'index': np.array(i, np.int32),
        }


def nyuv2(folder: str) -> builders.Prepared:
    """Frames of 288×384 pixels."""
    return builders.prepare_nyuv2(RandomFrames((288, 384), 64), folder)


def rooms(folder: str) -> builders.Prepared:
    """Rendered rooms of the default size."""
    return builders.prepare_rooms(folder, height=64, width=96, train=96, test=1, seed=0)


def glyphs(folder: str) -> builders.Prepared:
    """Glyphs of the size of SVHN & Omniglot, which are stored alike."""
    return builders.prepare_glyphs(folder, height=64, width=64, train=1024, test=10, characters=100)


DENSE = (tasks.segmentation(13), tasks.depth(), tasks.normals())
DATASETS = {
    'nyuv2': DataSet(nyuv2, DENSE, 2),
    'rooms': DataSet(rooms, DENSE, 4),
    # With the batch size of SVHN & Omniglot, too.
    'glyphs': DataSet(glyphs, (tasks.classification('digits', 10), tasks.classification('characters', 100)), 512),
}
DATASET = flags.DEFINE_enum('dataset', 'nyuv2', list(DATASETS), 'What to read.')


def measure(split: Split) -> tuple[list[float], float]:
    """Examples a second in each window, and seconds until the first batch."""
    began = time.perf_counter()
    batches = split.epochs(0, 10**6)
    next(batches)
    first = time.perf_counter() - began
    _rate(batches, SECONDS.value / 4)
    rates = [_rate(batches, SECONDS.value / WINDOWS) for _ in range(WINDOWS)]
    batches.close()
    return rates, first


def _rate(batches: Batches, seconds: float) -> float:
    began, count = time.perf_counter(), 0
    for batch in batches:
        count += batch.image.shape[0]
        passed = time.perf_counter() - began
        if passed >= seconds:
            break
    return count / passed


def main(argv: list[str]) -> None:
    """Prepares, reads, prints."""
    del argv
    logging.set_verbosity(logging.WARNING)
    chosen = DATASETS[DATASET.value]
    with tempfile.TemporaryDirectory() as folder:
        source = chosen.prepare(folder).sources['train']
        split = Split(source, chosen.tasks, chosen.batch_size)
        batch = next(split.epochs(0, 1))
        megabytes = sum(x.nbytes for x in jax.tree.leaves(batch)) / 1e6
        print(f'{DATASET.value}: batch {chosen.batch_size} of {megabytes:.1f} MB\n')
        print('| workers | threads | examples/s | range | MB/s | first batch (s) |')
        print('| ---: | ---: | ---: | ---: | ---: | ---: |')
        for workers, threads in itertools.product(WORKERS.value, THREADS.value):
            rates, first = measure(
                Split(source, chosen.tasks, chosen.batch_size, read_threads=int(threads), read_workers=int(workers))
            )
            median = statistics.median(rates)
            print(
                f'| {workers} | {threads} | {median:.0f} | {min(rates):.0f} to {max(rates):.0f} | '
                f'{median * megabytes / chosen.batch_size:.0f} | {first:.1f} |',
                flush=True,
            )


if __name__ == '__main__':
    app.run(main)
