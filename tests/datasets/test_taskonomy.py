"""The official Taskonomy tree: every value as documented, what is missing or damaged left out and listed."""

import json

import numpy as np
import pytest
from PIL import Image

from mtkd_jax.datasets.errors import DataError, FrameExcluded
from mtkd_jax.datasets.files import pictures
from mtkd_jax.datasets.storage.verification import verify
from mtkd_jax.datasets.taskonomy import storing
from mtkd_jax.datasets.taskonomy.files import Tree, tiny_split
from mtkd_jax.types import UserError
from tests.datasets import prepared
from tests.datasets import taskonomy_source as source

ORDER = [('hanson', 2, 0), ('hanson', 2, 1), ('hanson', 10, 0), ('merom', 0, 3)]


@pytest.fixture
def tree(tmp_path):
    return source.write(tmp_path / 'tree')


def prepare(tree, tmp_path, size=source.SIZE):
    prepared.prepare('taskonomy', tmp_path / 'out', dict(zip(('height', 'width'), size, strict=True)), tree)
    return {n: prepared.opened('taskonomy', str(tmp_path / 'out'), height=32, width=64, classes=n) for n in (17, 18)}


def test_the_tiny_split():
    split = tiny_split()
    assert {name: len(buildings) for name, buildings in split.items()} == {'train': 25, 'validation': 5, 'test': 5}
    assert len(set().union(*split.values())) == 35
    assert 'hanson' in split['train']
    assert 'ihlen' in split['test']


def test_values_at_the_files_own_size(tree, tmp_path):
    by_classes = prepare(tree, tmp_path)
    data = by_classes[18]
    assert data.counts == {'train': 4, 'validation': 1, 'test': 1}
    assert data.classes == storing.CLASSES
    for i, view in enumerate(ORDER):
        true, found = source.raw(source.seed(*view)), data.sources['train'][i]
        assert found['index'] == i
        np.testing.assert_array_equal(found['image'], true['image'])
        np.testing.assert_array_equal(found['segmentation'][..., 0], true['segmentation'])
        depth = np.where(true['depth'] < 64_500, true['depth'], 0)
        np.testing.assert_array_equal(found['depth'][..., 0] * 512, depth)
        for name in ('keypoints', 'edges'):
            np.testing.assert_array_equal(np.rint(found[name][..., 0].astype(np.float64) * 65_535), true[name])
            np.testing.assert_allclose(found[name][..., 0], true[name] / 65_535, rtol=1e-6)
        # Brought to unit length before and after: a step of 1/127 at most.
        length = np.linalg.norm(found['normals'], axis=-1)
        defined = (true['normals'] != 127).any(-1)
        np.testing.assert_allclose(length, defined, atol=1e-6)
        vectors = true['normals'].astype(np.float64) - 127
        assert np.abs(found['normals'] * 127 - vectors)[defined].max() < 2

        void = by_classes[17].sources['train'][i]['segmentation'][..., 0]
        np.testing.assert_array_equal(void, true['segmentation'].astype(int) - 1)
    assert by_classes[17].classes == storing.CLASSES[1:]
    assert data.metadata['targets'] == ['segmentation', 'depth', 'normals', 'keypoints', 'edges']
    assert len(data.metadata['missing_buildings']['train']) == 23
    assert 'excluded' not in data.metadata
    verify(data)


def test_resizing_keeps_to_defined_pixels(tmp_path):
    tree = source.write(tmp_path / 'tree', size=(64, 128))
    found = Tree(tree, source.SIZE).read('train', 1)
    true = source.raw(source.seed('hanson', 2, 1), (64, 128))

    def quarters(array):
        return array.reshape(32, 2, 64, 2, -1).astype(np.float64)

    np.testing.assert_allclose(found['image'], quarters(true['image']).mean((1, 3)) / 255, atol=1.01 / 255)
    np.testing.assert_array_equal(found['segmentation'][..., 0], true['segmentation'][::2, ::2])
    np.testing.assert_allclose(found['edges'], quarters(true['edges']).mean((1, 3)) / 65_535, rtol=1e-5)
    defined = quarters((true['depth'] > 0) & (true['depth'] < 64_500))
    count = defined.sum((1, 3))
    total = (quarters(true['depth']) * defined).sum((1, 3)) / 512
    np.testing.assert_allclose(found['depth'], np.where(count >= 2, total / np.maximum(count, 1), 0), rtol=1e-5)
    vectors = true['normals'].astype(np.float64) - 127
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    total = quarters(unit).sum((1, 3))
    clear = (np.linalg.norm(total, axis=-1) > 0.2) & (count[..., 0] >= 2)
    direction = total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-9)
    np.testing.assert_allclose(found['normals'][clear], direction[clear], atol=1e-4)


def test_storing_is_undone_by_reading(tree):
    reader = Tree(tree, source.SIZE)
    frame = reader.read('train', 0)
    stored = storing.encode(frame)
    read = storing.decode(stored)
    again = storing.encode({**read, 'image': read['image'] / np.float32(255)})
    for name, array in stored.items():
        assert again[name].dtype == array.dtype
        # A vector of whole numbers, brought to unit length, is rounded to itself or its neighbour.
        np.testing.assert_allclose(again[name].astype(int), array.astype(int), atol=1 if name == 'normals' else 0)


def test_missing_domains_and_views(tmp_path):
    tree = source.write(tmp_path / 'tree', without=('normals', 'edges'))
    source.file_of(tree, 'depth', 'hanson', 2, 1).unlink()
    source.file_of(tree, 'image', 'merom', 0, 3).unlink()
    source.file_of(tree, 'keypoints', 'merom', 0, 3).unlink()
    data = prepare(tree, tmp_path)[17]
    assert data.counts['train'] == 2
    assert data.metadata['targets'] == ['segmentation', 'depth', 'keypoints']
    assert data.metadata['excluded'] == {
        'train': ['hanson/point_2_view_1: no depth_zbuffer', 'merom/point_0_view_3: no rgb, keypoints2d']
    }
    example = data.sources['train'][1]
    assert not example['normals'].any()
    assert (example['edges'] == -1).all()
    assert json.loads((data.path / 'metadata.json').read_text())['excluded'] == data.metadata['excluded']
    verify(prepared.opened('taskonomy', str(tmp_path / 'out'), height=32, width=64, classes=18))


def test_damaged_files_are_left_out_and_listed(tree, tmp_path):
    whole = source.file_of(tree, 'normals', 'hanson', 2, 0)
    whole.write_bytes(whole.read_bytes()[:500])
    small = source.file_of(tree, 'edges', 'hanson', 10, 0)
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(small)
    data = prepare(tree, tmp_path)[17]
    assert [int(example['index']) for example in data.sources['train']] == [1, 3]
    first, second = data.metadata['excluded']['train']
    assert first.startswith(f'{whole} cannot be read as a picture')
    assert second == f'{small} is (8, 8), its image (32, 64).'


@pytest.mark.parametrize('lost', ['missing', 'disk'])
def test_files_that_are_lost_stop_it(tree, monkeypatch, lost):
    """A disk or a network that is gone half-way must not make a smaller data set."""
    reader = Tree(tree, source.SIZE)
    if lost == 'missing':
        source.file_of(tree, 'depth', 'hanson', 2, 1).unlink()
    else:

        def fail(file):
            raise OSError(5, 'Input/output error')

        monkeypatch.setattr(pictures.Image, 'open', fail)
    with pytest.raises(DataError, match='is missing' if lost == 'missing' else 'see whether its disk is') as raised:
        reader.read('train', 1)
    assert not isinstance(raised.value, FrameExcluded)


def test_a_split_of_which_nothing_can_be_used(tree, tmp_path):
    source.file_of(tree, 'depth', 'ihlen', 1, 1).write_bytes(b'')
    with pytest.raises(DataError, match=r'No frame of the split test can be used; the first: .*ihlen'):
        prepare(tree, tmp_path)


def test_labels_out_of_range_stop_it(tree, tmp_path):
    Image.fromarray(np.full(source.SIZE, 18, np.uint8)).save(source.file_of(tree, 'segmentation', 'hanson', 2, 1))
    with pytest.raises(DataError, match=r'has the value 18; labels end at 17'):
        prepare(tree, tmp_path)


@pytest.mark.parametrize(
    ('without', 'message'),
    [
        (('image',), 'has no folder rgb'),
        (('segmentation', 'depth', 'normals', 'keypoints', 'edges'), 'has no folder any of segment_semantic, depth_z'),
    ],
)
def test_trees_that_are_none_are_named(tmp_path, without, message):
    with pytest.raises(DataError, match=message):
        Tree(source.write(tmp_path / 'tree', without), source.SIZE)


def test_a_tree_without_test_buildings_is_refused(tree):
    with pytest.raises(DataError, match=r'no view of a building of the split test .*; its buildings are nowhere'):
        Tree(tree, source.SIZE, {'train': ['hanson'], 'test': ['nowhere']})
    assert Tree(tree, source.SIZE).skipped == ('rgb/elsewhere',)


def test_configs_that_cannot_be_are_named():
    with pytest.raises(UserError, match=r'`data\.classes` is 16; taskonomy has 17'):
        prepared.opened('taskonomy', None, height=32, width=64, classes=16)
