"""What devices exchange in a step: batch-norm statistics, and the gradient once, or once for every task."""

import jax
import pytest

from benchmarks.collectives import Collective, bytes_by_kind, collectives
from mtkd_jax import weighting
from mtkd_jax.methods import Supervised
from mtkd_jax.training import sharding
from mtkd_jax.training.state import state_maker
from mtkd_jax.training.step import compile_step, train_step
from tests import small, tiny

OPTIMIZER = small.make_optimizer(1e-3, [1.0], 10)
TASKS = len(small.TASKS)
FLOAT = 4  # bytes


def program(method, weighter, gramian_of):
    """(the text of the step on four devices, the state's shapes)."""
    mesh, batch = small.mesh(4), next(small.split(8).ordered())
    state = jax.eval_shape(state_maker(method, weighter, OPTIMIZER, batch.image.shape), jax.random.key(0))
    frozen = sharding.replicate(small.frozen(), mesh) if hasattr(method, 'teachers') else {}
    step = compile_step(train_step(method, weighter, OPTIMIZER, 10, gramian_of), mesh)
    return step.lower(state, frozen, jax.device_put(batch, sharding.batched(mesh))).compile().as_text(), state


def size(tree):
    """How many numbers."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def counted(method, weighter, gramian_of='parameters'):
    """(bytes of all arrays that are exchanged, {part of the network: its parameters}, channels that are normalised).

    Nothing but all-reduces: all else would mean that an array of the batch, or parameters, travel. Numbers by
    themselves (losses, counts of defined pixels) are left out.
    """
    text, state = program(method, weighter, gramian_of)
    assert set(bytes_by_kind(text)) == {'all-reduce'}
    found = collectives(text)
    assert sum(c.bytes for c in found if not c.shape) < 100
    parts = {name: size(tree) for name, tree in state.params['network'].items()}
    return sum(c.bytes for c in found if c.shape), parts, size(state.batch_stats) // 2


def check(found, gradients, channels, passes):
    """The gradients, and what batch normalisation needs at most: two sums forward, two in every pass back."""
    assert FLOAT * gradients <= found <= FLOAT * (gradients + 2 * channels * (1 + passes))


def test_weights_of_losses_reduce_the_gradient_once():
    found, parts, channels = counted(Supervised(tiny.Network(), tiny.TASKS), weighting.uniform())
    check(found, sum(parts.values()), channels, passes=1)


def test_a_gramian_reduces_a_gradient_of_the_shared_parameters_for_every_task():
    found, parts, channels = counted(Supervised(tiny.Network(), tiny.TASKS), weighting.mgda())
    shared = parts['trunk'] + parts['norm']
    check(found, TASKS * shared + sum(parts.values()) - shared, channels, passes=TASKS)


def test_a_gramian_of_features_adds_itself():
    found, parts, channels = counted(Supervised(tiny.Network(), tiny.TASKS), weighting.mgda(), 'features')
    check(found, sum(parts.values()) + TASKS**2, channels, passes=1)


def test_teachers_exchange_nothing():
    """Of heads, the gradient of one kernel: the product of the two that they are made of (`models.blocks.Head`)."""
    found, parts, channels = counted(small.kd_mtl(), weighting.uniform())
    outputs = sum(task.channels for task in small.TASKS)
    heads = outputs * (3 * 3 * small.WIDTHS[0] + 1)
    trunk = sum(count for name, count in parts.items() if not name.startswith('head'))
    adaptors = TASKS * 2 * small.WIDTHS[0] ** 2
    check(found, trunk + heads + adaptors, channels, passes=1)


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        (
            '  %all-reduce.2 = (f32[3,6]{1,0}, /*index=1*/pred[], bf16[8]{0:T(8)}) all-reduce(%a, %b, %c), x=%add',
            [('all-reduce', (3, 6), 72), ('all-reduce', (), 1), ('all-reduce', (8,), 16)],
        ),
        ('  %s = (f32[2]{0}, f32[8]{0}) all-gather-start(f32[2]{0} %a), dimensions={0}', []),
        ('  ROOT %d = f32[8]{0} all-gather-done((f32[2]{0}, f32[8]{0}) %s)', [('all-gather', (8,), 32)]),
        ('  %add = f32[8]{0} add(%all-reduce.2, %all-reduce.3)', []),
    ],
)
def test_a_program_is_read_by_its_lines(line, expected):
    assert collectives(line) == [Collective(*fields) for fields in expected]
