"""What holds of every backbone: shapes, precision, who owns which parameters, the shared feature, checkpoints."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.interpreters import partial_eval

from mtkd_jax import convert, models, ops, tasks
from mtkd_jax.experiment.models import build_network
from mtkd_jax.models import BACKBONES, reference
from mtkd_jax.models.backbone import per_image
from mtkd_jax.training.folder import load_model
from mtkd_jax.types import MAIN, UserError, feature_of
from tests import golden_weights, small

FIVE = (tasks.segmentation(13), tasks.depth(), tasks.normals(), tasks.keypoints(), tasks.edges())
TWO = FIVE[1:3]
DENSE = [name for name in BACKBONES if not per_image(BACKBONES[name])]
# Every width differs, so that a wrong one does not fit.
WIDTHS = (4, 6, 8, 10, 12)


def tiny(name, chosen=TWO, **options):
    if issubclass(BACKBONES[name], models.SelfDistilled):
        options |= {'branches': (MAIN,)}
    return BACKBONES[name](tuple(chosen), WIDTHS[: len(BACKBONES[name].widths)], **options)


def start(network, size=(32, 64)):
    """(variables, image), random."""
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(2, *size, 3)), jnp.float32)
    shapes = jax.eval_shape(lambda key: network.init(key, image, train=False), jax.random.key(0))
    return small.filled(shapes), image


@pytest.mark.parametrize('name', DENSE)
@pytest.mark.parametrize('count', [1, 2, 5])
def test_any_number_of_tasks(name, count):
    network = tiny(name, FIVE[:count], dtype=jnp.bfloat16)
    image = jax.ShapeDtypeStruct((2, 32, 64, 3), jnp.float32)

    def make(key, image):
        outputs, variables = network.init_with_output(key, image, train=False)
        own = [[feature_of(t.name, point, outputs.features) for t in network.tasks] for point in network.POINTS]
        return outputs, variables, dict(zip(network.POINTS, own, strict=True))

    outputs, variables, features = jax.eval_shape(make, jax.random.key(0), image)
    assert set(variables) == {'params', 'batch_stats'}
    found = {task: x.shape for task, x in outputs.predictions[MAIN].items()}
    assert found == {t.name: (2, 32, 64, t.channels) for t in FIVE[:count]}
    assert {x.dtype for x in jax.tree.leaves((variables, outputs.predictions))} == {jnp.dtype('float32')}
    assert set(outputs.features) == set(network.POINTS)
    sizes = {'mid': (2, 32 // network.STRIDE, 64 // network.STRIDE, 12), 'last': (2, 32, 64, 4)}
    for point, found in features.items():
        assert [(x.shape, x.dtype) for x in found] == [(sizes[point], jnp.bfloat16)] * count


@pytest.mark.parametrize('name', ['segnet', 'mtan', 'segnet_sd'])
def test_every_unpooling_has_the_positions_of_its_pooling(name, monkeypatch):
    kept, read = [], []
    pool, unpool = ops.max_pool_argmax, ops.max_unpool

    def pooling(x):
        found = pool(x)
        kept.append(found[1])
        return found

    def unpooling(x, index):
        read.append(index)
        return unpool(x, index)

    monkeypatch.setattr(ops, 'max_pool_argmax', pooling)
    monkeypatch.setattr(ops, 'max_unpool', unpooling)
    network = tiny(name, TWO[:1])
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), image)
    assert len(read) == len(kept) > 3
    assert all(a is b for a, b in zip(reversed(kept), read, strict=True))


@pytest.mark.parametrize('name', DENSE)
def test_a_tasks_own_parameters_are_reached_by_its_loss_alone(name):
    """And every other child by both losses."""
    network = tiny(name)
    variables, image = start(network, (32, 32))
    params = variables['params']
    leaves = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    reached = {child: set() for child in params}
    for task in TWO:

        def predict(params, name=task.name):
            return models.predict(network, {**variables, 'params': params}, image).predictions[MAIN][name]

        # Which parameters this task's prediction is computed from; of the others, the gradient is exactly zero.
        _, used = partial_eval.dce_jaxpr(jax.make_jaxpr(predict)(params).jaxpr, [True])
        for child, reaches in zip(leaves, used, strict=True):
            reached[child] |= {task.name} if reaches else set()
    both = {t.name for t in TWO}
    own = {child: network.own((child,)) for child in params}
    assert set(own.values()) == {None, *both}
    # Heads on one feature map are one convolution: there, the gradient is a computed zero.
    together = [child for child, task in own.items() if task and reached[child] == both]
    assert not together or network.SHARED_FEATURE

    def others(heads):
        predicted = models.predict(network, {**variables, 'params': {**params, **heads}}, image).predictions[MAIN]
        return {child: jnp.sum(predicted[(both - {own[child]}).pop()]) for child in heads}

    if together:
        gradient = jax.jit(jax.jacrev(others))({child: params[child] for child in together})
        for child in together:
            assert not any(np.any(x) for x in jax.tree.leaves(gradient[child][child]))
            reached[child] = {own[child]}
    assert reached == {child: {task} if task else both for child, task in own.items()}


@pytest.mark.parametrize('name', ['segnet', 'segnet_sd', 'lenet_mtl'])
def test_every_gradient_passes_the_shared_feature(name):
    """It can be perturbed, that moves every prediction, and the shared parameters' gradients are those behind it."""
    network = tiny(name)
    variables, image = start(network, (32, 32))
    params = variables['params']

    def predict(params, shift):
        return models.predict(network, {**variables, 'params': params, 'perturbations': {'shared': shift}}, image)

    def feature(params):
        return models.predict(network, {**variables, 'params': params}, image).features[network.SHARED_FEATURE]

    @jax.jit
    def compare(params, shift, direction):
        def along(params, shift):
            predictions = predict(params, shift).predictions[MAIN]
            return [jnp.sum(predictions[t.name] * direction[t.name]) for t in TWO]

        _, pull = jax.vjp(along, params, shift)
        found = []
        for only in ([1.0, 0.0], [0.0, 1.0]):
            whole, at_feature = pull([jnp.float32(x) for x in only])
            found.append((whole, jax.vjp(feature, params)[1](at_feature)[0], at_feature))
        return found

    outputs, shift = jax.eval_shape(lambda: (models.predict(network, variables, image), feature(params)))
    rng = np.random.default_rng(1)
    shapes = {name: x.shape for name, x in outputs.predictions[MAIN].items()}
    direction = {name: jnp.asarray(rng.standard_normal(shape), jnp.float32) for name, shape in shapes.items()}
    for whole, behind, at_feature in compare(params, jnp.zeros(shift.shape), direction):
        assert np.abs(at_feature).max() > 0
        for child in params:
            if network.own((child,)) is None:
                largest = max(float(np.abs(x).max()) for x in jax.tree.leaves(whole[child]))
                close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3 * largest)
                jax.tree.map(close, whole[child], behind[child])
                assert largest > 0


def scaled(model, seed=0):
    """A checkpoint of `model` with a sixteenth of its channels."""
    state = {}
    for name, shape in golden_weights.shapes(model).items():
        state[name] = golden_weights.tensor(f'{model}/{seed}', name, tuple(n // 16 if n >= 64 else n for n in shape))
    return state


@pytest.mark.parametrize('model', reference.REFERENCES)
def test_checkpoints_convert_and_come_back(model, tmp_path):
    published = reference.REFERENCES[model]
    state = {f'module.{name}': tensor for name, tensor in scaled(model).items()}
    np.savez(tmp_path / 'reference.npz', **state)
    state = convert.read_weights(tmp_path / 'reference.npz')
    convert.convert(state, list(small.NAMES), 'nyuv2', '32x64', tmp_path / 'all', model)
    spec, variables = load_model(tmp_path / 'all')
    assert spec['backbone'] == published.backbone
    assert spec['widths'] == [4, 8, 16, 32, 64 if published.backbone == 'split_wide' else 32]
    for name, path in published.table(small.NAMES).items():
        found = variables
        for key in path:
            found = found[key]
        np.testing.assert_array_equal(found.transpose(3, 2, 0, 1) if path[-1] == 'kernel' else found, state[name])

    if model == 'mtan_cross_stitch':
        with pytest.raises(UserError, match='`tasks` is depth; a cross-stitch network mixes all its towers'):
            convert.convert(state, ['depth'], 'nyuv2', '32x64', tmp_path / 'one', model)
        return
    convert.convert(state, ['depth'], 'nyuv2', '32x64', tmp_path / 'one', model)
    spec, part = load_model(tmp_path / 'one')
    assert spec['tasks'] == ['depth']
    part, whole = flatten_dict(part), flatten_dict(variables)
    every, _ = build_network(load_model(tmp_path / 'all')[0])
    others = [path for path in whole if every.own(path[1:]) not in (None, 'depth')]
    assert set(part) == set(whole) - set(others)
    assert all(np.array_equal(part[path], whole[path]) for path in part)


def test_a_checkpoint_of_another_model_is_refused():
    for model in reference.REFERENCES:
        if model not in ('mtan_dense', 'mtan_cross_stitch'):
            with pytest.raises(UserError, match=r'Check `--model` and `--tasks`'):
                reference.REFERENCES[model].variables(scaled('mtan_dense'), small.NAMES)


@pytest.mark.parametrize('name', DENSE)
def test_a_name_that_ends_in_a_tasks_name_decides_nothing(name):
    """A task called `depth` beside one called `edge_depth`: the head of the latter is not the former's."""
    edge_depth = dataclasses.replace(tasks.depth(), name='edge_depth')
    network = tiny(name, (tasks.depth(), edge_depth))
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), image)['params']
    owners = {child: network.own((child,)) for child in params}
    assert {'depth', 'edge_depth'} <= set(owners.values())
    assert all(task == 'edge_depth' for child, task in owners.items() if child.endswith('_edge_depth'))
    assert network.own(('somebody_elses_depth',)) is None
