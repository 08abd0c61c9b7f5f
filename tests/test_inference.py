"""Prediction as a library: what is taken, what is refused, and what comes back."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mtkd_jax import inference, tasks
from mtkd_jax.data import images
from mtkd_jax.inference import Model
from mtkd_jax.types import Outputs, UserError
from tests import tiny

SIZE = (4, 6)
KEY = jax.random.key(0)


class Calls:
    """A list that Flax leaves as it is."""

    def __init__(self):
        self.seen = []

    def append(self, call):
        self.seen.append(call)


class Branches(nn.Module):
    """Two branches; `calls`: for how many images which of them were traced."""

    branches: Sequence[str] = ('teacher', 'student')
    calls: Any = None
    STRIDE = 2

    @nn.compact
    def __call__(self, image, *, train):
        self.calls.append((self.branches, len(image)))
        found = {name: {'depth': nn.Dense(1, name=name)(image)} for name in self.branches}
        return Outputs(found, {})


def tiny_model(**options):
    network = tiny.Network()
    return Model(network, tiny.TASKS, network.init(KEY, jnp.zeros((1, *SIZE, 3)), train=False), SIZE, **options)


@pytest.fixture(scope='module')
def model():
    return tiny_model()


@pytest.fixture
def branched():
    network = Branches(calls=Calls())
    variables = network.init(KEY, jnp.zeros((1, *SIZE, 3)), train=False)
    network.calls.seen.clear()
    return Model(network, [tasks.depth()], variables, SIZE)


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize('size', [SIZE, (9, 13)])
def test_a_picture_file_and_its_array_are_one_image(model, tmp_path, size):
    array = pixels(*size)
    file = tmp_path / 'a.png'
    Image.fromarray(array).save(file)
    found = model.predict(file)
    assert {name: x.shape for name, x in found.items()} == {
        'segmentation': (4, 6, 5),
        'depth': (4, 6, 1),
        'normals': (4, 6, 3),
    }
    assert_same(found, model.predict(str(file)))
    assert_same(found, model.predict(array))
    assert_same(found, model.predict(jnp.asarray(array)))
    assert_same(jax.tree.map(lambda x: x[None], found), model.predict([file]))
    assert_same(jax.tree.map(lambda x: x[None], found), model.predict(array[None]))
    assert_same(model.predict([file, array]), model.predict(np.stack([array, array])))


def test_predictions_are_the_networks(model):
    array = np.random.default_rng(0).uniform(size=(3, *SIZE, 3)).astype(np.float32)
    expected = model.network.apply(model.variables, array, train=False).predictions['main']
    found = model.predict(array)
    assert all(isinstance(x, np.ndarray) for x in found.values())
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), found, expected)


def test_floats_and_bytes_are_resized_alike():
    array = pixels(7, 11)
    whole = images.prepare(array, SIZE).images
    floats = images.prepare(array.astype(np.float32) / 255, SIZE).images
    np.testing.assert_allclose(floats, whole, atol=1.01 / 255)  # bytes are rounded after each of two axes
    means = array.astype(np.float32)[:6, :6].reshape(3, 2, 2, 3, 3).mean((1, 3))
    np.testing.assert_allclose(images.prepare(array[:6, :6] / 255, (3, 2)).images[0], means / 255, atol=1e-6)
    ones = np.ones((7, 11, 3), np.float16)
    assert images.prepare(ones, SIZE).images.max() == 1
    assert images.prepare(jnp.asarray(ones, jnp.bfloat16), SIZE).images.dtype == np.float32


@pytest.mark.parametrize(
    ('x', 'message'),
    [
        (np.full((4, 6, 3), 200.0), r'`x` reaches from 200 to 200 and leaves \[0, 1\]; divide 8-bit images by 255'),
        (np.full((4, 6, 3), -0.1), r'reaches from -0.1 to -0.1'),
        (np.full((4, 6, 3), np.nan), '`x` has NaN'),
        (np.full((4, 6, 3), np.inf), '`x` has NaN or infinite'),
        (np.zeros((4, 6, 3), np.int64), 'of the type int64; give uint8'),
        (np.zeros((4, 6, 3), bool), 'of the type bool; give uint8'),
        (np.zeros((4, 6, 4)), r'has the shape \(4, 6, 4\); give \[h w 3\] or \[n h w 3\]: channels last'),
        (np.zeros((3, 4, 6)), r'has the shape \(3, 4, 6\)'),
        (np.zeros((4, 6)), r'has the shape \(4, 6\)'),
        (np.zeros((1, 1, 4, 6, 3)), r'has the shape \(1, 1, 4, 6, 3\)'),
        (np.zeros((0, 4, 6, 3)), 'is empty; give at least one image'),
        (np.zeros((0, 6, 3), np.uint8), 'is empty'),
        ([], '`x` is an empty list'),
        ([np.zeros((4, 6, 3)), np.full((4, 6, 3), 9.0)], r'`x\[1\]` reaches from 9 to 9'),
        ([np.zeros((1, 4, 6, 3))], r'`x\[0\]` has the shape \(1, 4, 6, 3\); give \[h w 3\]: '),
        ('/nowhere.png', '/nowhere.png: no such file'),
        ([__file__], 'cannot be read as an image'),
    ],
)
def test_what_is_no_image_is_refused_with_what_to_give(model, x, message):
    with pytest.raises(UserError, match=message):
        model.predict(x)


def test_nan_is_no_prediction(model):
    broken = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), model.variables)
    with pytest.raises(UserError, match='The network predicts NaN for '):
        Model(model.network, model.tasks, broken, SIZE).predict(pixels(*SIZE))


def test_a_size_that_the_network_cannot_take_is_refused():
    with pytest.raises(UserError, match=r'`size` is \(4, 7\); the network takes multiples of 2 only'):
        Model(Branches(), [], {}, (4, 7))
    with pytest.raises(UserError, match=r'`size` is \(0, 6\)'):
        Model(Branches(), [], {}, (0, 6))


def test_predictions_come_back_at_the_size_of_the_input(model):
    shapes = [(8, 12), SIZE, (2, 3)]
    given = [pixels(*shape, seed=i) for i, shape in enumerate(shapes)]
    own, found = model.predict(given), model.predict(given, at='input')
    assert own['depth'].shape == (3, *SIZE, 1)
    assert all([x.shape[:2] for x in found[task.name]] == shapes for task in tiny.TASKS)
    for i, shape in enumerate(shapes):
        np.testing.assert_allclose(np.linalg.norm(found['normals'][i], axis=-1), 1, rtol=1e-5)
        np.testing.assert_allclose(np.exp(found['segmentation'][i]).sum(-1), 1, rtol=1e-5)
        expected = jax.image.resize(own['depth'][i], (*shape, 1), 'bilinear')
        np.testing.assert_allclose(found['depth'][i], expected, atol=1e-6)
    assert_same(found['normals'][1], own['normals'][1])
    assert model.predict(given[0], at='input')['depth'].shape == (8, 12, 1)
    assert model.predict(np.stack([given[0]] * 2), at='input')['depth'].shape == (2, 8, 12, 1)
    with pytest.raises(UserError, match="`at` is 'inputs'; choose one of network, input"):
        model.predict(given[0], at='inputs')


def test_an_activation_that_is_no_projection_is_not_applied_twice(model):
    changed = [dataclasses.replace(task, activate=jax.nn.sigmoid) for task in tiny.TASKS]
    twice = Model(model.network, changed, model.variables, SIZE)
    given = pixels(8, 12)
    expected = jax.image.resize(twice.predict(given)['depth'], (8, 12, 1), 'bilinear')
    np.testing.assert_allclose(twice.predict(given, at='input')['depth'], expected, atol=1e-6)


def test_nothing_is_compiled_for_each_size_of_image(model, monkeypatch):
    traced = []

    def activate(task):
        def counted(raw):
            traced.append((task.name, raw.shape))
            return task.activate(raw)

        return counted

    monkeypatch.setattr('mtkd_jax.inference.PIXELS', 16)
    counting = [dataclasses.replace(task, activate=activate(task)) for task in tiny.TASKS]
    several = Model(model.network, counting, model.variables, SIZE)
    shapes = [(5, 7), (8, 3), (1, 1), (9, 9)]
    given = [pixels(*shape) for shape in shapes]
    found = [one['normals'] for one in several.stream(given, at='input')]
    for x, y in zip(found, model.predict(given, at='input')['normals'], strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
    assert {shape for name, shape in traced if name == 'normals'} == {(1, 4, 4, 3), (1, 1, 4, 3), (1, 1, 16, 3)}


def test_an_activation_over_the_whole_image_sees_the_whole_image(model):
    def shared(raw):
        return raw / jax.numpy.linalg.norm(raw, axis=(1, 2), keepdims=True)

    changed = [dataclasses.replace(task, activate=shared) for task in tiny.TASKS]
    found = Model(model.network, changed, model.variables, SIZE).predict(pixels(8, 12), at='input')['depth']
    np.testing.assert_allclose(np.linalg.norm(found, axis=(0, 1)), 1, rtol=1e-5)


def test_one_answer_per_image_has_no_size_to_come_back_to():
    class Answers(nn.Module):
        @nn.compact
        def __call__(self, image, *, train):
            return Outputs({'main': {'digits': jax.nn.log_softmax(image.mean((1, 2), keepdims=True))}}, {})

    model = Model(Answers(), [tasks.classification('digits', 3)], {}, SIZE)
    assert model.predict(pixels(8, 12), at='input')['digits'].shape == (1, 1, 3)
    assert model.predict(pixels(2, 8, 12), at='input')['digits'].shape == (2, 1, 1, 3)


def test_only_the_branch_that_is_asked_for_is_computed(branched):
    x, calls = pixels(*SIZE), branched.network.calls.seen
    student = branched.predict(x, branch='student')
    assert calls == [(('student',), 1)]
    whole = branched.predict(x)
    assert set(whole) == {'teacher', 'student'}
    np.testing.assert_allclose(student['depth'], whole['student']['depth'], rtol=1e-5)
    assert list(branched.by_branch(x, branch='teacher')) == ['teacher']
    with pytest.raises(UserError, match="`branch` is 'studnet'; choose one of teacher, student"):
        branched.predict(x, branch='studnet')


def test_a_network_of_one_branch_answers_by_task(model):
    x = pixels(*SIZE)
    assert_same(model.predict(x), model.predict(x, branch='main'))
    assert_same({'main': model.predict(x)}, model.by_branch(x))
    with pytest.raises(UserError, match="`branch` is 'student'; choose one of main"):
        model.predict(x, branch='student')


def test_the_network_is_compiled_for_one_image_and_for_a_batch(branched):
    for count in (1, 3, 8, 9, 17, 1):
        found = branched.predict(pixels(count, *SIZE), branch='teacher')['depth']
        assert len(found) == count
        np.testing.assert_allclose(
            found[-1], branched.predict(pixels(count, *SIZE)[-1], branch='teacher')['depth'], rtol=1e-5
        )
    assert branched.network.calls.seen == [(('teacher',), 1), (('teacher',), 8)]


def test_a_stream_says_what_predict_says(branched, tmp_path):
    given = [pixels(9, 13, seed=1), pixels(*SIZE, seed=2), pixels(3, 5, seed=3)]
    Image.fromarray(given[0]).save(tmp_path / 'a.png')
    for at in ('network', 'input'):
        expected = branched.predict(given, at=at)
        found = list(branched.stream((x for x in [tmp_path / 'a.png', *given[1:]]), at=at))
        for i, one in enumerate(found):
            for name in branched.branches:
                np.testing.assert_allclose(one[name]['depth'], expected[name]['depth'][i], rtol=1e-5, atol=1e-6)
    assert [image.shape[:2] for image, _ in branched.seen(given, at='input')] == [(9, 13), SIZE, (3, 5)]
    assert [image.shape[:2] for image, _ in branched.seen(given)] == [SIZE] * 3
    assert [set(one) for one in branched.stream(given, branch='student')] == [{'depth'}] * 3
    with pytest.raises(UserError, match="`at` is 'inputs'"):
        branched.stream(given, at='inputs')
    with pytest.raises(UserError, match=r"`x` is 'room\.png', one image; give several, such as \['room\.png'\], or"):
        branched.stream('room.png')
    with pytest.raises(UserError, match='`threads` is 0; give at least 1'):
        branched.stream(given, threads=0)


def test_a_stream_is_compiled_for_whole_batches(branched):
    found = list(branched.stream((pixels(*SIZE, seed=i) for i in range(17)), branch='teacher'))
    assert branched.network.calls.seen == [(('teacher',), 8)]
    np.testing.assert_allclose(
        found[-1]['depth'], branched.predict(pixels(*SIZE, seed=16), branch='teacher')['depth'], rtol=1e-5
    )


def test_predictions_come_before_the_error_of_a_later_image(model):
    given = [pixels(*SIZE), pixels(*SIZE), np.full((4, 6, 3), 9.0), pixels(*SIZE)]
    stream = model.stream(given)
    assert [next(stream).keys(), next(stream).keys()] == [model.predict(given[0]).keys()] * 2
    with pytest.raises(UserError, match=r'`x\[2\]` reaches from 9'):
        next(stream)


def test_predictions_come_before_nan_for_a_later_image_of_the_batch(model, tmp_path, monkeypatch):
    def make_predictor(*_):
        def predictor(x, filled=False):
            depth = np.where(x.any((1, 2, 3), keepdims=True), x[..., :1], np.nan)
            return {'main': {task.name: depth for task in model.tasks}}

        return predictor

    monkeypatch.setattr(inference, 'make_predictor', make_predictor)
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / 'black.png')
    for black, name in ((tmp_path / 'black.png', r'.*/black\.png'), (np.zeros((*SIZE, 3), np.uint8), r'`x\[1\]`')):
        stream = Model(model.network, model.tasks, model.variables, SIZE).stream([pixels(*SIZE), black])
        assert next(stream)
        with pytest.raises(UserError, match=f'The network predicts NaN for .* of {name}; its training diverged'):
            next(stream)
