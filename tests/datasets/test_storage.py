"""Prepared data: the same values back, whole or not at all, and clear words when there is nothing."""

import dataclasses
import errno
import fcntl
import json
import os
import pickle
import resource
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mtkd_jax.data.pipeline import Split
from mtkd_jax.datasets import Preparation
from mtkd_jax.datasets.errors import DataError, DataNotPrepared
from mtkd_jax.datasets.files.npy_folder import NpyFolder
from mtkd_jax.datasets.nyuv2 import files
from mtkd_jax.datasets.nyuv2.builder import Nyuv2
from mtkd_jax.datasets.nyuv2.raw import RawFile
from mtkd_jax.datasets.rooms import scenes
from mtkd_jax.datasets.storage import parallel, parts, writing
from mtkd_jax.datasets.storage.records import RecordFile
from mtkd_jax.datasets.storage.verification import verify
from mtkd_jax.types import UserError
from tests import small
from tests.datasets import nyuv2_source, prepared

ROOMS = {'height': 32, 'width': 64, 'train_images': 5, 'test_images': 2, 'scene_seed': 3}
GLYPHS = {'digits_train': 40, 'digits_test': 10, 'classes': {'digits': 10, 'characters': 3}}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp('prepared'))


@pytest.fixture(scope='module')
def rooms(data_dir):
    told = []
    data = prepared.prepare('rooms', data_dir, ROOMS, progress=lambda *what: told.append(what))
    assert told == [('train', i, 5) for i in range(6)] + [('test', i, 2) for i in range(3)]
    return data


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return nyuv2_source.write_folder(tmp_path_factory.mktemp('files'))


@pytest.fixture(scope='module')
def nyuv2(data_dir, source):
    return prepared.nyuv2(source, data_dir)


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob('*'))


def test_nyuv2_comes_back_exactly(nyuv2):
    assert nyuv2.counts == {'train': 5, 'test': 3}
    for number, split in enumerate(('train', 'test')):
        for i in range(nyuv2.counts[split]):
            found, true = nyuv2.sources[split][i], nyuv2_source.frame([number, i])
            assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
                'image': ((32, 64, 3), np.float32),
                'segmentation': ((32, 64, 1), np.int8),
                'depth': ((32, 64, 1), np.float32),
                'normals': ((32, 64, 3), np.float32),
                'index': ((), np.int32),
            }
            assert found['index'] == i
            np.testing.assert_array_equal(found['image'], true['image'])
            np.testing.assert_array_equal(found['segmentation'][..., 0], true['label'])
            np.testing.assert_array_equal(found['depth'], true['depth'])
            np.testing.assert_array_equal(found['normals'], true['normal'])


def test_nyuv2_metadata_say_what_is_in_it(nyuv2):
    assert nyuv2.path.parts[-3:] == ('nyuv2', '32x64', '1.0.0')
    assert nyuv2.metadata == json.loads((nyuv2.path / 'metadata.json').read_text())
    assert nyuv2.metadata['source'] == 'preprocessed'
    assert nyuv2.metadata['normals'] == 'as given'
    assert nyuv2.metadata['notes'][:2] == [
        'train has 5 frames; the official split has 795.',
        'test has 3 frames; the official split has 654.',
    ]
    assert len(nyuv2.classes) == 13
    frames = [nyuv2_source.frame([1, i]) for i in range(3)]
    depth = np.concatenate([f['depth'].ravel() for f in frames])
    summary = nyuv2.metadata['splits']['test']
    assert summary['examples'] == 3
    assert summary['ranges']['depth'] == pytest.approx(
        [depth[depth > 0].min(), depth[depth > 0].astype(float).mean(), depth.max()]
    )
    assert summary['undefined_percent']['depth'] == pytest.approx(100 * (depth == 0).mean())
    labels = np.concatenate([f['label'].ravel() for f in frames])
    assert summary['undefined_percent']['segmentation'] == pytest.approx(100 * (labels == -1).mean())
    assert summary['class_percent'][4] == pytest.approx(100 * (labels == 4).mean())


def test_nyuv2_from_the_raw_file(tmp_path):
    reader = RawFile(nyuv2_source.write_raw(tmp_path / 'nyu.mat'), (32, 64), official=nyuv2_source.OFFICIAL)
    data = writing.prepared(Nyuv2, {}, Preparation(data_dir=str(tmp_path)), reader)
    assert data.counts == {'train': 3, 'test': 3}
    assert [int(example['index']) for example in data.sources['train']] == [2, 3, 6]
    for name, array in reader.read('test', 1).items():
        np.testing.assert_array_equal(data.sources['test'][1][name], array)
    assert data.metadata['source'] == 'raw'
    assert data.metadata['normals'].startswith('computed')


def test_large_splits_are_kept_in_several_files(tmp_path, source, monkeypatch):
    # 60 kB an example: three fit into a file, two remain.
    monkeypatch.setattr(parts, 'PART_BYTES', (200_000, 200_000))
    data = prepared.nyuv2(source, str(tmp_path))
    assert sorted(p.name for p in data.path.glob('*train*')) == [
        f'nyuv2-train.array_record-0000{i}-of-00002' for i in range(2)
    ]
    for i in range(5):
        np.testing.assert_array_equal(data.sources['train'][i]['depth'], nyuv2_source.frame([0, i])['depth'])


def test_rooms_are_what_is_rendered(rooms):
    assert rooms.counts == {'train': 5, 'test': 2}
    assert rooms.classes == tuple(scenes.CLASSES)
    assert rooms.path.parts[-3:] == ('rooms', '32x64_seed3_5+2', '1.0.0')
    for split in ('train', 'test'):
        example = rooms.sources[split][1]
        rendered = scenes.render(int(example['index']), 32, 64)
        assert set(example) == {*rendered, 'index'}
        for name, array in rendered.items():
            assert example[name].dtype == array.dtype
            np.testing.assert_array_equal(example[name], array)


def test_no_scene_is_in_two_splits_or_seeds(rooms, data_dir):
    other = prepared.prepare('rooms', data_dir, {**ROOMS, 'scene_seed': 4, 'train_images': 2})
    seeds = [int(e['index']) for data in (rooms, other) for source in data.sources.values() for e in source]
    assert len(set(seeds)) == len(seeds) == 11


def test_preparing_again_does_nothing(rooms, data_dir):
    before = {p: p.stat().st_mtime_ns for p in rooms.path.iterdir()}
    again = prepared.prepare('rooms', data_dir, ROOMS, progress=lambda *what: pytest.fail('rendered again'))
    assert {p: p.stat().st_mtime_ns for p in rooms.path.iterdir()} == before
    assert again.counts == rooms.counts
    assert prepared.opened('rooms', data_dir, **ROOMS).metadata == rooms.metadata


def test_sources_can_be_read_by_many_threads(nyuv2):
    numbers = [i % 5 for i in range(400)]
    with ThreadPoolExecutor(16) as pool:
        read = list(pool.map(lambda i: nyuv2.sources['train'][i], numbers))
    for i, example in zip(numbers, read, strict=True):
        np.testing.assert_array_equal(example['depth'], nyuv2_source.frame([0, i])['depth'])


def test_the_pipeline_reads_them(nyuv2, rooms):
    for data in (nyuv2, rooms):
        batches = list(Split(data.sources['train'], small.TASKS, 2).ordered())
        assert [batch.image.shape for batch in batches] == [(2, 32, 64, 3)] * 3
        assert batches[0].image.max() <= 1


def test_what_is_not_prepared_is_never_replaced_by_something_else(nyuv2, data_dir):
    with pytest.raises(DataNotPrepared) as raised:
        prepared.opened('nyuv2', data_dir, height=288, width=384)
    message = str(raised.value)
    assert f'{data_dir}/nyuv2/288x384/1.0.0' in message
    assert 'Prepared there are: 32x64.' in message
    assert f'python -m mtkd_jax.prepare --dataset=nyuv2 --source=DIR --data_dir={data_dir}\n' in message
    assert 'python -m mtkd_jax.main --config=configs/nyuv2.py' in message
    with pytest.raises(DataNotPrepared, match=r'--dataset=rooms --size=32x64 --train=9 --test=2 --seed=3'):
        prepared.opened('rooms', data_dir, **{**ROOMS, 'train_images': 9})


def test_looking_leaves_nothing_behind(tmp_path):
    with pytest.raises(DataNotPrepared):
        prepared.opened('nyuv2', str(tmp_path / 'absent'), height=32, width=64)
    assert tree(tmp_path) == []


def test_the_default_folder_is_that_of_tensorflow_datasets(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.constants, 'DATA_DIR', str(tmp_path))
    with pytest.raises(DataNotPrepared, match=str(tmp_path)):
        prepared.opened('nyuv2', None, height=32, width=64)


@pytest.mark.parametrize(
    ('field', 'value'), [('height', 0), ('train_images', 0), ('test_images', 10**7), ('scene_seed', -1)]
)
def test_rooms_that_cannot_be_are_named(tmp_path, field, value):
    with pytest.raises(UserError, match=f'`{field}` of rooms is {value}'):
        prepared.prepare('rooms', str(tmp_path), {**ROOMS, field: value})


def test_the_next_run_goes_on_where_one_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, 'PART_BYTES', (130_000, 130_000))  # two examples a part
    source, data_dir = nyuv2_source.write_folder(tmp_path / 'files'), str(tmp_path / 'prepared')
    read = []

    class Reader(NpyFolder):
        def read(self, split, i):
            read.append((split, i))
            return super().read(split, i)

    def prepare(frames=Reader):
        read.clear()
        reader = frames(source, files.layout(13))
        how = Preparation('', data_dir, lambda *what: told.append(what))
        return writing.prepared(Nyuv2, {}, how, reader)

    told = []
    bad = source / 'val/normal/2.npy'
    good = bad.read_bytes()
    np.save(bad, np.full((32, 64, 3), 2.0))
    with pytest.raises(DataError, match=r'val/normal/2\.npy has values') as raised:
        prepare()
    kept = tmp_path / 'prepared/nyuv2/32x64/unfinished.1.0.0'
    assert raised.value.__notes__ == [f'7 examples are kept in {kept}; the same command goes on from there.']
    assert [p.name for p in kept.parent.iterdir()] == [kept.name]
    assert sorted(p.name for p in kept.glob('*part?')) == ['test.part0', 'train.part0', 'train.part1', 'train.part2']

    # A frame of the part in the middle changed since: that part and those after it are made again.
    changed = source / 'train/depth/3.npy'
    np.save(changed, np.load(changed) * 2)
    bad.write_bytes(good)
    told.clear()
    data = prepare()
    assert read == [('train', 2), ('train', 3), ('train', 4), ('test', 2)]
    assert told[0] == ('train', 2, 5)
    assert ('test', 2, 3) in told
    assert [p.name for p in kept.parent.iterdir()] == ['1.0.0']
    assert data.counts == {'train': 5, 'test': 3}
    np.testing.assert_array_equal(data.sources['train'][3]['depth'], np.load(changed))
    whole = prepared.nyuv2(source, str(tmp_path / 'at_once'))
    assert whole.metadata == data.metadata
    for split, count in data.counts.items():
        for i in range(count):
            assert_same(whole.sources[split][i], data.sources[split][i])


def test_a_part_is_not_taken_for_newer_than_what_was_read(tmp_path):
    source, data_dir = nyuv2_source.write_folder(tmp_path / 'files'), str(tmp_path / 'prepared')

    class Changing(NpyFolder):
        """Frame 0 is written anew after it was read, and the last frame of all fails."""

        def read(self, split, i):
            frame = super().read(split, i)
            if (split, i) == ('train', 0):
                np.save(source / 'train/depth/0.npy', np.full((32, 64, 1), 3.0))
            if (split, i) == ('test', 2):
                raise DataError('stop')
            return frame

    def prepare(frames):
        return writing.prepared(Nyuv2, {}, Preparation(data_dir=data_dir), frames(source, files.layout(13)))

    with pytest.raises(DataError, match='stop'):
        prepare(Changing)
    data = prepare(NpyFolder)
    assert (data.sources['train'][0]['depth'] == 3).all()


def test_parts_outlive_what_fails_after_them(tmp_path, source, monkeypatch):
    def fail(*paths):
        raise OSError(28, 'No space left on device')

    def prepare():
        return prepared.nyuv2(source, str(tmp_path), lambda *what: told.append(what))

    told = []
    replace = writing._replace
    monkeypatch.setattr(writing, '_replace', fail)
    with pytest.raises(DataError, match=r'is full \(No space left on device\); free some space') as raised:
        prepare()
    monkeypatch.setattr(writing, '_replace', replace)
    assert raised.value.__notes__[0].startswith('8 examples are kept in ')
    kept = tmp_path / 'nyuv2/32x64/unfinished.1.0.0'
    (kept / 'test.part0.json').write_text('')  # as after a power cut: this part alone is made again
    told.clear()
    # Room for what is left, not for all of it.
    room = shutil._ntuple_diskusage(10**9, 10**9, 4 * 60_000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: room)
    assert prepare().counts == {'train': 5, 'test': 3}
    assert told == [('train', 5, 5), *(('test', i, 3) for i in range(4))]
    assert not kept.exists()


def assert_same(found, true):
    assert set(found) == set(true)
    for name, array in true.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_many_frames_are_read_by_several_processes_in_order(tmp_path):
    source = nyuv2_source.write_folder(tmp_path / 'files', frames={'train': 40, 'val': 1}, size=(8, 8))
    data = prepared.nyuv2(source, str(tmp_path / 'prepared'))
    assert [int(example['index']) for example in data.sources['train']] == list(range(40))
    for i in (0, 17, 39):
        np.testing.assert_array_equal(data.sources['train'][i]['image'], nyuv2_source.frame([0, i], (8, 8))['image'])
    np.save(source / 'train/normal/30.npy', np.full((8, 8, 3), 2.0))
    with pytest.raises(DataError, match=r'train/normal/30\.npy has values'):
        prepared.nyuv2(source, str(tmp_path / 'prepared'), overwrite=True)


def test_verifying_finds_what_is_not_as_recorded(tmp_path, source):
    data = prepared.nyuv2(source, str(tmp_path))
    told = []
    verify(data, lambda *what: told.append(what))
    assert told == [('train', i, 5) for i in range(6)] + [('test', i, 3) for i in range(4)]

    class Changed:
        """A split of which one example is another."""

        def __init__(self, source, i, **arrays):
            self.source, self.i, self.arrays = source, i, arrays

        def __len__(self):
            return len(self.source)

        def __getitem__(self, i):
            return {**self.source[i], **self.arrays} if i == self.i else self.source[i]

    depth = data.sources['test'][1]['depth']
    for arrays, message in (
        ({'depth': -depth}, 'test, example 1, depth has values from'),
        ({'depth': 2 * depth}, r'test differs from what was recorded when it was prepared: ranges\.depth\.'),
        ({'segmentation': np.full((32, 64, 1), 3, np.int8)}, r'undefined_percent|class_percent\.'),
        ({'normals': np.zeros((32, 64, 3), np.float32)}, r'ranges\.normals|undefined_percent\.normals'),
    ):
        broken = {**data.sources, 'test': Changed(data.sources['test'], 1, **arrays)}
        with pytest.raises(DataError, match=message):
            verify(dataclasses.replace(data, sources=broken))
    file = next(data.path.glob('*test*'))
    file.write_bytes(file.read_bytes()[:-20_000])
    with pytest.raises((DataError, ValueError)):
        verify(prepared.opened('nyuv2', str(tmp_path), height=32, width=64))


def test_overwriting_keeps_the_old_until_the_new_is_whole(tmp_path):
    def prepare(overwrite):
        return prepared.nyuv2(source, data_dir, overwrite=overwrite)

    data_dir, source = str(tmp_path / 'prepared'), tmp_path / 'files'
    nyuv2_source.write_folder(source, frames={'train': 2, 'val': 1})
    assert prepare(overwrite=True).counts == {'train': 2, 'test': 1}
    files = tree(data_dir)

    nyuv2_source.write_folder(source, frames={'train': 4, 'val': 1})
    np.save(source / 'val/normal/0.npy', np.full((32, 64, 3), 2.0))
    with pytest.raises(DataError) as raised:
        prepare(overwrite=True)
    assert raised.value.__notes__[-1] == f'What was prepared before is still in {data_dir}/nyuv2/32x64/1.0.0.'
    assert [f for f in tree(data_dir) if 'unfinished' not in f] == files
    assert prepared.opened('nyuv2', data_dir, height=32, width=64).counts == {'train': 2, 'test': 1}

    nyuv2_source.write_folder(source, frames={'train': 4, 'val': 1})
    assert prepare(overwrite=False).counts == {'train': 2, 'test': 1}
    assert prepare(overwrite=True).counts == {'train': 4, 'test': 1}
    assert tree(data_dir) == files


def test_an_old_data_set_survives_a_kill_between_the_renames(tmp_path, source):
    def prepare():
        return prepared.nyuv2(source, str(tmp_path))

    path = prepare().path
    path.rename(path.with_name(f'{writing.REPLACED}{path.name}'))
    (path.parent / f'{writing.UNFINISHED}new').mkdir()
    assert prepare().counts == {'train': 5, 'test': 3}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_full_disk_is_found_out_before_writing(tmp_path, source, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10**6, 10**6, 10**5))
    with pytest.raises(DataError, match=r'0\.0 GB free; preparing needs'):
        prepared.nyuv2(source, str(tmp_path / 'prepared'))
    assert not (tmp_path / 'prepared').exists()


def test_notes_tell_of_odd_sizes_and_unused_files(tmp_path):
    source = nyuv2_source.write_folder(tmp_path / 'files', size=(24, 32))
    (source / 'README').touch()
    (source / 'train/image/0001.npy').touch()
    data = prepared.nyuv2(source, str(tmp_path / 'prepared'))
    notes = data.metadata['notes'][2:]
    assert notes[0].startswith('WARNING: 24x32 is not a multiple of 32')
    assert notes[1] == '2 other files were not used: README, train/image/0001.npy'


def unchanged(data, source):
    for number, split in enumerate(('train', 'test')):
        for i in range(data.counts[split]):
            np.testing.assert_array_equal(data.sources[split][i]['depth'], nyuv2_source.frame([number, i])['depth'])


def test_kept_parts_that_are_damaged_are_made_again(tmp_path, source, monkeypatch):
    """Killed after the new data set has its name, before its parts are removed; then bytes of it rot."""

    class Killed(BaseException):
        pass

    def kill(folder, **options):
        if 'unfinished' in str(folder):
            raise Killed
        remove(folder, **options)

    remove = shutil.rmtree
    monkeypatch.setattr(shutil, 'rmtree', kill)
    with pytest.raises(Killed):
        prepared.nyuv2(source, tmp_path, overwrite=True)
    monkeypatch.undo()
    found = prepared.opened('nyuv2', tmp_path, height=32, width=64)
    for file in found.path.glob('*array_record*'):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1  # the same size
        file.write_bytes(content)
    again = prepared.nyuv2(source, tmp_path, overwrite=True)
    unchanged(again, source)
    verify(again)
    assert [p.name for p in again.path.parent.iterdir()] == ['1.0.0']


def test_without_hard_links_parts_are_copied(tmp_path, source, monkeypatch):
    def refuse(*paths):
        raise PermissionError(errno.EPERM, 'Operation not permitted')

    monkeypatch.setattr(parts.os, 'link', refuse)
    data = prepared.nyuv2(source, tmp_path)
    unchanged(data, source)
    assert [p.name for p in data.path.parent.iterdir()] == ['1.0.0']
    monkeypatch.setattr(shutil, 'copyfile', lambda file, name: Path(name).write_bytes(b'half'))
    with pytest.raises(DataError, match='whose copy it is'):
        prepared.nyuv2(source, tmp_path, overwrite=True)


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path, source, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, 'no locks')

    monkeypatch.setattr(fcntl, 'flock', refuse)
    with pytest.raises(DataError, match=rf'{tmp_path} cannot be locked \(no locks\).*`data_dir` on a file system'):
        prepared.nyuv2(source, tmp_path)


@pytest.mark.parametrize(
    ('number', 'said'),
    [
        (errno.ENOSPC, 'is full .*free some space'),
        (errno.EDQUOT, 'is full .*free some space'),
        (errno.EROFS, 'may not be used .*see to its rights'),
        (errno.EACCES, 'may not be used .*see to its rights'),
        (errno.EIO, 'failed .*mend that'),
    ],
)
@pytest.mark.parametrize('name', ['mkdir', 'fsync'])
def test_the_systems_errors_say_what_to_do(tmp_path, source, monkeypatch, name, number, said):
    def refuse(*arguments, **options):
        raise OSError(number, 'refused')

    with monkeypatch.context() as patched:
        patched.setattr(os if name == 'fsync' else Path, name, refuse)
        with pytest.raises(DataError, match=said + '.*Then run the same command again'):
            prepared.nyuv2(source, tmp_path / 'new')
    unchanged(prepared.nyuv2(source, tmp_path / 'new'), source)


def test_a_data_dir_that_is_a_file_is_named(tmp_path, source):
    (tmp_path / 'file').touch()
    with pytest.raises(DataError, match=f'{tmp_path}/file'):
        prepared.nyuv2(source, tmp_path / 'file')


@pytest.mark.parametrize('limit', [1000, 100_000])
def test_a_disk_that_fills_up_is_named_and_the_next_run_goes_on(tmp_path, source, limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(DataError, match=r'train\.part0 cannot be written .*whether its disk is full'):
            prepared.nyuv2(source, tmp_path)
        with pytest.raises(DataError, match=r'\.part0 cannot be written .*whether its disk is full'):
            prepared.prepare('glyphs', tmp_path, GLYPHS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    unchanged(prepared.nyuv2(source, tmp_path), source)


def test_a_file_that_did_not_arrive_whole_is_an_error(tmp_path):
    file = RecordFile(tmp_path / 'x')
    file.write(b'a')
    file.count += 1
    with pytest.raises(DataError, match='x cannot be written \\(1 of 2 examples arrived\\)'):
        file.close()


@pytest.mark.parametrize('damage', ['flipped', 'short', 'gone'])
@pytest.mark.parametrize('name', ['nyuv2', 'rooms', 'glyphs'])
def test_a_damaged_shard_is_named_where_it_is_read(tmp_path, source, name, damage):
    asked = {'nyuv2': {}, 'rooms': ROOMS, 'glyphs': GLYPHS}[name]
    data = prepared.prepare(name, tmp_path, asked, source if name == 'nyuv2' else '')
    file = next(data.path.glob('*train*record*'))
    content = bytearray(file.read_bytes())
    if damage == 'gone':
        file.unlink()
    elif damage == 'short':
        file.write_bytes(content[: len(content) // 2])
    else:
        for i in range(len(content) // 4, len(content) // 2):
            content[i] ^= 255
        file.write_bytes(content)

    def read():
        found = prepared.opened(name, tmp_path, **asked, **({'height': 32, 'width': 64} if name == 'nyuv2' else {}))
        source = found.sources['train']
        return [source[i] for i in range(len(source))]

    with pytest.raises(DataError, match=r'train.* cannot be .*--verify.*--overwrite') as raised:
        read()
    assert str(data.path) in str(raised.value)
    # As a reading process sends it.
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    prepared.prepare(name, tmp_path, asked, source if name == 'nyuv2' else '', overwrite=True)
    read()


@pytest.mark.parametrize('file', ['dataset_info.json', 'metadata.json'])
@pytest.mark.parametrize('content', [b'', b'{"a', b'[1]', b'\xff\xfe'])
def test_a_damaged_description_is_named(tmp_path, source, file, content):
    data = prepared.nyuv2(source, tmp_path)
    (data.path / file).write_bytes(content)
    with pytest.raises(DataError, match=f'{data.path}.*prepare it again'):
        prepared.opened('nyuv2', tmp_path, height=32, width=64)


def test_folders_may_have_any_name(tmp_path, source):
    for name in ('a [1]', 'b*', 'c?', 'd=é', 'e[0:3]', 'f@2'):
        unchanged(prepared.nyuv2(source, tmp_path / name), source)


def _die(item):
    """Ends the process that is given the second item: the first one is this process's own."""
    if item:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_reading_process_that_is_killed_is_said(monkeypatch):
    monkeypatch.setattr(parallel, 'cores', lambda: 2)
    monkeypatch.setattr(parallel, 'START', 0)
    with pytest.raises(DataError, match='processes that read frames was killed'):
        list(parallel.ordered_map(_die, range(20), 20))
