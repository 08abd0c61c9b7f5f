"""evaluate, predict and convert, called as functions: files in, files and numbers out, clear errors."""

import importlib
import json

import jax
import numpy as np
import pytest
from PIL import Image

from mtkd_jax import convert, predict
from mtkd_jax.experiment.inputs import find
from mtkd_jax.experiment.models import build_network
from mtkd_jax.inference import make_predictor
from mtkd_jax.training.folder import load_model, save_model
from mtkd_jax.types import MAIN, UserError
from tests import golden_weights, small

# The command's module; `mtkd_jax.evaluate` is the function.
evaluate = importlib.import_module('mtkd_jax.evaluate')

SPEC = {
    'backbone': 'segnet',
    'widths': list(small.WIDTHS),
    'network': {},
    'tasks': list(small.NAMES),
    'compute_dtype': 'float32',
    'data': {'dataset': 'nyuv2', 'height': 32, 'width': 64, 'classes': 5, 'depth_maximum': 10.0},
}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A model folder with an untrained network."""
    import jax
    import jax.numpy as jnp

    network, _ = build_network(SPEC)
    folder = tmp_path_factory.mktemp('model')
    save_model(folder, SPEC, network.init(jax.random.key(0), jnp.zeros((1, 32, 64, 3)), train=False))
    return folder


@pytest.fixture
def golden_targets(tmp_path):
    inputs = golden_weights.arrays('inputs')
    targets = {'segmentation': inputs['label'], 'depth': inputs['depth'], 'normals': inputs['normal']}
    np.savez(tmp_path / 'targets.npz', **targets)
    return tmp_path / 'targets.npz'


def test_score_takes_logits_ids_and_branches(tmp_path, golden_targets):
    golden = golden_weights.arrays('metrics')
    expected = json.loads((golden_weights.FOLDER / 'metrics.json').read_text())
    ids = golden['logits'].argmax(-1)
    np.savez(
        tmp_path / 'p.npz', **{'segmentation': golden['logits'], 'student/segmentation': ids, 'depth': golden['depth']}
    )
    found = evaluate.score(tmp_path / 'p.npz', golden_targets, classes=13)
    assert found['miou'] == pytest.approx(100 * expected['miou'], rel=1e-4)
    assert found['student/miou'] == pytest.approx(found['miou'])
    assert found['depth_rel'] == pytest.approx(expected['depth_rel'], rel=1e-4)
    assert 'normal_mean' not in found


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'normal': np.zeros((2, 32, 64, 3))}, 'has no `normal`'),
        ({'depth': np.zeros((2, 32, 32, 1))}, '`depth` is .*32, 32, 1'),
        ({'normals': np.full((2, 32, 64, 3), np.nan)}, '`normals` has NaN'),
        ({}, 'holds no arrays'),
    ],
)
def test_score_names_what_is_wrong(tmp_path, golden_targets, arrays, message):
    np.savez(tmp_path / 'p.npz', **arrays)
    with pytest.raises(UserError, match=message):
        evaluate.score(tmp_path / 'p.npz', golden_targets, classes=13)


@pytest.mark.parametrize(
    ('targets', 'message'),
    [
        ({'segmentation': np.full((2, 32, 64, 1), 255)}, r'values from 255 to 255; labels must be 0\.\.12, or -1'),
        ({'segmentation': np.full((2, 32, 64, 1), 0.5)}, 'not whole numbers'),
        ({'segmentation': np.zeros((2, 32, 64, 13))}, 'its last axis must be 1'),
        ({'normals': np.zeros((2, 32, 64, 1))}, 'its last axis must be 3'),
    ],
)
def test_score_names_what_is_wrong_with_targets(tmp_path, targets, message):
    (name,) = targets
    np.savez(tmp_path / 't.npz', **targets)
    np.savez(tmp_path / 'p.npz', **{name: np.zeros((2, 32, 64, 13 if name == 'segmentation' else 3))})
    with pytest.raises(UserError, match=message):
        evaluate.score(tmp_path / 'p.npz', tmp_path / 't.npz', classes=13)


def test_score_refuses_one_branch_under_two_names(tmp_path, golden_targets):
    depth = golden_weights.arrays('metrics')['depth']
    np.savez(tmp_path / 'p.npz', **{'depth': depth, 'main/depth': depth})
    with pytest.raises(UserError, match='has `depth` twice'):
        evaluate.score(tmp_path / 'p.npz', golden_targets, classes=13)


def test_json_has_null_for_what_does_not_exist():
    assert json.loads(evaluate.to_json({'a': float('nan'), 'b': {'c': 1.5}})) == {'a': None, 'b': {'c': 1.5}}


def test_predict_from_files_and_arrays_agree(model, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 32, 64, 3), dtype=np.uint8)
    for i, array in enumerate(pixels):
        Image.fromarray(array).save(tmp_path / f'in{i}.png')
    np.savez(tmp_path / 'in.npz', image=pixels.astype(np.float32) / 255)
    options = predict.Options(save=('pictures', 'npz'), batch_size=2)
    found = {}
    for pattern in ('in*.png', 'in.npz'):
        predict.predict(model, [str(tmp_path / pattern)], tmp_path / pattern[2:], options)
        with np.load(tmp_path / pattern[2:] / 'predictions.npz') as saved:
            found[pattern] = dict(saved.items())
    for arrays, names in (
        (found['in*.png'], ['in0', 'in1', 'in2']),
        (found['in.npz'], ['in_0000', 'in_0001', 'in_0002']),
    ):
        assert arrays.pop('names').tolist() == names
        channels = {'segmentation': 5, 'depth': 1, 'normals': 3}
        assert {k: v.shape for k, v in arrays.items()} == {k: (3, 32, 64, c) for k, c in channels.items()}
        for name, array in arrays.items():
            np.testing.assert_allclose(array, found['in*.png'][name], atol=1e-5)
    with Image.open(tmp_path / '*.png' / 'in1_normals.png') as picture:
        assert picture.size == (64, 32)


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ({}, 'matches no file'),
        ({'x.npz': {'image': np.zeros((1, 32, 32, 3), object)}}, 'is no .npz of arrays'),
        ({'x.npz': {'picture': np.zeros((1, 32, 32, 3))}}, 'no array `image`'),
        ({'x.npz': {'image': np.zeros((1, 30, 32, 3))}}, 'multiples of 32'),
        ({'x.npz': {'image': np.full((1, 32, 32, 3), 255.0)}}, 'divide 8-bit images by 255'),
        ({'x.png': None}, 'cannot be read as an image'),
    ],
)
def test_predict_names_what_is_wrong(tmp_path, files, message):
    for name, arrays in files.items():
        if arrays is None:
            (tmp_path / name).write_bytes(b'not an image')
        else:
            np.savez(tmp_path / name, **arrays)
    with pytest.raises(UserError, match=message):
        find([str(tmp_path / 'x.*')], stride=32)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_convert_keeps_the_reference_outputs(tmp_path, suffix):
    from safetensors.numpy import save_file

    state = {f'module.{name}': tensor for name, tensor in golden_weights.state_dict('kd4mtl_segnet').items()}
    file = tmp_path / f'reference{suffix}'
    if suffix == '.npz':
        np.savez(file, **state)
    else:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in state.items()}, file)
    convert.convert(convert.read_weights(file), list(small.NAMES), 'nyuv2', '32x64', tmp_path / 'model')
    spec, variables = load_model(tmp_path / 'model')
    assert spec['widths'] == [64, 128, 256, 512, 512]
    network, _ = build_network(spec)
    image = golden_weights.arrays('inputs')['image']
    found = make_predictor(network, variables, batch_size=2)(image)[MAIN]
    golden = golden_weights.arrays('kd4mtl_segnet')
    for name in small.NAMES:
        error = np.linalg.norm(found[name] - golden[f'eval/{name}']) / np.linalg.norm(golden[f'eval/{name}'])
        assert error < 1e-4


def test_convert_can_keep_one_head(tmp_path):
    state = golden_weights.state_dict('kd4mtl_segnet')
    convert.convert(state, ['depth'], 'nyuv2', '32x64', tmp_path / 'model')
    spec, variables = load_model(tmp_path / 'model')
    assert spec['tasks'] == ['depth']
    assert [name for name in variables['params'] if name.startswith('head')] == ['head_depth']
    card = (tmp_path / 'model' / 'README.md').read_text()
    assert card.startswith('# kd4mtl_segnet\n')
    count = sum(x.size for x in jax.tree.leaves(variables['params']))
    assert f'- `segnet`, widths 64, 128, 256, 512, 512; {count:,} parameters; computes in float32.' in card
    assert 'How it was trained is not recorded.' in card
    assert 'every pixel, 1 channel: depth in m.' in card


def test_convert_names_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        convert.read_weights(tmp_path / 'absent.npz')
    (tmp_path / 'weights.h5').touch()
    with pytest.raises(UserError, match=r'give a \.pth'):
        convert.read_weights(tmp_path / 'weights.h5')
    with pytest.raises(UserError, match="`tasks` has 'edges'"):
        convert.convert({}, ['edges'], 'nyuv2', '32x64', tmp_path / 'model')
    for size, message in (('288', '`size` is .288.'), ('100x100', 'multiples of 32')):
        with pytest.raises(UserError, match=message):
            convert.convert(golden_weights.state_dict('kd4mtl_segnet'), ['depth'], 'nyuv2', size, tmp_path / 'model')
    with pytest.raises(UserError, match='name each task once'):
        convert.convert({}, ['depth', 'depth'], 'nyuv2', '32x64', tmp_path / 'model')
    with pytest.raises(UserError, match='tensors are missing'):
        convert.convert({}, ['depth'], 'nyuv2', '32x64', tmp_path / 'model')


def test_weights_are_readable_by_all_who_may_read_the_folder(model):
    assert (model / 'weights.npz').stat().st_mode == (model / 'model.json').stat().st_mode


@pytest.mark.parametrize('content', [b'', b'PK nonsense'])
def test_damaged_weights_are_named(model, tmp_path, content):
    (tmp_path / 'model.json').write_bytes((model / 'model.json').read_bytes())
    (tmp_path / 'weights.npz').write_bytes(content)
    with pytest.raises(UserError, match=r'weights.npz is no .npz of arrays'):
        load_model(tmp_path)


def test_model_folders_are_whole_or_refused(model, tmp_path):
    with pytest.raises(UserError, match='is no model folder'):
        load_model(tmp_path)
    (tmp_path / 'model.json').write_text('{"format": 99}')
    with pytest.raises(UserError, match='format 99'):
        load_model(tmp_path)
