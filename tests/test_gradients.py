"""`task_gradients` for anyone's own function: what it gives, by hand, for any tree of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mtkd_jax import weighting
from mtkd_jax.gradients import task_gradients
from mtkd_jax.jacobian import Terms, task_jacobian
from mtkd_jax.types import UserError
from mtkd_jax.weighting.registry import CONSTRUCTORS

TASKS = ('b', 'a')  # not in the order of their names
X = jnp.asarray(np.random.default_rng(0).standard_normal((8, 3)), jnp.float32)
PARAMS = {
    'trunk': jnp.asarray(np.random.default_rng(1).standard_normal((3, 4)), jnp.float32),
    'heads': {
        task: jnp.asarray(np.random.default_rng(i).standard_normal(4), jnp.float32) for i, task in enumerate('ab')
    },
}


def shared(path):
    return path[0] == 'trunk'


def losses(params, x, shift=None):
    feature = jnp.tanh(x @ params['trunk'])
    feature = feature if shift is None else feature + shift
    return {task: jnp.mean((feature @ head - i) ** 2) for i, (task, head) in enumerate(params['heads'].items(), 1)}


def alone(task, **options):
    return jax.grad(lambda p: losses(p, X, **options)[task])(PARAMS)


def one(made, function=losses, tasks=TASKS, params=PARAMS, **options):
    tg = task_gradients(made, shared, **options)
    return jax.jit(lambda p, s: tg.update(function, p, s, X))(params, tg.init(params, tasks))


def tree(shared):
    """An update with a tree of booleans."""
    tg = task_gradients(weighting.mgda(), shared)
    return tg.update(losses, PARAMS, tg.init(PARAMS, TASKS), X)


def close(found, expected, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), found, expected)


def given(needs, answer=(2.0, 5.0)):
    """Keeps what it is shown; answers weights, or their combination of the Jacobian's rows."""

    def update(state, losses, shown, labelled):
        weights = jnp.asarray(answer)
        return (weights @ shown if needs == 'gradients' else weights), (losses, shown, labelled)

    return weighting.Weighting(lambda *counts: (), update, needs)


@pytest.mark.parametrize('needs', ['losses', 'gramian', 'gradients'])
def test_the_order_of_tasks_is_that_of_init(needs):
    _, state, report = one(given(needs))
    np.testing.assert_allclose(state.weighting[0], [losses(PARAMS, X)[task] for task in TASKS], rtol=1e-6)
    assert state.tasks == TASKS
    if needs != 'gradients':
        assert {task: float(w) for task, w in report.weights.items()} == {'b': 2, 'a': 5}


@pytest.mark.parametrize('needs', ['losses', 'gramian', 'gradients'])
def test_shared_parameters_follow_the_weighting_and_others_their_own_task(needs):
    gradient, _, report = one(given(needs))
    a, b = alone('a'), alone('b')
    close(gradient['trunk'], 2 * b['trunk'] + 5 * a['trunk'])
    own = (5, 2) if needs == 'losses' else (1, 1)
    close(gradient['heads'], {'a': own[0] * a['heads']['a'], 'b': own[1] * b['heads']['b']})
    found = losses(PARAMS, X)
    expected = found['a'] + found['b'] if needs == 'gradients' else 5 * found['a'] + 2 * found['b']
    np.testing.assert_allclose(report.total, expected, rtol=1e-6)


def test_everything_is_shared_where_nobody_says_otherwise():
    tg = task_gradients(given('gramian'))
    gradient, state, _ = tg.update(losses, PARAMS, tg.init(PARAMS, TASKS), X)
    close(gradient, jax.tree.map(lambda a, b: 5 * a + 2 * b, alone('a'), alone('b')))
    flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(alone(task))]) for task in TASKS]
    np.testing.assert_allclose(state.weighting[1], np.stack(flat) @ np.stack(flat).T, rtol=1e-4)


def test_shared_may_be_a_tree_of_booleans():
    by_tree = task_gradients(given('gramian'), {'trunk': True, 'heads': False})
    found = by_tree.update(losses, PARAMS, by_tree.init(PARAMS, TASKS), X)[0]
    close(found, one(given('gramian'))[0])


def test_constant_factors_reach_all_parameters():
    gradient, _, report = one(weighting.uniform(), factors={'a': 3.0, 'b': 0.5})
    close(gradient, jax.tree.map(lambda a, b: 3 * a + 0.5 * b, alone('a'), alone('b')))
    assert {task: float(w) for task, w in report.weights.items()} == {'a': 3, 'b': 0.5}
    gradient, state, _ = one(given('gramian'), factors={'a': 3.0, 'b': 0.5})
    close(gradient['heads']['a'], 3 * alone('a')['heads']['a'])
    np.testing.assert_allclose(
        state.weighting[0], [0.5 * losses(PARAMS, X)['b'], 3 * losses(PARAMS, X)['a']], rtol=1e-6
    )


@pytest.mark.parametrize('needs', ['losses', 'gramian', 'gradients'])
def test_an_extra_term_is_added_as_it_is_and_the_scale_is_outside(needs):
    def with_extra(params, x):
        return Terms(losses(params, x), extra=jnp.sum(params['trunk'] ** 2), scale=0.25, aux=x.shape)

    gradient, state, report = one(given(needs), lambda p, x: with_extra(p, x)._replace(aux=jnp.zeros(2)))
    plain, without, _ = one(given(needs))
    close(gradient['trunk'], 0.25 * plain['trunk'] + 2 * PARAMS['trunk'])
    close(gradient['heads'], jax.tree.map(lambda x: 0.25 * x, plain['heads']))
    close(state.weighting, without.weighting)
    assert report.aux.shape == (2,)


def test_a_function_may_give_something_beside_its_losses():
    _, _, report = one(weighting.uniform(), lambda p, x: (losses(p, x), {'seen': jnp.sum(x)}))
    np.testing.assert_allclose(report.aux['seen'], jnp.sum(X), rtol=1e-6)


def test_labels_come_from_who_knows_them():
    for labelled in ({'a': True, 'b': False}, {'a': False, 'b': True}):
        flags = {task: jnp.asarray(flag) for task, flag in labelled.items()}
        _, state, _ = one(given('gramian'), lambda p, x, flags=flags: Terms(losses(p, x), labelled=flags))
        assert list(state.weighting[2]) == [labelled[task] for task in TASKS]


def test_the_loss_of_a_task_without_a_label_counts_for_nothing():
    flags = {'a': jnp.asarray(True), 'b': jnp.asarray(False)}
    gradient, _, report = one(weighting.uniform(), lambda p, x: Terms(losses(p, x), labelled=flags))
    close(gradient, alone('a'))
    np.testing.assert_allclose(report.total, losses(PARAMS, X)['a'], rtol=1e-6)


def test_without_labels_given_every_task_has_one():
    assert all(one(given('gramian'))[1].weighting[2])


@pytest.mark.parametrize(
    'name', [name for name in CONSTRUCTORS if name in ('uniform', 'mgda', 'pcgrad', 'moco', 'upgrad')]
)
def test_a_negative_loss_is_a_loss_like_any_other(name):
    """A Gaussian likelihood: its gradient is there, so the trunk moves by it."""

    def likelihood(params, x):
        return {task: loss - 100 for task, loss in losses(params, x).items()}

    options = {'normalise': False} if name == 'moco' else {}
    gradient, _, _ = one(CONSTRUCTORS[name](**options), likelihood)
    expected, _, _ = one(CONSTRUCTORS[name](**options))
    close(gradient, expected, rtol=1e-4)
    assert np.abs(gradient['trunk']).max() > 0


def test_a_gramian_of_features_is_that_of_the_shared_map():
    tg = task_gradients(given('gramian'), shared, gramian_of='features')
    shift = jnp.zeros((8, 4))
    gradient, state, _ = tg.update(losses, PARAMS, tg.init(PARAMS, TASKS), X, shift=shift)
    rows = [np.ravel(jax.grad(lambda s, task=task: losses(PARAMS, X, s)[task])(shift)) for task in TASKS]
    np.testing.assert_allclose(state.weighting[1], np.stack(rows) @ np.stack(rows).T, rtol=1e-4)
    close(gradient, one(given('gramian'))[0])


@pytest.mark.parametrize('gramian_of', ['parameters', 'features'])
def test_a_weighting_of_a_gramian_may_weigh_the_heads_too(gramian_of):
    made = given('gramian')._replace(weighs_own=True)
    tg = task_gradients(made, shared, gramian_of=gramian_of, factors={'a': 3.0, 'b': 1.0})
    shift = jnp.zeros((8, 4)) if gramian_of == 'features' else None
    gradient, _, report = tg.update(losses, PARAMS, tg.init(PARAMS, TASKS), X, shift=shift)
    # 2 for b, the first task, and 5 times its factor for a.
    close(gradient, jax.grad(lambda p: 2 * losses(p, X)['b'] + 15 * losses(p, X)['a'])(PARAMS))
    assert report.weights == {'b': 2.0, 'a': 15.0}


def test_a_scan_of_updates_is_the_loop():
    tg = task_gradients(weighting.famo(), shared)

    def step(carry, _):
        params, state = carry
        gradient, state, report = tg.update(losses, params, state, X)
        return (jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), state), report.losses

    start = PARAMS, tg.init(PARAMS, TASKS)
    scanned, _ = jax.lax.scan(step, start, length=3)
    for _ in range(3):
        start, _ = step(start, None)
    close(scanned, start)


def test_sharded_batches_give_the_gradient_of_the_whole():
    mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
    split = jax.device_put(X, NamedSharding(mesh, PartitionSpec('data')))
    tg = task_gradients(weighting.mgda(), shared)
    update = jax.jit(lambda p, s, x: tg.update(losses, p, s, x))
    gradient, _, _ = update(PARAMS, tg.init(PARAMS, TASKS), split)
    close(gradient, one(weighting.mgda())[0], rtol=1e-4)


def test_a_jacobian_has_a_row_per_task():
    rows, _ = task_jacobian(losses, PARAMS, TASKS, X, shared=shared)
    np.testing.assert_allclose(rows[0], np.stack([alone(task)['trunk'] for task in TASKS]), rtol=1e-5)


@pytest.mark.parametrize(
    ('attempt', 'message'),
    [
        (lambda: one(weighting.uniform(), tasks=('a',)), '`losses` gives a, b; the tasks are a'),
        (lambda: one(weighting.uniform(), tasks=()), 'names each task once, at least one'),
        (lambda: one(weighting.uniform(), tasks=('a', 'a')), 'names each task once'),
        (lambda: one(weighting.uniform(), lambda p, x: {'a': x, 'b': x}), r'an array of shape \(8, 3\) for a'),
        (lambda: one(weighting.uniform(), factors={'a': 1.0}), '`factors` has no entry for b'),
        (lambda: one(weighting.uniform(), factors={'a': 1.0, 'b': -1.0}), "`factors` has -1.0 for 'b'"),
        (lambda: one(weighting.uniform(), factors={'a': np.nan, 'b': 1.0}), "`factors` has nan for 'a'"),
        (lambda: one(weighting.uniform(), factors={'a': 1.0, 'b': 1.0, 'c': 1.0}), "`factors` has 1.0 for 'c'"),
        (lambda: one(weighting.uniform(), tasks='ab'), "`tasks` is 'ab'; give a tuple"),
        (lambda: one(weighting.uniform(), lambda p, x: jnp.sum(x)), '`losses` gives .*; give {task: loss}'),
        (lambda: one(weighting.uniform(), lambda p, x: (losses(p, x), 1, 2)), '`losses` gives tuple; give {task: los'),
        (lambda: one(weighting.uniform(), lambda p, x: Terms(losses(p, x), extra=x)), r'`extra` is an .* \(8, 3\)'),
        (lambda: one(weighting.uniform(), lambda p, x: Terms(losses(p, x), scale=x)), r'`scale` is an .* \(8, 3\)'),
        (
            lambda: one(weighting.uniform(), lambda p, x: Terms(losses(p, x), labelled={'a': True})),
            '`labelled` gives a; the tasks are b, a',
        ),
        (
            lambda: one(weighting.uniform(), lambda p, x: Terms(losses(p, x), labelled={'a': x, 'b': x})),
            r'`labelled` gives an array of shape \(8, 3\) for a',
        ),
        (lambda: one(weighting.mgda(), params={'n': 3, **PARAMS}), '`params` has n of type int'),
        (lambda: one(weighting.mgda(), params={'key': jax.random.key(0), **PARAMS}), '`params` has key of type key'),
        (lambda: one(weighting.graddrop(), params={}), '`params` has no leaves'),
        (lambda: tree('trunk'), "`shared` is neither a function .* it has 'trunk'"),
        (lambda: tree({'trunk': True}), '`shared` is neither a function of a path nor a tree of booleans like'),
        (lambda: task_gradients(weighting.dwa(), gramian_of='features'), 'reads no Gramian'),
        (lambda: one(given('gramian'), gramian_of='features'), 'Give `shift`'),
        (
            lambda: task_gradients(weighting.gradnorm(variant='kd4mtl')),
            "is 'parameters', but the .*`variant` reads feat",
        ),
        (lambda: task_gradients(weighting.mgda(variant='kd4mtl')), "is 'parameters', but the .*`variant` reads feat"),
        (
            lambda: task_gradients(given('gramian'), lambda path: path[0] == 'trunc').update(
                losses, PARAMS, task_gradients(given('gramian')).init(PARAMS, TASKS), X
            ),
            '`shared` is true of no parameter; paths are such as heads/a, heads/b, trunk',
        ),
    ],
)
def test_what_does_not_fit_is_named(attempt, message):
    with pytest.raises(UserError, match=message):
        attempt()
