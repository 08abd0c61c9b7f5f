"""What holds of every backbone: shapes, precision, who owns which parameters, the shared feature, checkpoints."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.interpreters import partial_eval

from mtkd_jax import convert, models, tasks
from mtkd_jax.build.networks import BACKBONES
from mtkd_jax.models import reference
from mtkd_jax.training.folder import load_model
from mtkd_jax.types import MAIN, UserError, feature_of
from tests import golden_weights, small

FIVE = (tasks.segmentation(13), tasks.depth(), tasks.normals(), tasks.keypoints(), tasks.edges())
TWO = FIVE[1:3]
# Every width differs, so that a wrong one does not fit.
WIDTHS = (4, 6, 8, 10, 12)


def tiny(name, chosen=TWO, **options):
    if issubclass(BACKBONES[name], models.SelfDistilled):
        options |= {'branches': (MAIN,)}
    return BACKBONES[name](tuple(chosen), WIDTHS, **options)


def start(network, size=(32, 64)):
    """(variables, image), random; nothing is compiled for it."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.uniform(size=(2, *size, 3)), jnp.float32)
    shapes = jax.eval_shape(lambda key: network.init(key, image, train=False), jax.random.key(0))

    def fill(path, leaf):
        if path[-1].key in ('scale', 'var'):
            return np.ones(leaf.shape, np.float32)
        return (rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype(np.float32)

    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(fill, shapes)), image


def owner(child, chosen):
    """The task that a top-level child is named after, or None."""
    return next((t.name for t in chosen if child.endswith(f'_{t.name}')), None)


@pytest.mark.parametrize('name', BACKBONES)
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


@pytest.mark.parametrize('name', BACKBONES)
def test_children_named_after_a_task_are_reached_by_its_loss_alone(name):
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
    assert reached == {child: {owner(child, TWO)} if owner(child, TWO) else both for child in params}
    assert {owner(child, TWO) for child in params} == {None, *both}


@pytest.mark.parametrize('name', ['segnet', 'segnet_sd', 'unet_sd'])
def test_the_shared_feature_can_be_perturbed(name):
    """Moving it moves every prediction, and no other way leads from the image to one."""
    network = tiny(name)
    variables, image = start(network)

    def moved(variables, shift):
        return models.predict(network, {**variables, 'perturbations': {'shared': shift}}, image)

    moved = functools.partial(jax.jit(moved), variables)
    plain = jax.jit(functools.partial(models.predict, network))(variables, image)
    feature = plain.features[network.SHARED_FEATURE]
    still, away = moved(jnp.zeros_like(feature)), moved(jnp.ones_like(feature))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), still, plain)
    np.testing.assert_allclose(away.features[network.SHARED_FEATURE], feature + 1, rtol=1e-5)
    for task in TWO:
        assert not np.allclose(away.predictions[MAIN][task.name], plain.predictions[MAIN][task.name])
    # Without it nothing of the image is left, unless decoders also read the encoder's features.
    blank = moved(-feature).predictions[MAIN]
    same = [np.allclose(blank[t.name][0], blank[t.name][1], atol=1e-6) for t in TWO]
    assert all(same) if name != 'unet_sd' else not any(same)


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
    others = [path for path in whole if owner(path[1], [t for t in FIVE if t.name != 'depth'])]
    assert set(part) == set(whole) - set(others)
    assert all(np.array_equal(part[path], whole[path]) for path in part)


def test_a_checkpoint_of_another_model_is_refused():
    for model in reference.REFERENCES:
        if model not in ('mtan_dense', 'mtan_cross_stitch'):
            with pytest.raises(UserError, match=r'Check `--model` and `--tasks`'):
                reference.REFERENCES[model].variables(scaled('mtan_dense'), small.NAMES)
