"""The user's Cityscapes files: every value as documented, and every malformed file named."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mtkd_jax.datasets.cityscapes.classes import CATEGORIES, TRAINED, class_names, class_of_label
from mtkd_jax.datasets.cityscapes.files import open_source
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.types import UserError
from tests.datasets import cityscapes_source as source
from tests.datasets import prepared

SIZE = dict(zip(('height', 'width'), source.SIZE, strict=True))


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
    return source.write_raw(tmp_path_factory.mktemp('raw'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return source.write_folder(tmp_path_factory.mktemp('folder'))


def test_labels_are_those_of_the_official_table():
    fine, coarse = class_of_label(19), class_of_label(7)
    assert {int(label): int(c) for label, c in enumerate(fine) if c >= 0} == {
        7: 0,
        8: 1,
        11: 2,
        12: 3,
        13: 4,
        17: 5,
        19: 6,
        20: 7,
        21: 8,
        22: 9,
        23: 10,
        24: 11,
        25: 12,
        26: 13,
        27: 14,
        28: 15,
        31: 16,
        32: 17,
        33: 18,
    }
    groups = [[7, 8], [11, 12, 13], [17, 19, 20], [21, 22], [23], [24, 25], [26, 27, 28, 31, 32, 33]]
    assert [[int(label) for label in np.flatnonzero(coarse == i)] for i in range(7)] == groups
    # What the official evaluation ignores is void among 7 as among 19: parking, rail track, bridge, caravan, ...
    assert ((coarse >= 0) == (fine >= 0)).all()
    assert len(TRAINED) == 19
    assert class_names(7) == CATEGORIES


@pytest.mark.parametrize('classes', [7, 19])
@pytest.mark.parametrize('depth', ['inverse', 'metric'])
def test_raw_values_at_the_files_own_size(raw, tmp_path, classes, depth):
    data = prepared.prepare('cityscapes', tmp_path, {**SIZE, 'classes': classes, 'depth': depth}, raw)
    assert data.counts == {'train': 3, 'test': 2}
    assert len(data.classes) == classes
    table = class_of_label(classes)
    places = {'train': 0, 'val': 0}
    for split, _, seed in source.names():
        image, labels, steps = source.raw_frame(seed)
        found = data.sources['train' if split == 'train' else 'test'][places[split]]
        assert found['index'] == places[split]
        places[split] += 1
        assert set(found) == {'image', 'segmentation', 'depth', 'index'}
        np.testing.assert_array_equal(found['image'], image.astype(np.float32) / 255)
        np.testing.assert_array_equal(found['segmentation'][..., 0], table[labels])
        if depth == 'inverse':
            np.testing.assert_array_equal(found['depth'][..., 0], steps.astype(np.float32) / 65535)
        else:
            disparity = (steps.astype(np.float64) - 1) / 256
            metres = np.divide(400, disparity, out=np.zeros(disparity.shape), where=disparity >= 1)
            np.testing.assert_allclose(found['depth'][..., 0], metres, rtol=1e-6)
    again = prepared.opened('cityscapes', str(tmp_path), height=64, width=128, classes=classes, depth=depth)
    assert again.metadata == data.metadata
    assert data.metadata['depth'].startswith(depth)


def test_resizing_blends_what_may_be_blended(raw):
    reader = open_source(str(raw), (32, 64), 19, 'inverse')
    for i, (_, _, seed) in enumerate(list(source.names())[:3]):
        image, labels, steps = source.raw_frame(seed)
        found = reader.read('train', i)

        def quarters(array):
            return array.reshape(32, 2, 64, 2, -1).astype(np.float64)

        np.testing.assert_allclose(found['image'], quarters(image).mean((1, 3)) / 255, atol=1.01 / 255)
        # Blocks of 4×4 have one label, so any of a block's four new pixels has it, too.
        table = class_of_label(19)
        np.testing.assert_array_equal(found['segmentation'][..., 0], table[labels[::2, ::2]])
        parts, defined = quarters(steps), quarters(steps > 0)
        mean = parts.sum((1, 3)) / np.maximum(defined.sum((1, 3)), 1)
        mean = np.where(defined.sum((1, 3)) >= 2, mean, 0)
        np.testing.assert_allclose(found['depth'], mean / 65535, rtol=1e-5)


@pytest.mark.parametrize(
    'dtypes', [{}, {'image': np.float32, 'depth': np.float32}, {'label_7': np.float64}, {'label_7': np.int8}]
)
def test_preprocessed_values_are_kept(tmp_path, dtypes):
    folder = source.write_folder(tmp_path / 'files', dtypes)
    data = prepared.prepare('cityscapes', tmp_path / 'out', {}, folder)
    assert data.path.parts[-2] == '32x64_7classes_inverse'
    for number, (split, count) in enumerate({'train': 3, 'test': 2}.items()):
        for i in range(count):
            true = source.folder_frame([number, i])
            found = data.sources[split][i]
            np.testing.assert_array_equal(found['image'], true['image'].astype(np.float32))
            np.testing.assert_array_equal(found['segmentation'][..., 0], true['label_7'])
            np.testing.assert_array_equal(found['depth'], true['depth'].astype(np.float32))


def test_the_label_folder_may_have_its_other_name(tmp_path):
    folder = source.write_folder(tmp_path / 'files', classes=19, label='label')
    reader = open_source(str(folder), None, 19, 'inverse')
    np.testing.assert_array_equal(
        reader.read('test', 1)['segmentation'][..., 0], source.folder_frame([1, 1], 19)['label_19']
    )


def remove(folder, pattern):
    for file in folder.glob(pattern):
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def picture(array):
    return lambda file: Image.fromarray(array).save(file)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda f: remove(f, 'gtFine'),
            r'3 of 3 files of gtFine/train are missing, first .*aachen_000000.*gtFine_trainva',
        ),
        (lambda f: remove(f, 'disparity/val/*/*_000001_*'), r'1 of 2 files of disparity/val are missing'),
        (lambda f: remove(f, 'camera/train/bochum'), r'1 of 3 files of camera/train are missing'),
        (lambda f: remove(f, 'leftImg8bit/val'), r'leftImg8bit/val has no CITY/\*_leftImg8bit\.png'),
    ],
)
def test_missing_raw_files_are_named(raw, tmp_path, change, message):
    folder = shutil.copytree(raw, tmp_path / 'raw')
    change(folder)
    with pytest.raises(DataError, match=message):
        open_source(str(folder), None, 7, 'metric')


@pytest.mark.parametrize(
    ('kind', 'write', 'message'),
    [
        ('gtFine', picture(np.full((64, 128), 40, np.uint8)), 'has label 40; label ids end at 33'),
        ('gtFine', picture(np.zeros((64, 128, 3), np.uint8)), "is of the kind 'RGB', not 8-bit numbers"),
        ('gtFine', picture(np.zeros((32, 64), np.uint8)), r'is \(32, 64\), its image \(64, 128\)'),
        ('disparity', picture(np.zeros((64, 128), np.uint8)), "is of the kind 'L', not 16-bit numbers"),
        ('leftImg8bit', lambda f: f.write_bytes(f.read_bytes()[:900]), 'cannot be read as a picture'),
        ('disparity', lambda f: f.write_bytes(b'nothing'), 'cannot be read as a picture'),
        ('camera', lambda f: f.write_text('{"extrinsic": {}}'), 'is no camera file with extrinsic.baseline'),
        ('camera', lambda f: f.write_text('not json'), 'is no camera file'),
        (
            'camera',
            lambda f: f.write_text(json.dumps({'extrinsic': {'baseline': 0}, 'intrinsic': {'fx': 1}})),
            r'has baseline · fx = 0\.0, which must be positive',
        ),
    ],
)
def test_malformed_raw_files_are_named(raw, tmp_path, kind, write, message):
    folder = shutil.copytree(raw, tmp_path / 'raw')
    (file,) = (f for f in (folder / kind / 'train/bochum').iterdir() if 'instance' not in f.name)
    write(file)
    reader = open_source(str(folder), None, 7, 'metric')
    with pytest.raises(DataError, match=message) as raised:
        reader.read('train', 2)
    assert file.name in str(raised.value)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('absent', None, 7, 'inverse'), 'which is no folder'),
        (('folder', None, 8, 'inverse'), '`classes` is 8; Cityscapes has 7 categories or 19'),
        (('folder', None, 7, 'linear'), "`depth` is 'linear'; choose one of inverse, metric"),
        (('folder', None, 7, 'metric'), 'has no camera files'),
        (('folder', None, 19, 'inverse'), r'label_19 \(or label\) is missing'),
        (('folder', (64, 64), 7, 'inverse'), 'are 32x64 and are not resized'),
        (('folder/train', None, 7, 'inverse'), 'holds neither'),
    ],
)
def test_what_cannot_be_opened_is_named(folder, arguments, message):
    place = str(folder) + arguments[0].removeprefix('folder')
    with pytest.raises(DataError, match=message):
        open_source(place, *arguments[1:])


def test_labels_of_another_kind_are_warned_of(tmp_path):
    """Seven categories in a folder called label/, read as nineteen classes."""
    folder = source.write_folder(tmp_path / 'files', classes=7, label='label')
    data = prepared.prepare('cityscapes', tmp_path / 'out', {'classes': 19}, folder)
    assert data.metadata['notes'][-1].startswith('WARNING: 12 of 19 classes never occur in train: traffic sign, ')


def test_configs_that_cannot_be_are_named():
    for options in ({'classes': 8}, {'depth': 'far'}):
        with pytest.raises(UserError, match=f'`data.{next(iter(options))}` is'):
            prepared.opened('cityscapes', None, height=32, width=64, **options)
