"""Gradients by task: what a weighting is shown, what becomes of its answer, and what it costs to look."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from jax.interpreters import partial_eval

from mtkd_jax import distill, methods, models
from mtkd_jax.training import sharding
from mtkd_jax.training.diagnostics import diagnosis
from mtkd_jax.training.state import TrainState, initial_state
from mtkd_jax.training.step import compile_step, train_step
from mtkd_jax.weighting import Weighting
from mtkd_jax.weighting.registry import CONSTRUCTORS
from mtkd_jax.weighting.scaled import scaled
from tests import small, tiny

NAMES = tuple(task.name for task in tiny.TASKS)
GIVEN = jnp.asarray([0.5, 2.0, 0.0])
SGD = optax.sgd(1.0)
BATCH = jax.tree.map(jnp.asarray, next(small.split(16).ordered()))


class Parts(NamedTuple):
    """Parameters that tasks share, and those that one task's loss alone reaches."""

    shared: Any
    own: Any


def split(params, names):
    heads = {f'head_{name}' for name in names}
    network = params['network']
    shared = {name: tree for name, tree in network.items() if name not in heads}
    own = {name: tree for name, tree in network.items() if name in heads}
    return Parts(shared, {**{group: tree for group, tree in params.items() if group != 'network'}, 'network': own})


def supervised():
    return methods.Supervised(tiny.Network(), tiny.TASKS)


def kd_mtl():
    return methods.kd_mtl.KDMTL(
        network=tiny.Network(),
        tasks=tiny.TASKS,
        adaptors=distill.Adaptors(NAMES, ('last',)),
        teachers={name: tiny.Network() for name in NAMES},
        points=('last',),
        weights={'segmentation': 1.0, 'depth': 2.0, 'normals': 3.0},
    )


def bam(**fields):
    return methods.bam.BAM(
        network=tiny.Network(),
        tasks=tiny.TASKS,
        distances={t.name: t.distances['squared_l2'] for t in tiny.TASKS},
        weights=dict.fromkeys(NAMES, 3.0),
        teachers={name: tiny.Network() for name in NAMES},
        **fields,
    )


def teachers():
    return {
        name: tiny.Network().init(jax.random.key(i + 1), jnp.asarray(BATCH.image), train=False)
        for i, name in enumerate(NAMES)
    }


def recorder(needs):
    """A weighting that keeps what it is shown, and answers `GIVEN`."""

    def update(state, losses, shown, labelled):
        answer = GIVEN @ shown if needs == 'gradients' else GIVEN
        return answer, (losses, shown)

    def init(count, *rest):
        return jnp.zeros(count), jnp.zeros((count, *(rest or (count,))))

    return Weighting(init, update, needs)


def one_step(method, weighting, gramian_of='parameters', devices=1, batch=BATCH, step=0, total_steps=4):
    """(state before, state after, scalars)."""
    mesh = small.mesh(devices)
    before = initial_state(method, weighting, SGD, jax.random.key(0), batch.image.shape)
    before = before._replace(step=jnp.asarray(step))
    compiled = compile_step(train_step(method, weighting, SGD, total_steps, gramian_of), mesh)
    state = sharding.replicate(jax.tree.map(jnp.copy, before), mesh)
    after, scalars = compiled(
        state, sharding.replicate(teachers(), mesh), jax.device_put(batch, sharding.batched(mesh))
    )
    return before, jax.device_get(after), jax.device_get(scalars)


def by_hand(method, state: TrainState, progress=0.0):
    """Each task's gradient of the whole parameters, and the distillation's."""
    frozen = teachers()

    def loss(params, pick):
        return pick(small.losses(method, state._replace(params=params).variables, frozen, BATCH)[0])

    of_task = [jax.grad(loss)(state.params, lambda found, n=n: found.task[n]) for n in NAMES]
    weights = method.mixture(jnp.asarray(progress)).distillation

    def distilled(found):
        return sum((weights[n] * d for n, d in found.distillation.items()), jnp.zeros(()))

    return of_task, jax.grad(loss)(state.params, distilled)


def moved(before, after):
    return jax.tree.map(lambda a, b: np.asarray(a) - b, before.params, after.params)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-6), a, b)


@pytest.mark.parametrize('needs', ['losses', 'gramian', 'gradients'])
@pytest.mark.parametrize('method', [supervised, kd_mtl])
def test_shared_parameters_follow_the_weighting_and_heads_their_own_task(needs, method):
    before, after, scalars = one_step(method(), recorder(needs))
    of_task, distilled = by_hand(method(), before)
    weighted = jax.tree.map(lambda d, *g: sum(w * x for w, x in zip(GIVEN, g, strict=True)) + d, distilled, *of_task)
    plain = jax.tree.map(lambda d, *g: sum(g) + d, distilled, *of_task)
    shared, own = split(moved(before, after), NAMES)
    close(shared, split(weighted, NAMES).shared)
    # Losses alone: everything is weighted. Gradients: the weighting has its say where tasks meet, and only there.
    close(own, split(weighted if needs == 'losses' else plain, NAMES).own)
    assert own['network'].keys() == {f'head_{name}' for name in NAMES}
    assert shared.keys() == {'trunk', 'norm'}
    if needs != 'gradients':
        assert scalars['weight/depth'] == 2


@pytest.mark.parametrize(
    ('needs', 'gramian_of'), [('gramian', 'parameters'), ('gramian', 'features'), ('gradients', 'parameters')]
)
@pytest.mark.parametrize('method', [supervised, kd_mtl])
def test_factors_reach_the_heads(needs, gramian_of, method):
    factors = (3.0, 1.0, 0.0)
    before, after, scalars = one_step(method(), scaled(recorder(needs), factors), gramian_of)
    of_task, distilled = by_hand(method(), before)
    expected = jax.tree.map(lambda d, *g: sum(f * x for f, x in zip(factors, g, strict=True)) + d, distilled, *of_task)
    _, own = split(moved(before, after), NAMES)
    close(own, split(expected, NAMES).own)
    assert all(np.all(x == 0) for x in jax.tree.leaves(own['network']['head_normals']))
    if needs == 'gradients' and method is supervised:
        total = sum(f * scalars[f'loss/{name}'] for f, name in zip(factors, NAMES, strict=True))
        np.testing.assert_allclose(scalars['loss/total'], total, rtol=1e-6)


@pytest.mark.parametrize('needs', ['losses', 'gramian', 'gradients'])
@pytest.mark.parametrize('done', [0, 1])
def test_weightings_see_what_the_labels_say_whatever_their_share(needs, done):
    """BAM's annealing is outside: it can neither be balanced away nor be taken for learning."""
    share = done / 4
    before, after, scalars = one_step(bam(), recorder(needs), step=done)
    of_task, distilled = by_hand(bam(), before, share)
    losses, shown = after.weighting_state
    np.testing.assert_allclose(losses, [scalars[f'loss/{name}'] for name in NAMES], rtol=1e-6)
    assert (losses > 0).all()
    if needs == 'gradients':
        flat = [ravel_pytree(split(g, NAMES).shared)[0] for g in of_task]
        np.testing.assert_allclose(shown, flat, rtol=2e-4, atol=2e-6)
    mixed = lambda w: jax.tree.map(  # noqa: E731
        lambda d, *g: share * sum(x * y for x, y in zip(w, g, strict=True)) + d, distilled, *of_task
    )
    shared, own = split(moved(before, after), NAMES)
    close(shared, split(mixed(GIVEN), NAMES).shared)
    close(own, split(mixed(GIVEN if needs == 'losses' else (1, 1, 1)), NAMES).own)
    counted = np.ones(3) if needs == 'gradients' else GIVEN
    total = share * counted @ losses + (1 - share) * 3 * sum(scalars[f'distillation/{name}'] for name in NAMES)
    np.testing.assert_allclose(scalars['loss/total'], total, rtol=1e-5)
    if needs != 'gradients':
        assert scalars['weight/depth'] == 2


@pytest.mark.parametrize(
    ('needs', 'gramian_of', 'expected'),
    [
        # Forward 4; with respect to every head's kernel and input, and the trunk's kernel, 7.
        ('losses', 'parameters', 11),
        # The trunk once for every task; of the heads, each its own once.
        ('gramian', 'parameters', 13),
        ('gradients', 'parameters', 13),
        # Through the heads once more.
        ('gramian', 'features', 14),
    ],
)
def test_nothing_is_pulled_back_that_is_not_needed(needs, gramian_of, expected):
    method, weighting = supervised(), recorder(needs)
    state = jax.eval_shape(lambda: initial_state(method, weighting, SGD, jax.random.key(0), BATCH.image.shape))
    step = train_step(method, weighting, SGD, 4, gramian_of)
    program = jax.make_jaxpr(lambda state: step(state, {}, BATCH)[0])(state).jaxpr
    used, _ = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
    assert str(used).count('= conv_general_dilated[') == expected


@pytest.mark.parametrize('devices', [1, 8])
def test_gramian_and_jacobian_are_those_of_the_shared_parameters(devices):
    before, seen_products, _ = one_step(kd_mtl(), recorder('gramian'), devices=devices)
    _, seen_rows, _ = one_step(kd_mtl(), recorder('gradients'), devices=devices)
    of_task, _ = by_hand(kd_mtl(), before)
    shared = [split(gradient, NAMES).shared for gradient in of_task]
    rows = np.stack([np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in shared])
    np.testing.assert_allclose(seen_rows.weighting_state[1], rows, rtol=2e-4, atol=2e-6)
    np.testing.assert_allclose(seen_products.weighting_state[1], rows @ rows.T, rtol=1e-3, atol=1e-6)


def test_gramian_of_features_is_that_of_the_map_all_heads_read():
    before, after, _ = one_step(supervised(), recorder('gramian'), gramian_of='features')
    network = tiny.Network()
    variables = {'params': before.params['network'], 'batch_stats': before.batch_stats}
    features = models.train_outputs(network, variables, BATCH.image)[0].features['last']

    def loss(x, task):
        head = before.params['network'][f'head_{task.name}']
        return task.loss(task.activate(x @ head['kernel'][0, 0] + head['bias']), *BATCH.targets[task.name])

    rows = np.stack([np.ravel(jax.grad(loss)(features, task)) for task in tiny.TASKS])
    np.testing.assert_allclose(after.weighting_state[1], rows @ rows.T, rtol=1e-3, atol=1e-9)
    of_task, _ = by_hand(supervised(), before)
    shared, own = split(moved(before, after), NAMES)
    expected = jax.tree.map(lambda *g: sum(w * x for w, x in zip(GIVEN, g, strict=True)), *of_task)
    close(shared, split(expected, NAMES).shared)
    close(own, split(jax.tree.map(lambda *g: sum(g), *of_task), NAMES).own)


def test_factors_in_front_of_a_weighting():
    factors = (3.0, 1.0, 0.5)
    _, plain, _ = one_step(supervised(), recorder('gramian'))
    _, after, scalars = one_step(supervised(), scaled(recorder('gramian'), factors))
    np.testing.assert_allclose(
        after.weighting_state[1], np.outer(factors, factors) * plain.weighting_state[1], rtol=1e-5
    )
    assert scalars['weight/segmentation'] == 1.5
    # Weights that a direction has in it stand for ℓ_t, too: ExcessMTL begins with 1 for every f_t ℓ_t, and DB-MTL does
    # not see factors.
    _, _, scalars = one_step(supervised(), scaled(CONSTRUCTORS['excess_mtl'](), factors))
    np.testing.assert_allclose([scalars[f'weight/{name}'] for name in NAMES], factors, rtol=1e-5)
    balanced = [one_step(supervised(), scaled(CONSTRUCTORS['db_mtl'](), f))[2] for f in (factors, (1.0, 1.0, 1.0))]
    np.testing.assert_allclose(*([s[f'weight/{name}'] for name in NAMES] for s in balanced), rtol=1e-4)
    with pytest.raises(ValueError, match='`factors` has 2 entries for 3 tasks'):
        scaled(recorder('gramian'), (1.0, 1.0)).init(3)


@pytest.mark.parametrize(
    ('method', 'name'), [*((supervised, name) for name in CONSTRUCTORS), (kd_mtl, 'mgda'), (bam, 'graddrop')]
)
def test_a_task_without_labels_never_spoils_the_others(method, name):
    depth = BATCH.targets['depth']
    empty = depth._replace(mask=np.zeros_like(depth.mask), value=np.full_like(depth.value, np.inf))
    batch = BATCH._replace(targets={**BATCH.targets, 'depth': empty})
    before, after, scalars = one_step(method(), CONSTRUCTORS[name](), batch=batch)
    assert scalars['loss/depth'] == 0
    assert all(np.isfinite(value) for value in scalars.values()), scalars
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after.params, after.batch_stats)))
    shared, own = split(moved(before, after), NAMES)
    assert any(np.abs(x).max() > 0 for x in jax.tree.leaves(shared))
    # Neither a label nor a teacher's answer: the unlabelled task's head has nothing to follow.
    assert all(np.abs(x).max() == 0 for x in jax.tree.leaves(own['network']['head_depth']))


@pytest.mark.parametrize('needs', ['losses', 'gramian', 'gradients'])
def test_masks_say_which_tasks_have_a_label(needs):
    """Not losses: the segmentation's is below 0 here, that of normals 0, and that of depth 0 for want of a label."""
    depth = BATCH.targets['depth']
    batch = BATCH._replace(targets={**BATCH.targets, 'depth': depth._replace(mask=np.zeros_like(depth.mask))})
    odd = dataclasses.replace(tiny.TASKS[0], loss=lambda *given: -tiny.TASKS[0].loss(*given))
    solved = dataclasses.replace(tiny.TASKS[2], loss=lambda *given: 0 * tiny.TASKS[2].loss(*given))
    method = methods.Supervised(tiny.Network(), (odd, tiny.TASKS[1], solved))
    keeps = recorder(needs)._replace(
        init=lambda *sizes: jnp.zeros(3, bool),
        update=lambda state, losses, shown, labelled: (GIVEN @ shown if needs == 'gradients' else GIVEN, labelled),
    )
    for gramian_of in ('parameters', 'features') if needs == 'gramian' else ('parameters',):
        _, after, scalars = one_step(method, keeps, gramian_of, batch=batch)
        assert scalars['loss/segmentation'] < 0 == scalars['loss/normals']
        np.testing.assert_array_equal(after.weighting_state, [True, False, True])


def test_bam_goes_from_the_teachers_to_the_labels():
    losses, _ = small.losses(
        bam(),
        initial_state(bam(), CONSTRUCTORS['uniform'](), SGD, jax.random.key(0), BATCH.image.shape).variables,
        teachers(),
        BATCH,
    )
    for done in (0, 1, 3):
        *_, scalars = one_step(bam(), CONSTRUCTORS['uniform'](), step=done)
        share = done / 4
        expected = share * sum(losses.task.values()) + (1 - share) * 3 * sum(losses.distillation.values())
        np.testing.assert_allclose(scalars['loss/total'], expected, rtol=1e-4)
    *_, scalars = one_step(bam(annealing=False), CONSTRUCTORS['uniform'](), step=1)
    expected = sum(losses.task.values()) + 3 * sum(losses.distillation.values())
    np.testing.assert_allclose(scalars['loss/total'], expected, rtol=1e-4)


def test_bam_distils_the_prediction_of_each_tasks_teacher():
    state = initial_state(bam(), CONSTRUCTORS['uniform'](), SGD, jax.random.key(0), BATCH.image.shape)
    losses, _ = small.losses(bam(), state.variables, teachers(), BATCH)
    variables = {'params': state.params['network'], 'batch_stats': state.batch_stats}
    own = models.train_outputs(tiny.Network(), variables, BATCH.image)[0].predictions['main']['depth']
    taught = models.predict(tiny.Network(), teachers()['depth'], BATCH.image).predictions['main']['depth']
    np.testing.assert_allclose(losses.distillation['depth'], np.mean((own - taught) ** 2), rtol=1e-4)


def test_diagnosis_is_what_it_says():
    method, mesh = kd_mtl(), small.mesh(2)
    state = initial_state(method, CONSTRUCTORS['uniform'](), SGD, jax.random.key(0), BATCH.image.shape)
    found = diagnosis(method, mesh)(state, teachers(), jax.device_put(BATCH, sharding.batched(mesh)))
    of_task, _ = by_hand(method, state)
    flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(split(g, NAMES).shared)]) for g in of_task]
    norms = [np.linalg.norm(x) for x in flat]
    np.testing.assert_allclose(found['gradient/normals'], norms[2], rtol=1e-3)
    np.testing.assert_allclose(found['cosine/segmentation/depth'], flat[0] @ flat[1] / norms[0] / norms[1], atol=1e-3)
    assert {name for name in found if name.startswith('cka')} == {f'cka/{name}/last' for name in NAMES}
    assert all(0 < found[f'cka/{name}/last'] < 1 for name in NAMES)
