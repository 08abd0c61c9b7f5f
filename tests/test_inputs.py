"""Files that users give to `predict`, `evaluate` and `compare`: their names, their order, their types."""

import importlib

import ml_dtypes
import numpy as np
import pytest
from PIL import Image

from mtkd_jax.data.images import read_picture
from mtkd_jax.experiment import outputs
from mtkd_jax.experiment.inputs import find
from mtkd_jax.experiment.results import workdirs
from mtkd_jax.names import natural
from mtkd_jax.types import UserError

evaluate = importlib.import_module('mtkd_jax.evaluate')  # the name in the package is the function

TILTED = np.broadcast_to(np.float32([0.36, -0.48, 0.8]), (2, 4, 4, 3))


def colour(file, value):
    Image.new('RGB', (4, 4), (value, 0, 0)).save(file)


def read(*patterns):
    found = find([str(pattern) for pattern in patterns])
    return found.names, [int(read_picture(file)[0, 0, 0]) for file in found.pictures()]


@pytest.mark.parametrize('name', ['img[1]', 'a*', 'a?', 'lr=1e-3', 'two words', 'größe 漢', 'a{b}', '~', '-x'])
def test_a_path_that_exists_is_that_path(tmp_path, name):
    colour(tmp_path / 'img1.png', 1)
    colour(tmp_path / 'ab.png', 1)
    colour(tmp_path / f'{name}.png', 2)
    assert read(tmp_path / f'{name}.png') == ([name], [2])


def test_a_folder_means_its_images_and_numbers_sort_as_numbers(tmp_path):
    folder = tmp_path / 'in[0-9]'
    (folder / 'folder.png').mkdir(parents=True)
    for i in (10, 2, 0, 1):
        colour(folder / f'{i}.png', i)
    for other in ('notes.txt', '.hidden.png', '._1.png', 'Thumbs.db'):
        (folder / other).write_bytes(b'no image')
    assert read(folder) == (['0', '1', '2', '10'], [0, 1, 2, 10])
    colour(tmp_path / 'b.png', 7)
    assert read(tmp_path / 'b.png', folder)[0] == ['b', '0', '1', '2', '10']
    folder.rename(tmp_path / 'in')
    assert read(tmp_path / 'in' / '*[0-9].png') == (['0', '1', '2', '10'], [0, 1, 2, 10])


@pytest.mark.parametrize(
    'pattern', ['', 'absent.png', 'absent*.png', 'empty', 'empty/*', 'a.png\0', 'x' * 300, '[', '**']
)
def test_an_item_that_matches_nothing_is_an_error(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    colour(tmp_path / 'empty' / '.a.png', 1)
    with pytest.raises(UserError, match='`inputs`'):
        read(pattern)


def test_patterns_of_workdirs_are_paths_first(tmp_path):
    for name in ('lr[1]', 'lr1', 'lr10', 'lr2'):
        (tmp_path / name).mkdir()
    assert workdirs([tmp_path / 'lr[1]']) == [tmp_path / 'lr[1]']
    assert [path.name for path in workdirs([tmp_path / 'lr[0-9]*'])] == ['lr1', 'lr2', 'lr10']
    for absent in ('', str(tmp_path / 'absent')):
        with pytest.raises(UserError, match='matches no folder'):
            workdirs([tmp_path / 'lr1', absent])


def test_text_sorts_beside_numbers():
    assert sorted(['b', '10', 'a2', '', '1', 'a10', '01'], key=natural) == ['', '01', '1', '10', 'a2', 'a10', 'b']


def test_names_travel_with_predictions(tmp_path):
    names, predictions = ['img[1]', '2', '10', 'größe'], np.arange(4, dtype=np.float32)[:, None, None, None]
    predictions = predictions * np.ones((1, 4, 4, 1), np.float32)
    with outputs.Collected(tmp_path, names) as files:
        for prediction in predictions:
            files.add_arrays({'depth': prediction})
        files.finish()
    np.savez(tmp_path / 't.npz', depth=predictions, names=names)
    found = evaluate.score(tmp_path / 'predictions.npz', tmp_path / 't.npz', classes=13)
    assert {'depth_abs', 'depth_rel'} <= set(found)
    shares = {f'depth_delta{i}': 100.0 for i in (1, 2, 3)}
    assert {**found, **shares} == found
    assert {found[name] for name in found.keys() - shares.keys()} == {0}


def scored(tmp_path, targets, **predictions):
    np.savez(tmp_path / 'p.npz', **predictions)
    np.savez(tmp_path / 't.npz', **targets)
    return evaluate.score(tmp_path / 'p.npz', tmp_path / 't.npz', classes=5)


@pytest.mark.parametrize('dtype', [np.float16, '>f2', '>f4', '>f8', np.float64, np.longdouble])
@pytest.mark.parametrize('scale', [1, 300])
def test_the_arithmetic_is_wide_whatever_the_file_holds(tmp_path, dtype, scale):
    # In float16, the squares of a vector of length 300 overflow, and the angle becomes 90°.
    prediction = (scale * (TILTED + np.float32([0.02, 0, 0]))).astype(dtype)
    wide = prediction.astype(np.float64)
    cosine = (wide * TILTED).sum(-1) / np.linalg.norm(wide, axis=-1)
    found = scored(tmp_path, {'normals': TILTED.astype(np.float32)}, normals=prediction)
    assert found['normal_mean'] == pytest.approx(np.degrees(np.arccos(cosine)).mean(), rel=1e-3)


@pytest.mark.parametrize('dtype', ['>i4', 'u1', '>i8', 'f2', '>f8', bool])
def test_class_ids_of_every_type(tmp_path, dtype):
    ids = np.array([[[0, 1], [1, 0]]]).astype(dtype)
    assert scored(tmp_path, {'segmentation': ids}, segmentation=ids)['miou'] == 100


@pytest.mark.parametrize(
    ('targets', 'predictions', 'message'),
    [
        (TILTED, TILTED.astype(ml_dtypes.bfloat16), r'p\.npz: `normals` is of the type \|V2.*float32'),
        (TILTED, TILTED.astype(complex), r'`normals` is of the type complex128'),
        (TILTED, np.full(TILTED.shape, 'up'), r'`normals` is of the type <U2'),
        (TILTED, TILTED * np.nan, r'`normals` has NaN'),
        (TILTED, TILTED.astype(np.float64) * 1e300, r'`normals` has NaN or infinite'),
        ((TILTED + 1) / 2, TILTED, r't\.npz: `normals` has normals of the median length'),
        (TILTED[0, 0, 0], TILTED, r'\(2, 4, 4, 3\), its target'),
        (np.float32(1), TILTED, r'has shape \(\)'),
        (np.zeros(0), TILTED, r'has shape \(0,\)'),
    ],
)
def test_arrays_that_mean_nothing_are_one_sentence(tmp_path, targets, predictions, message):
    with pytest.raises(UserError, match=message):
        scored(tmp_path, {'normals': targets}, normals=predictions)


def test_targets_in_millimetres_are_refused(tmp_path):
    with pytest.raises(UserError, match=r't\.npz: `depth` has a median depth of 2000.*millimetres'):
        scored(tmp_path, {'depth': np.full((1, 4, 4), 2000)}, depth=np.ones((1, 4, 4)))


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'\x93NUMPY', b'x' * 100])
def test_a_damaged_npz_is_one_sentence(tmp_path, content):
    (tmp_path / 'p.npz').write_bytes(content)
    with pytest.raises(UserError, match=r'p\.npz is no \.npz'):
        evaluate.score(tmp_path / 'p.npz', tmp_path / 'p.npz', classes=5)


def test_json_has_no_infinity():
    assert 'null' in evaluate.to_json({'a': float('inf')})
