"""Trained networks as programs: the same predictions, what a program says of itself, and what is refused."""

import json
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtkd_jax as mt
from mtkd_jax import models, tasks
from mtkd_jax.experiment import exporting
from mtkd_jax.experiment.exporting import export
from mtkd_jax.experiment.models import build_network, open_model
from mtkd_jax.exporting import programs
from mtkd_jax.files import read_json
from mtkd_jax.training.folder import save_model
from mtkd_jax.types import UserError
from tests import small

TASKS = (tasks.segmentation(5), tasks.depth(), tasks.normals())


def needs_onnx():
    """onnxruntime; a test is skipped where it or onnx is missing."""
    pytest.importorskip('onnx')
    return pytest.importorskip('onnxruntime')


def images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=(*shape, 3)).astype(np.float32)


def ran(content, image):
    """What onnxruntime computes, by output."""
    session = needs_onnx().InferenceSession(content, providers=['CPUExecutionProvider'])
    names = [found.name for found in session.get_outputs()]
    return dict(zip(names, session.run(names, {'image': image}), strict=True))


def folder_of(path, **changed):
    """A model folder of a self-distilled network; `changed`: what its model.json says otherwise."""
    spec = {
        'backbone': 'segnet_sd',
        'widths': [4, 4, 4, 4, 8],
        'network': {'branches': ['teacher', 'student'], 'student_widths': [4, 4, 4, 4]},
        'tasks': ['segmentation', 'depth'],
        'compute_dtype': 'float32',
        'data': {'dataset': 'rooms', 'height': 32, 'width': 64, 'classes': 13, 'depth_maximum': 8.0},
        **changed,
    }
    network, _ = build_network(spec)
    shapes = jax.eval_shape(lambda key: network.init(key, jnp.zeros((1, 32, 64, 3)), train=False), jax.random.key(0))
    save_model(path, spec, small.filled(shapes, 0))
    return path


@pytest.fixture(scope='module')
def branched(tmp_path_factory):
    """A model folder of a network with teacher and student."""
    return folder_of(tmp_path_factory.mktemp('branched') / 'model')


@pytest.fixture(scope='module')
def shallow(tmp_path_factory):
    """A model folder of a network that compiles in a second."""
    folder = tmp_path_factory.mktemp('shallow') / 'model'
    return folder_of(folder, backbone='tests.shallow', widths=[4] * 5, network={}, tasks=['segmentation', 'normals'])


def test_a_student_runs_in_onnxruntime_at_any_size_and_says_what_it_is(branched, tmp_path):
    onnxruntime, out = needs_onnx(), tmp_path / 'new' / 'student.onnx'
    said = export(branched, out, format='onnx', branch='student')
    assert 'image batch×height×width×3, height and width multiples of 16; largest difference' in said
    session = onnxruntime.InferenceSession(out.read_bytes(), providers=['CPUExecutionProvider'])
    assert [(x.name, x.shape) for x in session.get_inputs()] == [('image', ['batch', 'height', 'width', 3])]
    assert [(x.name, x.shape[-1]) for x in session.get_outputs()] == [('segmentation', 13), ('depth', 1)]
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties['outputs'])['segmentation']['classes'][:2] == ['bed', 'books']
    assert json.loads(properties['outputs'])['depth']['unit'] == 'm'
    assert json.loads(properties['outputs'])['depth']['classes'] == []
    assert json.loads(properties['input'])['multiples_of'] == 16
    assert list(out.parent.iterdir()) == [out]

    image, model = images(2, 48, 32), mt.load(branched)
    model.size = 48, 32
    for name, values in model.predict(image, branch='student').items():
        np.testing.assert_allclose(ran(out.read_bytes(), image)[name], values, atol=1e-4)


def test_all_branches_are_exported_where_none_is_named(branched, tmp_path):
    out = tmp_path / 'both'
    export(branched, out, format='stablehlo', size=(16, 32), batch=2)
    program = jax.export.deserialize(bytearray(out.read_bytes()))
    assert program.platforms == ('cpu', 'cuda', 'tpu')
    image, model = images(2, 16, 32), mt.load(branched)
    model.size = 16, 32
    found = program.call(image)
    assert sorted(found) == ['student/depth', 'student/segmentation', 'teacher/depth', 'teacher/segmentation']
    for branch, by_task in model.predict(image).items():
        for name, values in by_task.items():
            np.testing.assert_allclose(found[f'{branch}/{name}'], values, atol=1e-5)
    said = read_json(tmp_path / 'both.json', '')
    assert said['input']['shape'] == [2, 16, 32, 3]
    assert said['outputs']['teacher/depth']['shape'] == [2, 16, 32, 1]
    assert all(0 <= x['mean'] <= x['largest'] < 1e-5 for x in said['difference'].values())
    assert set(said['difference']) == set(found)


@pytest.mark.parametrize('name', ['segnet', 'lenet_mtl'])
def test_every_kind_of_network_is_the_same_in_onnx(name):
    needs_onnx()
    backbone = models.named(name)
    own = (tasks.classification('a', 4), tasks.classification('b', 3)) if name == 'lenet_mtl' else TASKS
    sized = {} if name == 'lenet_mtl' else {'widths': tuple([4] * len(backbone.widths))}
    network = backbone(tasks=own, dtype=None, **sized)
    shapes = jax.eval_shape(lambda key: network.init(key, jnp.zeros((1, 32, 64, 3)), train=False), jax.random.key(0))
    found = programs.outputs(own, getattr(network, 'branches', ('main',)))
    predict = programs.function(network, small.filled(shapes, 0), found)
    fixed = name == 'lenet_mtl'
    assert (programs.refusal(predict, programs.ANY, backbone.STRIDE) is not None) == fixed
    sizes = ('batch', 32, 64) if fixed else programs.ANY
    program = programs.onnx(predict, sizes, backbone.STRIDE, [output.name for output in found], {})
    apart = programs.differences(predict, program, [(2, 32, 64, 3)])
    assert list(program.call(images(1, 32, 64))) == [output.name for output in found]
    assert max(x['largest'] for x in apart.values()) < 1e-3


def test_where_layers_need_a_size_it_is_that_of_the_training(tmp_path):
    opened = open_model(folder_of(tmp_path / 'model', backbone='mtan', widths=[4] * 5, network={}))
    predict = programs.function(opened.network, opened.variables, programs.outputs(opened.tasks, ['main']))
    assert exporting._sizes(opened, predict, None, None, 32) == ('batch', 32, 64)
    assert exporting._sizes(opened, predict, (64, 96), 3, 32) == (3, 64, 96)


OPERATIONS = {
    'not below 0': lambda x: jnp.maximum(x - 0.5, 0),
    'not below': lambda x: jnp.maximum(x - 0.5, -0.1),
    'not below of its own': lambda x: jnp.maximum(x - 0.5, jnp.array([0.0, -1.0, 0.2])),
    'constant minus': lambda x: 1 - x * jnp.array([1.0, 2.0, 3.0]),
    'powers': lambda x: x**3 + jax.lax.rsqrt(x + 1) + jnp.square(x),
    'choice': lambda x: jnp.where(x[..., :1] > 0.5, x, jnp.array([7.0, 8.0, 9.0])),
    'unequal': lambda x: ((x[..., :1] > 0.5).astype(jnp.int8) != jnp.int8(0)).astype(jnp.float32) * x,
    'steps': lambda x: jax.lax.slice_in_dim(x, 1, 4, 2, axis=1),
    'one row': lambda x: x[:, 2] + x[:, -1],
    'stack': lambda x: jnp.stack([x, 1 + x], 2),
    'padding': lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=3),
    'reduction': lambda x: x.max(-1, keepdims=True) + x.sum((1, 2), keepdims=True) - x.min((1, 2), keepdims=True),
    'transposition': lambda x: x.transpose(0, 3, 2, 1) @ jnp.arange(12.0).reshape(6, 2),
    'pools': lambda x: nn.max_pool(x, (3, 2), (2, 1), padding=((1, 0), (0, 1))),
    'stride': lambda x: convolved(x, (3, 2), window_strides=(2, 1), padding=((1, 0), (0, 1))),
    'groups': lambda x: convolved(x, (3, 3), inputs=1, padding='SAME', feature_group_count=3, rhs_dilation=(2, 1)),
    'transposed convolution': lambda x: convolved(x, (4, 3), padding=((2, 3), (1, 2)), lhs_dilation=(2, 3)),
}


def convolved(x, window, inputs=3, **options):
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(*window, inputs, 6)), jnp.float32)
    options = {'window_strides': (1, 1), 'dimension_numbers': ('NHWC', 'HWIO', 'NHWC'), **options}
    return jax.lax.conv_general_dilated(x, kernel, **options)


@pytest.mark.parametrize('name', OPERATIONS)
@pytest.mark.parametrize('sizes', [('batch', 6, 4), (2, 6, 4)])
def test_every_operation_by_itself(name, sizes):
    needs_onnx()
    program = programs.onnx(lambda x: {'y': OPERATIONS[name](x)}, sizes, 1, ['y'], {})
    image = images(2, 6, 4)
    np.testing.assert_allclose(program.call(image)['y'], OPERATIONS[name](image), rtol=1e-5, atol=1e-5)


def test_what_is_not_converted_is_named():
    needs_onnx()
    with pytest.raises(UserError, match='uses the operation sort, which is not converted to ONNX; use stablehlo'):
        programs.onnx(lambda x: {'y': jnp.sort(x, 1)}, (1, 4, 4), 1, ['y'], {})
    with pytest.raises(UserError, match='takes elements by number'):
        programs.onnx(lambda x: {'y': x[:, jnp.array([2, 0])]}, (1, 4, 4), 1, ['y'], {})


def test_onnx_computes_in_float32_and_stablehlo_as_the_network(tmp_path):
    needs_onnx()
    options = {'backbone': 'tests.shallow', 'widths': [4] * 5, 'network': {}, 'compute_dtype': 'bfloat16'}
    folder = folder_of(tmp_path / 'model', **options)
    export(folder, tmp_path / 'a.onnx', format='onnx', allow_modules=True)
    export(folder, tmp_path / 'a', format='stablehlo', allow_modules=True, size=(32, 64))
    plain = mt.load(folder_of(tmp_path / 'plain', **{**options, 'compute_dtype': 'float32'}), allow_modules=True)
    image = images(1, 32, 64)
    found = ran((tmp_path / 'a.onnx').read_bytes(), image)['depth']
    np.testing.assert_allclose(found, plain.predict(image)['depth'], atol=1e-5)
    assert read_json(tmp_path / 'a.json', '')['computed_in'] == 'bfloat16'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'size': (33, 64)}, '`size` is 33x64; the network takes multiples of 32 only'),
        ({'size': (0, 64)}, '`size` is 0x64; the network takes multiples of 32 only'),
        ({'branch': 'student'}, "`branch` is 'student'; choose one of main"),
        ({'batch': 0}, '`batch` is 0; give at least 1, or None for any'),
        ({'format': 'onix'}, "`format` is 'onix'; choose one of stablehlo, onnx. Did you mean 'onnx'"),
        ({'format': 'tflite'}, 'tflite is not written. Use --format=onnx'),
        ({'allow_modules': False}, 'names the Python module'),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(shallow, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        export(shallow, tmp_path / 'out' / 'a', **{'allow_modules': True, 'format': 'stablehlo', **options})
    assert not list(tmp_path.iterdir())


def test_a_program_that_is_not_the_network_is_not_written(shallow, tmp_path, monkeypatch):
    right = programs.stablehlo

    def wrong(*given):
        program = right(*given)
        return program._replace(call=lambda x: jax.tree.map(lambda y: 1.01 * y, program.call(x)))

    monkeypatch.setattr(programs, 'stablehlo', wrong)
    with pytest.raises(UserError, match=r'The program differs from the network in .* so it was not written'):
        export(shallow, tmp_path / 'a', format='stablehlo', allow_modules=True)
    with pytest.raises(UserError, match='a folder; give the file to write'):
        export(shallow, tmp_path, format='stablehlo', allow_modules=True)
    assert not list(tmp_path.iterdir())


def test_without_onnx_the_command_says_what_to_install(shallow, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UserError, match=r'needs onnx and onnxruntime .*pip install "mtkd_jax'):
        export(shallow, tmp_path / 'a', format='onnx', allow_modules=True)
    assert not list(tmp_path.iterdir())
