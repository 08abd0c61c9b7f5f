"""Distances and objectives by hand, and what the gradients of self-distillation reach."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtkd_jax import methods, models, tasks, weighting
from mtkd_jax.tasks import distances
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import train_step
from mtkd_jax.types import ENSEMBLE, STUDENT, TEACHER, Batch, Outputs, Target
from tests import small

EQ5, EQ6 = (TEACHER, STUDENT), (ENSEMBLE,)
NETWORK = models.SegNetSD(
    small.TASKS, (4, 4, 4, 4, 6), branches=(TEACHER, STUDENT, ENSEMBLE), student_widths=(4, 4, 4, 4)
)


def pixel(*values):
    return jnp.array(values, jnp.float32).reshape(1, 1, 1, -1)


def method(supervised=EQ5, weight=1.0, stop=False, chosen=small.TASKS):
    return methods.sd_mtcnn.SelfDistillation(
        network=dataclasses.replace(NETWORK, tasks=chosen),
        tasks=chosen,
        supervised=supervised,
        distances={t.name: t.distances['kl' if t.name == 'segmentation' else 'l2'] for t in chosen},
        weights=dict.fromkeys([t.name for t in chosen], weight),
        stop_teacher_gradient=stop,
    )


@pytest.fixture(scope='module')
def batch():
    return jax.tree.map(jnp.asarray, next(small.split(4, batch_size=4).ordered()))


@pytest.fixture(scope='module')
def variables(batch):
    return small.filled(jax.eval_shape(method().init, jax.random.key(0), batch.image))


def distillation_gradient(chosen, variables, batch):
    """The network's gradient of the distillation terms alone."""

    def total(params):
        losses, _ = chosen.losses({**variables, 'params': params}, {}, batch)
        return sum(losses.distillation.values())

    return jax.jit(jax.grad(total))(variables['params'])['network']


def largest(tree, prefix=''):
    """The largest entry of the modules whose names begin with `prefix`."""
    return max(float(jnp.abs(x).max()) for k in tree if k.startswith(prefix) for x in jax.tree.leaves(tree[k]))


def test_distances_of_one_pixel():
    p, q = (0.5, 0.25, 0.25), (0.25, 0.25, 0.5)
    forward = 0.5 * math.log(2) + 0.25 * math.log(0.5)
    seg = tasks.segmentation(3)
    log_p, log_q = jnp.log(pixel(*p)), jnp.log(pixel(0.7, 0.2, 0.1))
    assert seg.distances['kl'](log_p, jnp.log(pixel(*q))).item() == pytest.approx(forward, rel=1e-5)
    expected = 0.7 * math.log(0.7 / 0.5) + 0.2 * math.log(0.2 / 0.25) + 0.1 * math.log(0.1 / 0.25)
    assert seg.distances['reverse_kl'](log_p, log_q).item() == pytest.approx(expected, rel=1e-5)
    backward = 0.5 * math.log(0.5 / 0.7) + 0.25 * math.log(0.25 / 0.2) + 0.25 * math.log(0.25 / 0.1)
    assert seg.distances['kl'](log_p, log_q).item() == pytest.approx(backward, rel=1e-5)
    assert seg.distances['l2'](log_p, log_q).item() == pytest.approx(math.sqrt(0.04 + 0.0025 + 0.0225), rel=1e-5)
    normals = tasks.normals().distances
    a, b = pixel(1, 0, 0), pixel(0, 0.6, 0.8)
    assert normals['l2'](a, b).item() == pytest.approx(math.sqrt(2))
    assert normals['squared_l2'](a, b).item() == pytest.approx(2)
    for task in (tasks.depth(), tasks.keypoints(), tasks.edges()):
        assert task.distances['l2'](pixel(1.5), pixel(4)).item() == pytest.approx(2.5)
        assert task.distances['squared_l2'](pixel(1.5), pixel(4)).item() == pytest.approx(6.25)


@pytest.mark.parametrize('distance', [distances.l2, distances.squared_l2])
def test_distances_of_equal_predictions_have_no_gradient(distance):
    x = pixel(0.2, -0.4, 3)
    np.testing.assert_array_equal(jax.grad(lambda s: distance(s, x).sum())(x), 0)


def test_blends():
    seg = tasks.segmentation(2)
    mean = seg.blend(jnp.log(pixel(0.9, 0.1)), jnp.log(pixel(0.3, 0.7)))
    np.testing.assert_allclose(jnp.exp(mean).ravel(), [0.6, 0.4], rtol=1e-5)
    assert tasks.depth().blend(pixel(1.0), pixel(4.0)).item() == 2.5
    a, b = pixel(1, 0, 0), pixel(0, 1, 0)
    np.testing.assert_allclose(tasks.normals().blend(a, b).ravel(), [0.5, 0.5, 0])
    np.testing.assert_allclose(tasks.normals(True).blend(a, b).ravel(), [math.sqrt(0.5), math.sqrt(0.5), 0], rtol=1e-6)


def test_agreement():
    seg = tasks.segmentation(3)
    a = jnp.array([[[[3.0, 1, 2], [0, 1, 0]]]])
    b = jnp.array([[[[0.0, -1, -2], [5, 1, 0]]]])
    np.testing.assert_array_equal(seg.agreement(a, b).ravel(), [1, 0])
    student, teacher = {'depth': pixel(1.0)}, {'depth': pixel(3.0)}
    assert methods.predictions.branch_agreement([tasks.depth()], student, teacher)['agreement/depth'] == 2


def test_eq5_by_hand(variables, batch):
    """The sum of both branches' losses, and the mean distance between them."""
    losses, _ = method().losses(variables, {}, batch)
    outputs, _ = models.train_outputs(NETWORK, method().network_variables(variables), batch.image)
    teacher, student = outputs.predictions[TEACHER], outputs.predictions[STUDENT]
    for task in small.TASKS:
        target = batch.targets[task.name]
        own = task.loss(teacher[task.name], *target) + task.loss(student[task.name], *target)
        np.testing.assert_allclose(losses.task[task.name], own, rtol=1e-6)
    apart = np.linalg.norm(np.asarray(student['normals'] - teacher['normals']), axis=-1).mean()
    np.testing.assert_allclose(losses.distillation['normals'], apart, rtol=1e-5)
    depth = np.abs(np.asarray(student['depth'] - teacher['depth'])).mean()
    np.testing.assert_allclose(losses.distillation['depth'], depth, rtol=1e-5)
    logged = losses.diagnostics
    assert {n for n in logged if n.startswith('agreement')} == {f'agreement/{name}' for name in small.NAMES}
    for name in small.NAMES:
        both = logged[f'teacher/loss/{name}'] + logged[f'student/loss/{name}']
        np.testing.assert_allclose(losses.task[name], both, rtol=1e-6)


class Constants(nn.Module):
    """Predicts the same everywhere: depth 2 and 4, classes (1/2, 1/2) and (1/4, 3/4)."""

    @nn.compact
    def __call__(self, image, *, train):
        self.param('unused', nn.initializers.zeros, (1,))
        self.variable('batch_stats', 'unused', lambda: jnp.zeros(1))

        def everywhere(*values):
            return jnp.broadcast_to(jnp.asarray(values), (*image.shape[:3], len(values)))

        seg, depth = CONSTANT_TASKS
        teacher = {'segmentation': jnp.log(everywhere(0.5, 0.5)), 'depth': everywhere(2.0)}
        student = {'segmentation': jnp.log(everywhere(0.25, 0.75)), 'depth': everywhere(4.0)}
        ensemble = {t.name: t.blend(teacher[t.name], student[t.name]) for t in (seg, depth)}
        return Outputs({TEACHER: teacher, STUDENT: student, ENSEMBLE: ensemble}, {})


CONSTANT_TASKS = (tasks.segmentation(2), tasks.depth())


@pytest.mark.parametrize(
    ('supervised', 'expected'),
    [
        # ℓ: -log 1/2 - log 3/4 and |2 - 1| + |4 - 1|; λ d: 3 (1/4 log 1/2 + 3/4 log 3/2) and 3 · 2.
        (EQ5, 0.980829 + 4 + 3 * 0.130812 + 6),
        # The mean of the scores gives class 1 5/8, that of the depths is 3: -log 5/8 and 2.
        (EQ6, 0.470004 + 2 + 3 * 0.130812 + 6),
    ],
)
def test_objectives_as_numbers(supervised, expected):
    image = jnp.zeros((2, 2, 2, 3))
    mask = jnp.ones((2, 2, 2, 1), bool)
    targets = {
        'segmentation': Target(jnp.ones((2, 2, 2, 1), jnp.int32), mask),
        'depth': Target(jnp.ones((2, 2, 2, 1)), mask),
    }
    chosen = methods.sd_mtcnn.SelfDistillation(
        network=Constants(),
        tasks=CONSTANT_TASKS,
        supervised=supervised,
        distances={'segmentation': distances.kl, 'depth': distances.l2},
        weights={'segmentation': 3.0, 'depth': 3.0},
    )
    optimizer = optax.sgd(1.0)
    state = initial_state(chosen, weighting.uniform(), optimizer, jax.random.key(0), image.shape)
    _, scalars = train_step(chosen, weighting.uniform(), optimizer, 10)(state, {}, Batch(image, targets))
    assert scalars['loss/total'] == pytest.approx(expected, rel=1e-5)


def test_traditional_kd_as_numbers():
    """KL(student ‖ teacher), in this order: 1/4 log 1/2 + 3/4 log 3/2, and |4 - 2|."""
    image, mask = jnp.zeros((2, 2, 2, 3)), jnp.ones((2, 2, 2, 1), bool)
    chosen = methods.traditional_kd.TraditionalKD(
        network=Constants(),
        tasks=CONSTANT_TASKS,
        supervised=(STUDENT,),
        distances={'segmentation': distances.kl, 'depth': distances.l2},
        weights={'segmentation': 3.0, 'depth': 3.0},
        teacher=Constants(),
    )
    variables = chosen.init(jax.random.key(0), image)
    outputs, _ = models.train_outputs(Constants(), chosen.network_variables(variables), image)
    targets = {'segmentation': Target(jnp.ones((2, 2, 2, 1), jnp.int32), mask), 'depth': Target(image[..., :1], mask)}
    losses, _ = chosen.losses(variables, outputs.predictions[TEACHER], Batch(image, targets))
    assert losses.distillation['segmentation'] == pytest.approx(0.130812, rel=1e-5)
    assert losses.distillation['depth'] == 2
    assert losses.task['depth'] == 4


def test_eq6_is_the_loss_of_the_mean(variables, batch):
    losses, _ = method(EQ6).losses(variables, {}, batch)
    outputs, _ = models.train_outputs(NETWORK, method().network_variables(variables), batch.image)
    for task in small.TASKS:
        expected = task.loss(outputs.predictions[ENSEMBLE][task.name], *batch.targets[task.name])
        np.testing.assert_allclose(losses.task[task.name], expected, rtol=1e-6)


@pytest.mark.parametrize('task', small.TASKS, ids=small.NAMES)
def test_eq6_equals_eq5s_branch_where_both_agree(task, batch):
    """The mean of a prediction with itself is that prediction, so its loss is either branch's."""
    raw = jax.random.normal(jax.random.key(0), (*batch.image.shape[:3], task.channels))
    prediction = task.activate(raw)
    target = batch.targets[task.name]
    np.testing.assert_allclose(
        task.loss(task.blend(prediction, prediction), *target), task.loss(prediction, *target), rtol=1e-6
    )
    for distance in task.distances.values():
        np.testing.assert_allclose(jnp.mean(distance(prediction, prediction)), 0, atol=1e-6)


@pytest.mark.parametrize('supervised', [EQ5, EQ6], ids=['eq5', 'eq6'])
def test_weight_zero_is_no_distillation(batch, supervised):
    """The train step with λ = 0 makes the update that plain supervision of the same branches makes."""
    # Plain gradient descent: the update is the gradient.
    optimizer = optax.sgd(1.0)
    without = method(supervised, weight=0.0, chosen=small.TASKS[1:])
    plain = methods.Supervised(without.network, without.tasks, supervised)
    after = []
    for chosen in (without, plain):
        make = functools.partial(initial_state, chosen, weighting.uniform(), optimizer, image_shape=batch.image.shape)
        state = small.filled(jax.eval_shape(make, jax.random.key(0)))
        new, _ = jax.jit(train_step(chosen, weighting.uniform(), optimizer, 10))(state, {}, batch)
        after.append(new.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *after)


def test_stopped_teachers_get_no_distillation_gradient(variables, batch):
    free, stopped = (distillation_gradient(method(stop=stop), variables, batch) for stop in (False, True))
    assert largest(stopped, 'teacher') == 0
    assert largest(free, 'teacher') > 0
    assert largest(stopped, 'student') > 0
    # The encoder still learns, through the student.
    assert largest(stopped, 'encoder') > 0


def test_traditional_kd_reads_a_frozen_teacher(batch):
    student = dataclasses.replace(NETWORK, branches=(STUDENT,))
    teacher = dataclasses.replace(NETWORK, branches=('main',))
    chosen = methods.traditional_kd.TraditionalKD(
        network=student,
        tasks=small.TASKS,
        supervised=(STUDENT,),
        distances=method().distances,
        weights=dict.fromkeys(small.NAMES, 1.0),
        teacher=teacher,
    )
    variables = small.filled(jax.eval_shape(chosen.init, jax.random.key(0), batch.image))
    assert not [name for name in variables['params']['network'] if name.startswith('teacher')]
    frozen = {TEACHER: teacher.init(jax.random.key(1), batch.image, train=False)}
    losses, _ = jax.jit(functools.partial(small.losses, chosen))(variables, frozen, batch)
    truth = models.predict(teacher, frozen[TEACHER], batch.image).predictions['main']
    mine, _ = models.train_outputs(student, chosen.network_variables(variables), batch.image)
    apart = jnp.mean(jnp.abs(mine.predictions[STUDENT]['depth'] - truth['depth']))
    np.testing.assert_allclose(losses.distillation['depth'], apart, rtol=1e-5)

    def total(frozen):
        return sum(small.losses(chosen, variables, frozen, batch)[0].distillation.values())

    assert largest(jax.grad(total)(frozen)[TEACHER]) == 0
