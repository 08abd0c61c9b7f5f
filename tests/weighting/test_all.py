"""What every weighting has in common."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtkd_jax import weighting
from mtkd_jax.weighting.base import check_choice
from tests.weighting import examples
from tests.weighting.examples import ALL, LOSSES, random, run

NAMES = sorted(ALL)
# Weights of these may be negative: IMTL asks for equal projections, Aligned-MTL turns the gradients.
SIGNED = {'imtl', 'imtl_gradient', 'aligned_mtl', 'aligned_mtl_rmse'}
# The order of visits is drawn by position: permuting the tasks changes the draw. Tested apart, in distribution.
DRAWN = {'rlw', 'pcgrad', 'gradvac'}
SOLVED = sorted(name for name in ALL if 'converged' in ALL[name].report(examples.initial(ALL[name])))
every = pytest.mark.parametrize('name', NAMES)


def unit(rows):
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norm > 0, norm, 1)


HARD = {
    'scaled': random(1, 0.9) * np.array([1e-6, 1.0, 1e6], np.float32)[:, None],
    'parallel': random(2)[:, :1] + 1e-4 * random(3),
    'same': np.repeat(random(4)[:, :1], 3, axis=1),
    'cancelling': random(5, 1.0),
    'opposite': random(6)[:, :1] * np.array([1, -1, 1], np.float32)[:, None],
    'plane': np.einsum('sti,sip->stp', random(7)[:, :, :2], random(8)[:, :2]),
    'zero gradient': random(9) * np.array([1, 0, 1], np.float32)[:, None],
    'all zero': np.zeros((5, 3, 8), np.float32),
    'tiny': 1e-12 * random(10),
    'huge': 1e12 * random(11),
}


def test_the_table_is_complete():
    called = {weighter.update.__qualname__.split('.')[0] for weighter in ALL.values()}
    assert set(weighting.__all__) - {'Weighting'} <= {name.removesuffix('_0') for name in ALL}
    assert len(called) > 15


@every
@pytest.mark.parametrize('case', HARD)
def test_finite(name, case):
    found = run(name, LOSSES, HARD[case])
    assert np.isfinite(found.direction).all()
    for value in found.report.values():
        assert np.isfinite(value).all()
    if found.weights is not None:
        assert np.isfinite(found.weights).all()
        if name not in SIGNED:
            assert (found.weights >= 0).all()


@every
def test_a_batch_without_labels_of_a_task(name):
    losses, jacobian, labelled = LOSSES.copy(), random(1), np.ones((5, 3), bool)
    labelled[1:3, 1] = labelled[4] = False
    losses[~labelled], jacobian[~labelled] = 0, 0
    found = run(name, losses, jacobian, labelled)
    assert np.isfinite(found.direction).all()
    np.testing.assert_array_equal(found.direction[4], 0)
    # The direction lies in the plane of the other tasks' gradients of this step, or, with averages, of theirs so far.
    if found.weights is not None and name not in ('db_mtl', 'moco', 'moco_paper'):
        span = jacobian[2][[0, 2]]
        rest = found.direction[2] - span.T @ np.linalg.lstsq(span.T, found.direction[2], rcond=None)[0]
        assert np.linalg.norm(rest) < 1e-5 * max(np.linalg.norm(found.direction[2]), 1e-5)


# Of their state, and of weights that are relative to those of other tasks.
STATEFUL = {
    name: ALL[name] for name in ('famo', 'gradnorm', 'excess_mtl', 'moco', 'moco_paper', 'modo', 'sdmgrad', 'db_mtl')
} | {
    'sdmgrad_slow': weighting.sdmgrad(iterations=3, learning_rate=0.01),
}


@pytest.mark.parametrize('name', STATEFUL)
def test_an_absent_task_is_as_good_as_none(name):
    """The others go where they would go alone, up to the length of the step."""
    weighter = STATEFUL[name]
    losses, jacobian, labelled = LOSSES.copy(), 0.1 * random(12, 0.5), np.ones((5, 3), bool)
    losses[:, 1], jacobian[:, 1], labelled[:, 1] = 0, 0, False
    inputs, rest = (losses, jacobian, labelled), [0, 2]

    def steps(*inputs):
        advance = lambda state, inputs: examples.step(weighter, state, *inputs)[::-2]  # noqa: E731
        return jax.lax.scan(advance, examples.initial(weighter, inputs[0].shape[1]), inputs)[1]

    three, two = (np.asarray(jax.jit(steps)(*given)) for given in (inputs, (x[:, rest] for x in inputs)))
    np.testing.assert_allclose(unit(three), unit(two), atol=1e-4)


@pytest.mark.parametrize(
    ('name', 'kept'),
    [
        ('famo', 'logits'),
        ('gradnorm', 'weights'),
        ('excess_mtl', 'log_weights'),
        ('moco', 'weights'),
        ('moco_paper', 'weights'),
        ('modo', 'weights'),
        ('sdmgrad_slow', 'weights'),
    ],
)
def test_what_is_learned_of_a_task_waits_for_its_label(name, kept):
    weighter = STATEFUL[name]
    update = jax.jit(lambda *inputs: examples.step(weighter, *inputs)[2])
    states = [examples.initial(weighter)]
    losses, jacobian = np.tile(LOSSES, (3, 1)), 0.1 * np.tile(random(13, 0.5), (3, 1, 1))
    labelled = np.ones_like(losses, bool)
    losses[5:10, 1], jacobian[5:10, 1], labelled[5:10, 1] = 0, 0, False
    for inputs in zip(losses, jacobian, labelled, strict=True):
        states.append(update(states[-1], *map(jnp.asarray, inputs)))
    # MoDo and SDMGrad learn from the two batches before.
    first, last = (6, 12) if name in ('modo', 'sdmgrad_slow') else (5, 10)
    learned = np.stack([getattr(state, kept) for state in states])
    np.testing.assert_array_equal(learned[first : last + 1, 1], learned[first, 1])
    assert np.ptp(learned[first : last + 1, 0]) > 0
    assert learned[last + 1, 1] != learned[first, 1] != learned[0, 1]


@pytest.mark.parametrize('name', sorted(set(ALL) - DRAWN))
def test_tasks_have_no_order(name):
    permutation = [2, 0, 1]
    jacobian = random(2, 0.5)
    found = run(name, LOSSES, jacobian)
    moved = run(name, LOSSES[:, permutation], jacobian[:, permutation])
    # SDMGrad's steps of 5 amplify rounding.
    tolerance = 1e-2 if name == 'sdmgrad' else 1e-3
    np.testing.assert_allclose(moved.direction, found.direction, rtol=tolerance, atol=tolerance)
    if found.weights is not None:
        np.testing.assert_allclose(moved.weights, found.weights[:, permutation], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('name', sorted(set(ALL) - {'rlw'}))
def test_equal_tasks_weigh_the_same(name):
    found = run(name, [0.7, 0.7, 0.7], np.eye(3, 8))
    np.testing.assert_allclose(found.direction[:, :3], found.direction[:, :1].repeat(3, axis=1), rtol=1e-4)
    assert (found.direction[:, :3] > 0).all()
    if found.weights is not None:
        np.testing.assert_allclose(found.weights, found.weights[:, :1].repeat(3, axis=1), rtol=1e-4)


@pytest.mark.parametrize('name', sorted(set(weighting.__all__) - {'Weighting'}))
def test_compiled_and_vmapped_or_not(name):
    weighter = ALL[name]
    jacobian = random(3, 0.5)
    found = run(name, LOSSES, jacobian)
    state = examples.initial(weighter)
    with jax.disable_jit():
        for i in range(1 if name in SOLVED else 2):
            direction, _, state = examples.step(weighter, state, jnp.asarray(LOSSES[i]), jnp.asarray(jacobian[i]))
            np.testing.assert_allclose(direction, found.direction[i], rtol=1e-3, atol=1e-4)


@every
def test_the_state_keeps_its_form(name):
    weighter = ALL[name]
    before = jax.eval_shape(lambda: examples.initial(weighter))
    losses, jacobian = jnp.ones(3), jnp.ones((3, 8))
    after = jax.eval_shape(lambda state: examples.step(weighter, state, losses, jacobian)[2], before)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert jax.tree.leaves(before) == jax.tree.leaves(after)
    # A step that donates its state cannot donate an array twice.
    leaves = jax.tree.leaves(examples.initial(weighter))
    assert len({id(leaf) for leaf in leaves}) == len(leaves)


@every
def test_products_are_exact_everywhere(name):
    """GPUs and TPUs round the factors of a product unless told otherwise."""
    weighter = ALL[name]
    inputs = {'losses': None, 'gramian': jnp.eye(3), 'gradients': jnp.ones((3, 8))}[weighter.needs]
    program = str(jax.make_jaxpr(weighter.update)(examples.initial(weighter), jnp.ones(3), inputs, jnp.ones(3, bool)))
    assert 'precision=None' not in program
    if weighter.needs != 'losses' and name not in ('gradnorm', 'graddrop'):
        assert 'dot_general' in program


@pytest.mark.parametrize('name', ['mgda_exact', 'upgrad_0', 'nash_mtl', 'fairgrad'])
@pytest.mark.parametrize('case', ['conflict', 'scaled', 'parallel', 'plane'])
def test_no_conflict(name, case):
    jacobian = random(6, 0.9) if case == 'conflict' else HARD[case]
    found = run(name, LOSSES, jacobian)
    # In the plane three gradients may cancel: then there is no direction to speak of.
    conflicts = np.einsum('sp,stp->st', unit(found.direction), unit(jacobian))
    longest = np.max(np.abs(found.weights) * np.linalg.norm(jacobian, axis=-1), axis=-1)
    there = np.linalg.norm(found.direction, axis=-1) > 1e-3 * longest
    assert there.any()
    assert (conflicts[there] > -1e-3).all()


def test_projection_of_the_mean_conflicts_with_none():
    jacobian = random(6, 0.9)[0]
    weights = examples.weigh(weighting.dualproj(regularisation=0.0), LOSSES[0], jacobian)
    assert (unit(jacobian) @ unit(weights @ jacobian) > -1e-4).all()
    assert (unit(jacobian) @ unit(jacobian.mean(axis=0)) < -1e-2).any()


@pytest.mark.parametrize('name', SOLVED)
def test_solvers_converge_on_ordinary_gradients(name):
    report = run(name, LOSSES, random(7, 0.5)).report
    assert (report['converged'] == 1).all()
    assert (report['residual'] < (0.05 if name == 'mgda' else 1e-5)).all()


def test_no_two_coincide():
    """Not even up to a common factor of the weights, unless they are meant to."""
    # Two pairs with an angle above 90°, one below.
    jacobian = np.zeros((3, 8), np.float32)
    jacobian[:, :3] = [[1.0, 0.2, 0.0], [-0.9, 1.0, 0.3], [0.5, -1.2, 2.0]]
    scale = np.array([[1, 1, 1], [1.1, 1, 0.8], [0.9, 0.7, 1.3], [1.2, 1, 1], [1.1, 0.9, 0.6]], np.float32)[..., None]
    found = {name: run(name, LOSSES, jacobian * scale).direction[-1] for name in NAMES}
    same = []
    for i, a in enumerate(NAMES):
        for b in NAMES[i + 1 :]:
            if np.allclose(found[a], found[b], rtol=1e-4, atol=1e-5):
                same.append((a, b))
    assert same == []


@pytest.mark.parametrize('name', ['pcgrad', 'gradvac'])
def test_two_tasks_have_no_order(name):
    jacobian = random(8, 1.0)[0, :2]
    a = examples.weigh(ALL[name], [1.0, 2.0], jacobian)
    b = examples.weigh(ALL[name], [2.0, 1.0], jacobian[::-1])
    np.testing.assert_allclose(a, b[::-1], rtol=1e-4)


@pytest.mark.parametrize('name', ['rlw', 'pcgrad', 'gradvac'])
def test_draws_favour_no_task(name):
    """Averages over many seeds do not depend on the order of the tasks."""
    make = getattr(weighting, name)
    jacobian = jnp.asarray(random(9, 0.9)[0])

    def one(step, jacobian):
        weighter = make()
        state = examples.initial(weighter)
        state = state._replace(step=step) if hasattr(state, 'step') else step
        return examples.step(weighter, state, jnp.ones(3), jacobian)[1]

    draws = jax.jit(jax.vmap(one, in_axes=(0, None)))
    mean = lambda jacobian: np.asarray(draws(jnp.arange(500), jacobian)).mean(axis=0)  # noqa: E731
    permutation = jnp.array([2, 0, 1])
    np.testing.assert_allclose(mean(jacobian[permutation]), mean(jacobian)[permutation], atol=0.06)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: check_choice('scale_mode', 'max', ('min', 'rmse')), "scale_mode.*'max'.*'min', 'rmse'"),
        (lambda: weighting.cagrad(c=-1.0), '`c` is -1'),
        (lambda: weighting.fairgrad(alpha=0.0), 'alpha.*above 0'),
        (lambda: weighting.stch(warmup_steps=4, nadir_steps=5), 'nadir_steps.*4'),
        (lambda: weighting.gradvac(beta=2.0), 'beta'),
        (lambda: weighting.upgrad(regularisation=-1.0), 'regularisation'),
        (lambda: weighting.nash_mtl(max_norm=0.0), 'max_norm'),
        (lambda: weighting.cagrad(c=float('nan')), '`c` is nan'),
        (lambda: weighting.db_mtl(beta_sigma=-1.0), '`beta_sigma` is -1.*0 or more'),
        (lambda: weighting.famo(decay=-1.0), '`decay` is -1'),
        (lambda: weighting.gradnorm(alpha=-2.0), '`alpha` is -2'),
        (lambda: weighting.graddrop(leak=2.0), '`leak` is 2'),
        (lambda: weighting.moco(beta=-3.0), '`beta` is -3'),
        (lambda: weighting.moco(beta=3.0), '`beta` is 3.*from 0 to 1'),
        (lambda: weighting.moco(gamma=-1.0), '`gamma` is -1'),
        (lambda: weighting.moco(gamma_sigma=-1.0), '`gamma_sigma` is -1'),
        (lambda: weighting.moco(rho=-1.0), '`rho` is -1'),
        (lambda: weighting.modo(rho=-1.0), '`rho` is -1'),
        (lambda: weighting.sdmgrad(momentum=5.0), '`momentum` is 5'),
        (lambda: weighting.sdmgrad(regularisation=-1.0), '`regularisation` is -1'),
    ],
)
def test_wrong_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
