"""The user's NYUv2 files: every value read as it is, and every malformed file named."""

import shutil
import sys

import numpy as np
import pytest

from mtkd_jax import datasets
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.surfaces import CENTRE, FOCAL, normals_from_depth, resize_defined
from mtkd_jax.datasets.nyuv2 import OFFICIAL, files, raw
from mtkd_jax.datasets.nyuv2.builder import open_source
from mtkd_jax.reporting.prepared import describe
from mtkd_jax.types import UserError
from tests.datasets import nyuv2_source


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    return nyuv2_source.write_folder(tmp_path_factory.mktemp('good'))


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / 'nyuv2')


def read_all(source):
    reader = open_source(str(source), None)
    return {split: [reader.read(split, i) for i in range(count)] for split, count in reader.splits.items()}


@pytest.mark.parametrize(
    'dtypes', [{}, {'image': np.float64, 'depth': np.float64}, {'label': np.int64}, {'label': np.int8}]
)
def test_preprocessed_values_are_kept(tmp_path, dtypes):
    frames = read_all(nyuv2_source.write_folder(tmp_path, dtypes))
    assert {split: len(examples) for split, examples in frames.items()} == {'train': 5, 'test': 3}
    for number, split in enumerate(('train', 'test')):
        for i, found in enumerate(frames[split]):
            true = nyuv2_source.frame([number, i])
            assert found['index'] == i
            for name, key in (('image', 'image'), ('depth', 'depth'), ('normals', 'normal')):
                assert found[name].dtype == np.float32
                np.testing.assert_array_equal(found[name], true[key])
            assert found['segmentation'].dtype == np.int8
            np.testing.assert_array_equal(found['segmentation'][..., 0], true['label'])


def test_label_and_depth_may_have_or_lack_a_channel(folder):
    file = folder / 'train/label/2.npy'
    np.save(file, np.load(file)[..., None])
    file = folder / 'train/depth/2.npy'
    np.save(file, np.load(file)[..., 0])
    found = open_source(str(folder), None).read('train', 2)
    np.testing.assert_array_equal(found['segmentation'][..., 0], nyuv2_source.frame([0, 2])['label'])
    np.testing.assert_array_equal(found['depth'], nyuv2_source.frame([0, 2])['depth'])


def change(file, **at):
    """Replaces one value of a file, or all."""
    array = np.load(file).astype(at.get('dtype', np.float64))
    if 'times' in at:
        array = array * at['times']
    if 'value' in at:
        array.flat[17] = at['value']
    np.save(file, array)


def truncate(file):
    file.write_bytes(file.read_bytes()[:200])


def shrink(file):
    np.save(file, np.load(file)[:-1])


MALFORMED = {
    'no folder': (lambda f: shutil.rmtree(f / 'val/depth'), 'val/depth is missing'),
    'no split': (lambda f: shutil.rmtree(f / 'val'), 'val/image is missing'),
    'empty split': (lambda f: [p.unlink() for p in f.glob('val/*/*')], 'val has no frames'),
    'quadruple': (lambda f: (f / 'train/depth/3.npy').unlink(), r'train/depth/3\.npy is missing'),
    'last': (lambda f: (f / 'val/normal/2.npy').unlink(), r'val/normal/2\.npy is missing'),
    'gap': (lambda f: [p.unlink() for p in f.glob('train/*/1.npy')], r'train/image/1\.npy is missing.*Copy'),
    'truncated': (lambda f: truncate(f / 'train/image/2.npy'), r'train/image/2\.npy cannot be read.*copy it again'),
    'no bytes': (lambda f: (f / 'val/label/0.npy').write_bytes(b''), r'val/label/0\.npy cannot be read'),
    'objects': (lambda f: np.save(f / 'val/label/0.npy', {'a': 1}), r'val/label/0\.npy cannot be read'),
    'text': (lambda f: np.save(f / 'val/label/0.npy', ['a']), r'val/label/0\.npy holds no array of numbers'),
    'channels first': (
        lambda f: np.save(f / 'train/image/0.npy', np.zeros((3, 32, 64))),
        r'train/image/0\.npy has shape \(3, 32, 64\).*channels last',
    ),
    'other size': (lambda f: shrink(f / 'train/depth/4.npy'), r'train/depth/4\.npy has shape \(31, 64, 1\).*32, 64, 1'),
    'NaN': (lambda f: change(f / 'val/depth/1.npy', value=np.nan), r'val/depth/1\.npy has NaN.*as 0'),
    'infinite': (lambda f: change(f / 'val/normal/1.npy', value=np.inf), r'val/normal/1\.npy has NaN or infinite'),
    'label 13': (lambda f: change(f / 'val/label/1.npy', value=13), r'val/label/1\.npy has values from -1 to 13'),
    'label -2': (lambda f: change(f / 'val/label/1.npy', value=-2), r'val/label/1\.npy has values from -2 to 12'),
    'label 255': (lambda f: change(f / 'val/label/1.npy', value=255), r'to 255; labels must be 0\.\.12, or -1'),
    'blended': (lambda f: change(f / 'val/label/1.npy', value=0.5), r'val/label/1\.npy .* not whole numbers'),
    '8-bit': (lambda f: change(f / 'train/image/1.npy', times=255, dtype=np.float32), r'1\.npy .*divide 8-bit'),
    'negative': (lambda f: change(f / 'train/depth/1.npy', value=-0.5), r'train/depth/1\.npy .*from -0\.5.*metres'),
    'long normal': (lambda f: change(f / 'train/normal/1.npy', value=1.01), r'normal/1\.npy .* to 1\.01; normals must'),
}


@pytest.mark.parametrize('case', MALFORMED)
def test_a_malformed_folder_is_named(folder, case):
    spoil, message = MALFORMED[case]
    spoil(folder)
    with pytest.raises(DataError, match=message):
        read_all(folder)


def test_normals_just_beyond_one_are_rounding(folder):
    change(folder / 'train/normal/1.npy', value=1.0005)
    assert len(read_all(folder)['train']) == 5


def test_a_source_that_is_nothing_is_named(tmp_path):
    with pytest.raises(DataError, match='absent, which does not exist'):
        open_source(str(tmp_path / 'absent'), None)
    with pytest.raises(DataError, match=r'holds neither .*normal.* nor nyu_depth_v2_labeled\.mat'):
        open_source(str(tmp_path), None)
    (tmp_path / 'nyu.zip').touch()
    with pytest.raises(DataError, match=r'nyu\.zip holds neither'):
        open_source(str(tmp_path / 'nyu.zip'), None)


def test_preprocessed_files_are_not_resized(good):
    with pytest.raises(DataError, match=r'`size` is 64x64, but the files in .* are 32x64'):
        open_source(str(good), (64, 64))
    assert open_source(str(good), (32, 64)).size == (32, 64)


def raw_reader(file, size=(48, 64)):
    return raw.RawFile(file, size, official=nyuv2_source.OFFICIAL)


def test_raw_frames_are_turned_and_labels_looked_up(tmp_path):
    reader = raw_reader(nyuv2_source.write_raw(tmp_path / 'nyu.mat'))
    images, depths, labels = nyuv2_source.raw_arrays()
    # Labels 0..4 → 40 classes (–, 5, 1, 40, 22) → 13 classes from 1 (–, 4, 12, 7, 3) → ids.
    ids = np.array([-1, 3, 11, 6, 2])
    assert reader.splits == {'train': 3, 'test': 3}
    for split, numbers in (('train', (2, 3, 6)), ('test', (1, 4, 5))):
        for i, number in enumerate(numbers):
            found = reader.read(split, i)
            assert found['index'] == number
            np.testing.assert_allclose(found['image'], images[number - 1] / 255, atol=1e-6)
            np.testing.assert_array_equal(found['segmentation'][..., 0], ids[labels[number - 1]])
            np.testing.assert_allclose(found['depth'][..., 0], depths[number - 1], rtol=1e-6)
            np.testing.assert_allclose(np.linalg.norm(found['normals'], axis=-1), 1, atol=1e-5)
            # Stored as in the preprocessed files: y points away, and what is seen faces the viewer.
            assert found['normals'][..., 1].max() < 0


def test_raw_frames_are_resized(tmp_path):
    reader = raw_reader(nyuv2_source.write_raw(tmp_path / 'nyu.mat'), (24, 32))
    images, depths, labels = nyuv2_source.raw_arrays()
    found = reader.read('test', 0)
    by_two = (24, 2, 32, 2)
    # Blocks of four pixels have one colour and one label.
    np.testing.assert_allclose(found['image'], images[0][::2, ::2] / 255, atol=1e-6)
    np.testing.assert_array_equal(found['segmentation'][..., 0], np.array([-1, 3, 11, 6, 2])[labels[0][::2, ::2]])
    np.testing.assert_allclose(found['depth'][..., 0], depths[0].reshape(by_two).mean((1, 3)), rtol=1e-5)


def test_a_folder_may_hold_the_raw_file(tmp_path):
    # The published tables need the published number of frames.
    nyuv2_source.write_raw(tmp_path / raw.FILE)
    with pytest.raises(DataError, match='has 6 frames in `images`; published are 1449'):
        open_source(str(tmp_path), None)


@pytest.mark.parametrize(
    ('replaced', 'message'),
    [
        ({'depths': None}, 'has no `depths`'),
        ({'labels': np.zeros((5, 64, 48), np.uint16)}, 'has 5 frames in `labels`; published are 6'),
        ({'labels': np.zeros((6, 48, 64), np.uint16)}, r'`labels` of shape \(6, 48, 64\)'),
        ({'images': np.zeros((6, 64, 48, 3), np.uint8)}, r'`images` of shape \(6, 64, 48, 3\)'),
        ({'images': np.zeros((6, 3, 64, 48), np.float32)}, '`images` as uint8'),
        ({'labels': np.full((6, 64, 48), 5, np.uint16)}, 'frame 2 has label 5; the published labels end at 4'),
        ({'depths': np.full((6, 64, 48), np.nan, np.float32)}, 'frame 2 has depth that is negative, NaN'),
        ({'depths': np.full((6, 64, 48), -1, np.float32)}, 'frame 2 has depth that is negative'),
    ],
)
def test_a_malformed_raw_file_is_named(tmp_path, replaced, message):
    file = nyuv2_source.write_raw(tmp_path / 'nyu.mat', **replaced)
    with pytest.raises(DataError, match=message):
        raw_reader(file).read('train', 0)


def test_a_truncated_raw_file_is_named(tmp_path):
    file = nyuv2_source.write_raw(tmp_path / 'nyu.mat')
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match=r'nyu\.mat cannot be read .* download it again'):
        raw_reader(file)


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    file = nyuv2_source.write_raw(tmp_path / 'nyu.mat')
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(DataError, match=r'pip install "mtkd_jax\[raw\]"'):
        raw_reader(file)


def test_official_tables_are_whole():
    tables = files.tables()
    every = sorted(tables['train_frames'] + tables['test_frames'])
    assert every == list(range(1, 1450))
    assert {split: len(tables[f'{split}_frames']) for split in ('train', 'test')} == OFFICIAL
    assert set(tables['label_to_40']) == set(range(1, 41))
    assert set(tables['class40_to_13']) == set(range(1, 14))
    assert len(files.class_names(13)) == 13


def plane_depth(normal, distance, size):
    """Depth of the plane n·p = d as the Kinect sees it."""
    height, width = size
    v, u = np.mgrid[:height, :width] + 0.5
    x = (u * 640 / width + 0.5 - CENTRE[0]) / FOCAL[0]
    y = -(v * 480 / height + 0.5 - CENTRE[1]) / FOCAL[1]
    return (-distance / (normal[0] * x + normal[1] * y - normal[2])).astype(np.float32)


@pytest.mark.parametrize('size', [(96, 128), (120, 96)])
@pytest.mark.parametrize('normal', [(0, 0, 1), (0.5, 0, 0.866), (-0.3, 0.5, 0.812), (0, -0.6, 0.8)])
def test_normals_of_a_plane(normal, size):
    normal = np.array(normal) / np.linalg.norm(normal)
    depth = plane_depth(normal, 2.5, size)
    assert depth.min() > 0
    hole = np.zeros(size, bool)
    hole[20:30, 40:60] = True
    found = normals_from_depth(np.where(hole, 0, depth).astype(np.float32))
    assert not found[hole].any()
    # To the last pixel beside the hole and at the border.
    assert np.linalg.norm(found[~hole] - normal, axis=-1).max() < 1e-3


def test_normals_do_not_blend_across_a_step():
    near, far = plane_depth((0, 0, 1), 1.5, (64, 64)), plane_depth((0.6, 0, 0.8), 3.5, (64, 64))
    left = np.arange(64)[None] < 32
    found = normals_from_depth(np.where(left, near, far))
    np.testing.assert_allclose(found[:, :32], np.broadcast_to([0, 0, 1], (64, 32, 3)), atol=1e-3)
    np.testing.assert_allclose(found[:, 32:], np.broadcast_to([0.6, 0, 0.8], (64, 32, 3)), atol=1e-3)


def test_normals_bear_sensor_noise():
    depth = plane_depth((0, 0.6, 0.8), 2.0, (288, 384))
    # A Kinect's noise grows with the square of the distance: 1.4 mm at 1 m.
    noisy = depth + np.random.default_rng(0).normal(size=depth.shape) * 0.0014 * depth**2
    angles = np.degrees(np.arccos(np.clip(normals_from_depth(noisy.astype(np.float32)) @ [0, 0.6, 0.8], -1, 1)))
    assert np.median(angles) < 6


def test_undefined_pixels_do_not_bleed():
    array = np.full((8, 8, 1), 4, np.float32)
    defined = np.ones((8, 8), bool)
    defined[:, :3] = False
    found = resize_defined(np.where(defined[..., None], array, 0), defined, (4, 4))[..., 0]
    # Columns: undefined, half defined, defined.
    np.testing.assert_allclose(found, np.broadcast_to([0, 4, 4, 4], (4, 4)), rtol=1e-6)


def prepare(source, out, classes=13, overwrite=False, **said):
    how = datasets.Preparation(str(source), str(out), overwrite=overwrite, **said)
    return datasets.named('nyuv2').prepare({'classes': classes}, how)


def test_a_files_type_is_not_that_of_the_arithmetic(tmp_path):
    import ml_dtypes

    true = nyuv2_source.frame([0, 0])
    dtypes = {'image': np.float16, 'depth': '>f8', 'normal': np.float16, 'label': '>i4'}
    folder = nyuv2_source.write_folder(tmp_path / 'half', dtypes)
    found = open_source(str(folder), None).read('train', 0)
    for name, key in (('image', 'image'), ('depth', 'depth'), ('normals', 'normal')):
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], true[key].astype(dtypes[key]).astype(np.float32))
    np.testing.assert_array_equal(found['segmentation'][..., 0], true['label'])
    for array in (true['depth'].astype(ml_dtypes.bfloat16), true['depth'].astype(complex), true['depth'].astype(str)):
        np.save(folder / 'train/depth/0.npy', array)
        with pytest.raises(DataError, match=r'train/depth/0\.npy holds no array of numbers but of'):
            open_source(str(folder), None).read('train', 0)
    np.save(folder / 'train/depth/0.npy', np.full((32, 64), 1e300))
    with pytest.raises(DataError, match=r'train/depth/0\.npy has NaN or infinite values'):
        open_source(str(folder), None).read('train', 0)


def in_millimetres(folder):
    """Rewrites a folder as others have it: labels uint8 with 255 as void, depth in whole millimetres."""
    for file in folder.glob('*/label/*'):
        label = np.load(file)
        np.save(file, np.where(label < 0, 255, label).astype(np.uint8))
    for file in folder.glob('*/depth/*'):
        np.save(file, np.rint(1000 * np.load(file)).astype(np.uint16))


def test_an_ignore_label_and_a_depth_scale_are_said_and_recorded(folder, tmp_path):
    in_millimetres(folder)
    out = tmp_path / 'out'
    with pytest.raises(DataError, match=r'train/label/0\.npy has values from 0 to 255; .* give --ignore_label=255'):
        prepare(folder, out)
    data = prepare(folder, out, ignore_label=255, depth_scale=0.001)
    for i in range(5):
        true, found = nyuv2_source.frame([0, i]), data.sources['train'][i]
        np.testing.assert_array_equal(found['segmentation'][..., 0], true['label'])
        np.testing.assert_allclose(found['depth'], true['depth'], atol=6e-4)
    assert (data.metadata['ignore_label'], data.metadata['depth_scale']) == (255, 0.001)
    assert (data.made['ignore_label'], data.made['depth_scale']) == (255, 0.001)
    shown = describe(data, [])
    assert 'Ignore label: 255.' in shown
    assert 'Depth scale: 0.001.' in shown
    # What is there is never taken for what was asked for.
    assert prepare(folder, out).metadata == data.metadata
    with pytest.raises(DataError, match=r'was prepared with 0\.001 as `depth_scale`, not 0\.01; give --overwrite'):
        prepare(folder, out, ignore_label=255, depth_scale=0.01)
    before = data.sources['test'][0]['depth']
    again = prepare(folder, out, overwrite=True, ignore_label=255, depth_scale=0.002)
    np.testing.assert_allclose(again.sources['test'][0]['depth'], 2 * before, rtol=1e-6)


@pytest.mark.parametrize('scale', [0, -1, np.nan, np.inf])
def test_a_depth_scale_that_is_none_is_refused(good, tmp_path, scale):
    with pytest.raises(DataError, match=r'`depth_scale` is .*; give a positive number'):
        prepare(good, tmp_path, depth_scale=float(scale))


def test_published_files_need_neither(tmp_path):
    nyuv2_source.write_raw(tmp_path / raw.FILE)
    for said in ({'ignore_label': 255}, {'depth_scale': 0.001}):
        with pytest.raises(DataError, match=f'`{next(iter(said))}` is for preprocessed files.*leave out'):
            prepare(tmp_path, tmp_path / 'out', **said)


def test_forty_classes_are_a_variant_of_their_own(folder, tmp_path):
    label = np.random.default_rng(0).integers(-1, 40, (32, 64))
    for file in folder.glob('*/label/*'):
        np.save(file, label)
    with pytest.raises(DataError, match=r'to 39; labels must be 0\.\.12'):
        prepare(folder, tmp_path / 'out')
    data = prepare(folder, tmp_path / 'out', classes=40)
    assert data.path.parts[-2] == '32x64_40classes'
    assert (len(data.classes), data.classes[:2], data.classes[-1]) == (40, ('wall', 'floor'), 'otherprop')
    np.testing.assert_array_equal(data.sources['test'][0]['segmentation'][..., 0], label)
    opened = datasets.named('nyuv2').open({'height': 32, 'width': 64, 'classes': 40}, str(tmp_path / 'out'))
    assert opened.metadata == data.metadata
    with pytest.raises(datasets.DataNotPrepared, match=r'Prepared there are: 32x64_40classes'):
        datasets.named('nyuv2').open({'height': 32, 'width': 64}, str(tmp_path / 'out'))
    task = datasets.named('nyuv2').tasks({'classes': 40})['segmentation']
    assert task.channels == 40
    with pytest.raises(UserError, match=r'`data.classes` is 14; nyuv2 has 13 or 40'):
        prepare(folder, tmp_path / 'out', classes=14)


def test_forty_classes_of_the_raw_file_are_the_official_ones(tmp_path):
    file = nyuv2_source.write_raw(tmp_path / 'nyu.mat')
    found = raw.RawFile(file, (48, 64), 40, nyuv2_source.OFFICIAL).read('test', 0)
    _, _, labels = nyuv2_source.raw_arrays()
    # Labels 0..4 → 40 classes from 1 (–, 5, 1, 40, 22) → ids.
    np.testing.assert_array_equal(found['segmentation'][..., 0], np.array([-1, 4, 0, 39, 21])[labels[0]])


@pytest.mark.parametrize(
    ('replaced', 'message'),
    [
        ({'depths': np.array(b'text')}, r'has 0 frames in `depths`'),
        ({'depths': np.full((6, 64, 48), b'x')}, '`depths` as numbers'),
        ({'images': np.zeros((6, 3, 0, 0), np.uint8)}, r'`images` of shape \(6, 3, 0, 0\)'),
        ({'depths': np.full((6, 64, 48), 1e300)}, 'frame 2 has depth that is negative, NaN or infinite'),
    ],
)
def test_an_odd_raw_file_is_named(tmp_path, replaced, message):
    file = nyuv2_source.write_raw(tmp_path / 'nyu.mat', **replaced)
    with pytest.raises(DataError, match=message):
        raw_reader(file).read('train', 0)


def test_depth_of_other_types_is_read_as_metres(tmp_path):
    _, depths, _ = nyuv2_source.raw_arrays()
    file = nyuv2_source.write_raw(tmp_path / 'nyu.mat', depths=depths.transpose(0, 2, 1).astype('>f8'))
    found = raw_reader(file).read('test', 0)
    np.testing.assert_allclose(found['depth'][..., 0], depths[0], rtol=1e-6)
