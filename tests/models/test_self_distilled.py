"""Self-distilled networks: shapes, parameters counted by hand, and a student that does not pay for the teacher."""

import functools
from itertools import pairwise

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import models, ops, tasks
from mtkd_jax.models.blocks import ConvBlock
from mtkd_jax.models.self_distilled import Attention, StudentBranch, TeacherDecoder
from mtkd_jax.training.device import inference_cost
from mtkd_jax.types import ENSEMBLE, MAIN, STUDENT, TEACHER
from tests import small

FIVE = (tasks.segmentation(13), tasks.depth(), tasks.normals(), tasks.keypoints(), tasks.edges())
WIDTHS = (64, 128, 256, 512, 1024)
BOTH = (TEACHER, STUDENT)
KINDS = (models.SegNetSD, models.UNetSD)


def tiny(kind, branches=BOTH, **options):
    return kind(small.TASKS, (4, 4, 6, 6, 8), branches=branches, student_widths=(6, 4, 4, 4), **options)


def shapes(network, height=32, width=32, batch=1):
    image = jax.ShapeDtypeStruct((batch, height, width, 3), jnp.float32)
    variables = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), image)
    return variables, jax.eval_shape(lambda v, x: network.apply(v, x, train=False), variables, image)


def count(variables, prefix=''):
    groups = variables['params']
    return sum(x.size for name in groups if name.startswith(prefix) for x in jax.tree.leaves(groups[name]))


def conv(c, k, size=3):
    """Weights and biases."""
    return size * size * c * k + k


def block(widths):
    """Conv3×3 with bias and batch norm (scale, offset) from each width to the next."""
    return sum(conv(c, k) + 2 * k for c, k in pairwise(widths))


ENCODER = (
    block([3, 64, 64])
    + block([64, 128, 128])
    + block([128, 256, 256, 256])
    + block([256, 512, 512, 512, 512])
    + block([512, 1024, 1024])
)


def attention(k):
    return 2 * (conv(k, k) + 2 * k)


def teacher(kind, channels, with_attention=True):
    head = conv(64, 64) + conv(64, channels, 1)
    if kind is models.SegNetSD:
        ends = (256, 128, 64, 64)
        total = block([1024, 512, 512]) + block([512] + 4 * [256]) + block([256] + 3 * [128])
        total += block([128, 64, 64]) + block([64, 64, 64])
    else:
        ends = (512, 256, 128, 64)
        up = [conv(c, k, 2) for c, k in ((1024, 512), (512, 256), (256, 128), (128, 64))]
        total = sum(up) + block([1024] + 4 * [512]) + block([512] + 3 * [256]) + block([256, 128, 128])
        total += block([128, 64, 64])
    return total + head + (sum(attention(k) for k in ends) if with_attention else 0)


def student(channels):
    chain = (1024, 256, 128, 64, 32)
    ups = sum(conv(c, k, 4) + 2 * k for c, k in pairwise(chain))
    return ups + conv(32, channels, 1)


@pytest.mark.parametrize('kind', KINDS)
def test_parameters_at_full_size(kind):
    network = kind(FIVE, WIDTHS, branches=(TEACHER, STUDENT, ENSEMBLE))
    variables, outputs = shapes(network, 288, 384, batch=2)
    assert outputs.features['mid'].shape == (2, 18, 24, 1024)
    for branch in (TEACHER, STUDENT, ENSEMBLE):
        found = {name: array.shape for name, array in outputs.predictions[branch].items()}
        assert found == {t.name: (2, 288, 384, t.channels) for t in FIVE}
    assert count(variables, 'encoder') + count(variables, 'bottleneck') == ENCODER
    for task in FIVE:
        assert count(variables, f'teacher_{task.name}') == teacher(kind, task.channels)
        assert count(variables, f'student_{task.name}') == student(task.channels)
    plain, _ = shapes(kind(FIVE[:1], WIDTHS, attention=False))
    assert count(plain, 'teacher') == teacher(kind, 13, with_attention=False)


BLOCKS = {
    models.SegNetSD: {
        'bottleneck': (18, 24, 512),
        'block_3': (36, 48, 256),
        'block_2': (72, 96, 128),
        'block_1': (144, 192, 64),
        'block_0': (288, 384, 64),
    },
    models.UNetSD: {
        'up_3': (36, 48, 512),
        'block_3': (36, 48, 512),
        'up_2': (72, 96, 256),
        'block_2': (72, 96, 256),
        'up_1': (144, 192, 128),
        'block_1': (144, 192, 128),
        'up_0': (288, 384, 64),
        'block_0': (288, 384, 64),
    },
}


@pytest.mark.parametrize('kind', KINDS)
def test_layers_at_full_size(kind):
    """The outputs in the tables of docs/networks.md, before pooling."""
    network = kind(FIVE[:1], WIDTHS)
    image = jax.ShapeDtypeStruct((1, 288, 384, 3), jnp.float32)
    variables, _ = shapes(network)

    def inside(v, x):
        return network.apply(v, x, train=False, capture_intermediates=True, mutable=['intermediates'])[1]

    found = jax.eval_shape(inside, variables, image)['intermediates']

    def outputs(tree, names):
        return {name: tree[name]['__call__'][0].shape[1:] for name in names}

    encoder = {f'encoder_{i}': (288 >> i, 384 >> i, 64 << i) for i in range(4)} | {'bottleneck': (18, 24, 1024)}
    assert outputs(found, encoder) == encoder
    assert outputs(found['teacher_segmentation'], BLOCKS[kind]) == BLOCKS[kind]
    masks = {f'attention_{i}': BLOCKS[kind][f'block_{i}'] for i in range(4)}
    assert outputs(found['teacher_segmentation'], masks) == masks
    branch = {'up_0': (36, 48, 256), 'up_1': (72, 96, 128), 'up_2': (144, 192, 64), 'up_3': (288, 384, 32)}
    assert outputs(found['student_segmentation'], branch) == branch


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('tasks_used', [1, 5])
def test_one_to_five_tasks(kind, tasks_used):
    network = kind(FIVE[:tasks_used], (4, 4, 4, 4, 8), student_widths=(4, 4, 4, 4))
    _, outputs = shapes(network)
    assert set(outputs.predictions) == {TEACHER, STUDENT}
    assert all(len(by_task) == tasks_used for by_task in outputs.predictions.values())


@pytest.mark.parametrize('kind', KINDS)
def test_a_branch_alone_predicts_the_same_and_costs_less(kind):
    both = tiny(kind, (TEACHER, STUDENT, ENSEMBLE))
    image = jax.random.uniform(jax.random.key(1), (2, 32, 48, 3))
    variables = both.init(jax.random.key(0), image, train=False)
    whole = models.predict(both, variables, image).predictions
    for branch in (TEACHER, STUDENT):
        alone = models.predict(tiny(kind, (branch,)), variables, image).predictions
        assert list(alone) == [branch]
        jax.tree.map(np.testing.assert_array_equal, alone[branch], whole[branch])
    vanilla = models.predict(tiny(kind, (MAIN,)), variables, image).predictions
    jax.tree.map(np.testing.assert_array_equal, vanilla, {MAIN: whole[TEACHER]})

    costs = {name: inference_cost(tiny(kind, (name,)), (32, 48, 3)) for name in (TEACHER, STUDENT, ENSEMBLE)}
    for key in ('parameters', 'operations'):
        assert costs[STUDENT][key] < costs[TEACHER][key] < costs[ENSEMBLE][key]
    encoder = count(variables, 'encoder') + count(variables, 'bottleneck')
    assert costs[STUDENT]['parameters'] == encoder + count(variables, 'student')
    assert costs[TEACHER]['parameters'] == encoder + count(variables, 'teacher')


def test_the_compiled_student_has_no_teacher_in_it():
    """Given the whole network's variables, XLA is left with the student's operations alone."""

    def operations(branches):
        network = tiny(models.SegNetSD, branches)
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        compiled = jax.jit(lambda v, x: models.predict(network, v, x).predictions).lower(everything, image).compile()
        return compiled.cost_analysis()['flops']

    everything, _ = shapes(tiny(models.SegNetSD))
    alone, together = operations((STUDENT,)), operations(BOTH)
    own, _ = shapes(tiny(models.SegNetSD, (STUDENT,)))
    assert set(own['params']) < set(everything['params'])
    assert alone < 0.75 * together


def test_attention_only_scales_down():
    """A mask in (0, 1): with attention a block's features keep their sign and never grow."""
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 4))
    module = models.self_distilled.Attention()
    variables = module.init(jax.random.key(1), x, train=False)
    y = module.apply(variables, x, train=False)
    assert (jnp.sign(x) == jnp.sign(y)).all()
    assert (jnp.abs(y) <= jnp.abs(x)).all()
    assert len(variables['params']) == 4


def conv_by_hand(params, x, stride=1):
    """A convolution, transposed where it has a stride."""
    how = {'padding': 'SAME', 'dimension_numbers': ('NHWC', 'HWIO', 'NHWC'), 'precision': 'highest'}
    convolve = jax.lax.conv_transpose if stride > 1 else jax.lax.conv_general_dilated
    return convolve(x, params['kernel'], (stride, stride), **how) + params['bias']


def norm_by_hand(variables, name, x):
    params, statistics = variables['params'][name], variables['batch_stats'][name]
    return (x - statistics['mean']) / jnp.sqrt(statistics['var'] + 1e-5) * params['scale'] + params['bias']


def drawn(module, *inputs, seed=0):
    """(variables, what the module makes of the inputs in evaluation mode), random."""
    init = functools.partial(module.init, train=False)
    variables = small.filled(jax.eval_shape(init, jax.random.key(0), *inputs), seed)

    def alive(path, x):
        # Of few channels, a ReLU may let nothing through; lower means raise what it sees.
        return -jnp.abs(x) if path[-1].key == 'mean' else x

    variables = jax.tree_util.tree_map_with_path(alive, variables)
    return variables, jax.jit(functools.partial(module.apply, train=False))(variables, *inputs)


def test_attention_by_hand():
    """Nothing between the two convolutions but batch normalisation."""
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
    variables, found = drawn(Attention(), x)
    mask = x
    for i in range(2):
        mask = norm_by_hand(variables, f'norm_{i}', conv_by_hand(variables['params'][f'conv_{i}'], mask))
    np.testing.assert_allclose(found, x * nn.sigmoid(mask), rtol=1e-4, atol=1e-5)


def test_the_student_by_hand():
    x = jax.random.normal(jax.random.key(0), (1, 1, 2, 5))
    variables, found = drawn(StudentBranch(tasks.depth(), (4, 3, 3, 2)), x)
    params = variables['params']
    for i in range(4):
        x = jnp.maximum(norm_by_hand(variables, f'norm_{i}', conv_by_hand(params[f'up_{i}'], x, stride=2)), 0)
    assert x.shape == (1, 16, 32, 2)
    np.testing.assert_allclose(found, conv_by_hand(params['out'], x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_the_teacher_decoder_by_hand(kind):
    """It unpools to the positions of the encoder's maxima, or joins the encoder's features, block by block."""
    widths, rng = (2, 3, 2, 3, 4), np.random.default_rng(0)
    x, *skips = (
        jnp.asarray(rng.standard_normal((1, 16 >> i, 16 >> i, c)), jnp.float32)
        for i, c in ((4, 4), *enumerate(widths[:4]))
    )
    indices = [jnp.asarray(rng.integers(4, size=(1, 8 >> i, 8 >> i, c)), jnp.int8) for i, c in enumerate(widths[:4])]
    variables, found = drawn(TeacherDecoder(tasks.depth(), widths, kind.UNPOOLING, True), x, indices, skips)

    def layer(module, name, x):
        return module.apply({group: tree[name] for group, tree in variables.items()}, x, train=False)

    @jax.jit
    def expected(x):
        params = variables['params']
        if kind.UNPOOLING:
            x = layer(ConvBlock(3, 2), 'bottleneck', x)
        for i, convs in ((3, 4), (2, 3), (1, 2), (0, 2)):
            if kind.UNPOOLING:
                x = ops.max_unpool(x, indices[i])
            else:
                x = jnp.concatenate([skips[i], conv_by_hand(params[f'up_{i}'], x, stride=2)], axis=-1)
            width = widths[max(i - 1, 0)] if kind.UNPOOLING else widths[i]
            x = layer(Attention(), f'attention_{i}', layer(ConvBlock(width, convs), f'block_{i}', x))
        head = params['head']
        return conv_by_hand(head['out'], conv_by_hand(head['conv'], x))

    assert jnp.std(found) > 0.1
    np.testing.assert_allclose(found, expected(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_the_ensemble_is_the_mean_of_scores(kind):
    network = tiny(kind, (TEACHER, STUDENT, ENSEMBLE))
    image = jax.random.uniform(jax.random.key(1), (1, 32, 32, 3))
    found = models.predict(network, network.init(jax.random.key(0), image, train=False), image).predictions
    a, b, mean = (found[branch] for branch in (TEACHER, STUDENT, ENSEMBLE))
    scores = jnp.exp(a['segmentation']) / 2 + jnp.exp(b['segmentation']) / 2
    np.testing.assert_allclose(jnp.exp(mean['segmentation']), scores, rtol=1e-5)
    np.testing.assert_allclose(jnp.exp(mean['segmentation']).sum(-1), 1, rtol=1e-5)
    for name in ('depth', 'normals'):
        np.testing.assert_allclose(mean[name], (a[name] + b[name]) / 2, rtol=1e-6)
