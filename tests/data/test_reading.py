"""Worker processes: the same batches in the same order, errors that arrive, and nobody left behind."""

import fcntl
import multiprocessing
import threading
from itertools import islice

import jax
import numpy as np
import pytest

from mtkd_jax import datasets, tasks
from mtkd_jax.data import pipeline, shared_memory
from mtkd_jax.types import UserError
from tests import small

CLASSES = {'digits': 10, 'characters': 2}
GLYPHS = tuple(tasks.classification(name, count) for name, count in CLASSES.items())


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.fixture(scope='module')
def glyphs(tmp_path_factory):
    """Prepared files, in two pools: 20 digits, 30 characters."""
    data = {'height': 16, 'width': 16, 'digits_train': 20, 'digits_test': 10, 'classes': {'digits': 10, **CLASSES}}
    how = datasets.Preparation(data_dir=str(tmp_path_factory.mktemp('glyphs')))
    return datasets.named('glyphs').prepare(data, how).sources['train']


def test_workers_read_the_same_training_batches(glyphs):
    def batches(workers):
        split = pipeline.Split(glyphs, GLYPHS, 8, seed=3, read_workers=workers)
        # Over the end of an epoch, from the middle of one.
        return list(split.epochs(1, 3, start=5))

    assert_same(batches(2), batches(0))
    assert not multiprocessing.active_children()


def test_workers_read_everything_in_order():
    def batches(workers):
        return list(pipeline.Split(small.source(9), small.TASKS, 4, read_workers=workers).ordered())

    assert_same(batches(2), batches(0))
    assert not multiprocessing.active_children()


class Looking:
    """Examples that take a look at the devices."""

    def __len__(self):
        return 1000

    def __getitem__(self, i):
        return {'image': np.full((2, 2, 3), len(jax.devices()), np.float32), 'depth': np.ones((2, 2, 1))}


def test_workers_leave_accelerators_alone_and_end_with_who_reads(monkeypatch):
    # In a process of its own, JAX would now look for a GPU, and not find one.
    monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
    batches = pipeline.Split(Looking(), (tasks.depth(),), 2, read_workers=2).epochs(0, 1)
    first = next(batches)
    assert (first.image >= 1).all()
    assert list(shared_memory.ROOM.glob(f'{shared_memory.prefix()[1:]}*'))
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert not multiprocessing.active_children()


class CannotBeSentError(Exception):
    """An error that holds what no other process can be given."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class Damaged:
    """Examples of which one cannot be read."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 16

    def __getitem__(self, i):
        if i == 9:
            raise self.error(f'record {i} is damaged')
        return {'image': np.full((2, 2, 3), i, np.float32), 'depth': np.ones((2, 2, 1))}


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize(('error', 'arrives'), [(UserError, UserError), (CannotBeSentError, RuntimeError)])
def test_an_error_arrives_where_its_batch_would(error, arrives, workers):
    batches = pipeline.Split(Damaged(error), (tasks.depth(),), 2, read_workers=workers).ordered()
    # It reads ahead, and yet the batches before it are not lost.
    assert [batch.image[0, 0, 0, 0] for batch in islice(batches, 4)] == [0, 2, 4, 6]
    with pytest.raises(arrives, match='record 9 is damaged'):
        next(batches)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize('start', [0, 3])
def test_epochs_follow_one_another_without_a_seam(glyphs, start):
    dense = pipeline.Split(small.source(9), small.TASKS, 2)
    for split in (dense, pipeline.Split(glyphs, GLYPHS, 8)):
        separate = [batch for epoch in (4, 5, 6) for batch in split.epoch(epoch)]
        assert_same(list(split.epochs(4, 7, start)), separate[start:])


def test_no_epoch_has_no_batch():
    split = pipeline.Split(small.source(9), small.TASKS, 2, read_workers=2)
    assert list(split.epochs(3, 4, split.steps_per_epoch)) == []


def test_image_shape():
    split = pipeline.Split(small.source(9), small.TASKS, 4)
    assert split.image_shape == next(split.ordered()).image.shape


@pytest.mark.parametrize('readers', [{'read_threads': 0}, {'read_workers': -1}])
def test_impossible_numbers_of_readers(readers):
    with pytest.raises(UserError, match=r'`read_threads` is \d and `read_workers` -?\d'):
        pipeline.Split(small.source(1), small.TASKS, 1, **readers)


def test_shared_memory_of_a_run_that_died_is_freed_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, 'ROOM', tmp_path)
    dead, lives, others = 'mk00000a', 'mk00000b', ('psm_1234', 'mkdir', 'mk00000c_12')
    for name in (dead, f'{dead}_12', f'{dead}_13', lives, f'{lives}_12', *others):
        (tmp_path / name).touch()
    with (tmp_path / lives).open('r+') as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        shared_memory.free()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted((lives, f'{lives}_12', *others))
    # And the next run has a record of its own.
    shared_memory.prefix.cache_clear()
    monkeypatch.setattr(shared_memory.atexit, 'register', lambda *what: None)
    try:
        begins = shared_memory.prefix()
        shared_memory.free()
        assert (tmp_path / begins[1:-1]).is_file()
    finally:
        shared_memory.prefix.cache_clear()
