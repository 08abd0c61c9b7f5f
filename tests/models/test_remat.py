"""Rematerialisation: the same variables, losses and gradients, from less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mtkd_jax import methods, models, tasks
from mtkd_jax.gradients import task_gradients
from mtkd_jax.jacobian import Terms
from mtkd_jax.models import BACKBONES, self_distilled
from mtkd_jax.models.backbone import per_image
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import compile_step, train_step
from mtkd_jax.types import STUDENT, TEACHER, UserError
from mtkd_jax.weighting import mgda, uniform
from tests import small
from tests.recipes import load, stages

DENSE = (tasks.depth(), tasks.normals())
REMAT = jax.make_jaxpr(jax.checkpoint(lambda x: x))(1.0).eqns[0].primitive.name
IMAGES = (tasks.classification('svhn', 3), tasks.classification('omniglot', 4))


def made(name, remat):
    """A network of two levels where its class allows that."""
    kind = BACKBONES[name]
    if per_image(kind):
        return kind(IMAGES, (4,) * 4, remat=remat)
    if hasattr(kind, 'BRANCHES'):
        return kind(DENSE, (4,) * 5, branches=(TEACHER, STUDENT), student_widths=(4,), remat=remat)

    class Small(kind):
        CONVS = (2, 2)

    return Small(DENSE, (4, 4), remat=remat)


def gradient(network, variables, image, gramian_of):
    """Of the squares of all predictions, as `mgda` balances the tasks; losses and batch statistics beside."""

    def losses(params, shift=None):
        given = {**variables, 'params': params, **({} if shift is None else {'perturbations': shift})}
        outputs, stats = models.train_outputs(network, given, image)
        found = {t.name: sum(jnp.mean(by[t.name] ** 2) for by in outputs.predictions.values()) for t in network.tasks}
        return Terms(found, aux=stats)

    shared = lambda path: network.own(path) is None  # noqa: E731
    balance = task_gradients(mgda(), shared, gramian_of=gramian_of)
    state = balance.init(variables['params'], [t.name for t in network.tasks])
    shift = methods.Supervised(network, network.tasks).shared_shift(image) if gramian_of == 'features' else None
    found, _, report = balance.update(losses, variables['params'], state, shift=shift)
    return found, report.losses, report.weights, report.aux


@pytest.mark.parametrize(
    ('name', 'count'),
    [
        ('segnet', 16),
        ('mtan', 24),
        ('cross_stitch', 14),
        ('dense', 14),
        ('unet_sd', 10),
        ('segnet_sd', 12),
        ('lenet_mtl', 4),
    ],
)
def test_the_same_from_what_is_computed_again(name, count, monkeypatch):
    """Every task's backward pass computes the blocks again, from the same variables, and ends with the same numbers.

    `count`: blocks that are computed again, over all backward passes.
    """
    monkeypatch.setattr(self_distilled, 'CONVS', (2,))
    gramian_of = 'features' if name == 'segnet' else 'parameters'
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 16, 16, 3)), jnp.float32)
    plain, again = made(name, False), made(name, True)
    init = [lambda x, n=network: n.init(jax.random.key(0), x, train=False) for network in (plain, again)]
    shapes = [jax.eval_shape(function, image) for function in init]
    assert shapes[0] == shapes[1]
    variables = small.filled(shapes[0])

    def both(variables, image):
        return [gradient(network, variables, image, gramian_of) for network in (plain, again)]

    traced = jax.jit(both).trace(variables, image)
    assert str(traced.jaxpr).count(f'= {REMAT}[') == count
    expected, found = traced.lower().compile()(variables, image)
    largest = max(float(np.abs(x).max()) for x in jax.tree.leaves(expected[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * largest), expected[0], found[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), expected[1:], found[1:])


def test_parameters_begin_as_they_would():
    blocks = [made('lenet_mtl', remat) for remat in (False, True)]
    image = jnp.zeros((1, 16, 16, 3))
    before, after = (network.init(jax.random.key(3), image, train=False) for network in blocks)
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_step_takes_less_memory():
    """On a CPU, too, where XLA would by itself keep everything."""

    def memory(remat):
        method = methods.Supervised(made('segnet', remat), DENSE)
        split, optimizer = small.split(4, 4, chosen=DENSE), optax.sgd(0.1)
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), next(split.ordered()))
        state = jax.eval_shape(
            lambda: initial_state(method, uniform(), optimizer, jax.random.key(0), batch.image.shape)
        )
        step = compile_step(train_step(method, uniform(), optimizer, 4), small.mesh())
        return step.lower(state, {}, batch).compile().memory_analysis().temp_size_in_bytes

    assert memory(True) < 0.6 * memory(False)


def test_a_config_asks_for_it(rooms, tmp_path):
    """Of what is trained; it is no part of what a stage or a model is."""
    plain, again = (
        stages(load('rooms', 'method=uniform,tasks=depth', data__data_dir=rooms, remat=remat), tmp_path)[0]
        for remat in (False, True)
    )
    assert (plain.method.network.remat, again.method.network.remat) == (False, True)
    assert (plain.settings, plain.model_spec) == (again.settings, again.model_spec)


def test_a_backbone_that_cannot_is_refused(rooms, tmp_path):
    config = load('rooms', 'method=uniform,tasks=depth,backbone=tests.shallow', data__data_dir=rooms, remat=True)
    with pytest.raises(
        UserError, match=r'`remat` is True, but tests\.shallow has no field `remat`; set it to False, or'
    ):
        stages(config, tmp_path)
