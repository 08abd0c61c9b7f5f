"""All weightings, and one compiled way to run each: five steps on three tasks and eight parameters."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtkd_jax import weighting

STEPS, TASKS, PARAMETERS = 5, 3, 8

# Warm-ups and epochs short enough to end within the five steps.
ALL = {
    'aligned_mtl': weighting.aligned_mtl(),
    'aligned_mtl_rmse': weighting.aligned_mtl('rmse'),
    'cagrad': weighting.cagrad(),
    'db_mtl': weighting.db_mtl(),
    'dualproj': weighting.dualproj(),
    'dwa': weighting.dwa(steps_per_epoch=2),
    'excess_mtl': weighting.excess_mtl(),
    'fairgrad': weighting.fairgrad(),
    'famo': weighting.famo(),
    'fixed': weighting.fixed([2.0, 2.0, 2.0]),
    'gls': weighting.gls(),
    'graddrop': weighting.graddrop(),
    'gradnorm': weighting.gradnorm(),
    'gradvac': weighting.gradvac(beta=0.5),
    'imtl': weighting.imtl(),
    'imtl_gradient': weighting.imtl('gradient'),
    'imtl_loss': weighting.imtl('loss', learning_rate=0.01),
    'mgda': weighting.mgda(),
    'mgda_exact': weighting.mgda(solver='exact'),
    'mgda_loss+': weighting.mgda('loss+', solver='exact'),
    'modo': weighting.modo(),
    'moco': weighting.moco(),
    'moco_paper': weighting.moco(normalise=False, projection='simplex', rho=0.1),
    'nash_mtl': weighting.nash_mtl(),
    'pcgrad': weighting.pcgrad(),
    'rlw': weighting.rlw(),
    'sdmgrad': weighting.sdmgrad(),
    'stch': weighting.stch(warmup_steps=2),
    'uncertainty': weighting.uncertainty(),
    'uniform': weighting.uniform(),
    'upgrad': weighting.upgrad(),
    'upgrad_0': weighting.upgrad(regularisation=0.0),
}


class Run(NamedTuple):
    """`direction` [5 8]: of the shared parameters. `weights` [5 3], None for GradDrop, `report`: after each step."""

    direction: np.ndarray
    weights: np.ndarray | None
    report: dict[str, np.ndarray]


def initial(weighter, num_tasks=TASKS, num_parameters=PARAMETERS):
    sizes = (num_tasks, num_parameters) if weighter.needs == 'gradients' else (num_tasks,)
    return weighter.init(*sizes)


def step(weighter, state, losses, jacobian, labelled=True):
    """(direction, task weights or None, state), whatever the weighting needs."""
    labelled = jnp.broadcast_to(labelled, losses.shape)
    if weighter.needs == 'gradients':
        direction, state = weighter.update(state, losses, jacobian, labelled)
        return direction, weighter.report(state).get('weight'), state
    gramian = jacobian @ jacobian.T if weighter.needs == 'gramian' else None
    weights, state = weighter.update(state, losses, gramian, labelled)
    return weights @ jacobian, weights, state


@functools.cache
def compiled(name):
    weighter = ALL[name]

    def advance(state, inputs):
        direction, weights, state = step(weighter, state, *inputs)
        return state, (direction, weights, weighter.report(state))

    def steps(*inputs):
        return jax.lax.scan(advance, initial(weighter), inputs)[1]

    return jax.jit(jax.vmap(steps))


def run(name, losses, jacobian, labelled=True):
    """Five steps; `losses` [3] or [5 3], `jacobian` [3 8] or [5 3 8], `labelled` as `losses`.

    Side by side with another example: vmapped.
    """
    losses = jnp.broadcast_to(jnp.asarray(losses, jnp.float32), (STEPS, TASKS))
    jacobian = jnp.broadcast_to(jnp.asarray(jacobian, jnp.float32), (STEPS, TASKS, PARAMETERS))
    labelled = jnp.broadcast_to(labelled, losses.shape)
    both = compiled(name)(
        jnp.stack([losses, LOSSES]), jnp.stack([jacobian, random(99)]), jnp.stack([labelled, jnp.ones_like(labelled)])
    )
    return Run(*jax.tree.map(lambda values: np.asarray(values[0]), both))


def weigh(weighter, losses, jacobian):
    """Weights of the first step."""
    losses, jacobian = jnp.asarray(losses, jnp.float32), jnp.asarray(jacobian, jnp.float32)
    state = initial(weighter, *jacobian.shape)
    return np.asarray(jax.jit(lambda *inputs: step(weighter, *inputs)[1])(state, losses, jacobian))


def random(seed=0, conflict=0.0):
    """Gradients of five steps; `conflict`: the part of their mean that is taken away."""
    gradients = np.random.default_rng(seed).standard_normal((STEPS, TASKS, PARAMETERS)).astype(np.float32)
    return gradients - conflict * gradients.mean(axis=1, keepdims=True)


LOSSES = np.array([[1.0, 0.5, 2.0], [0.9, 0.5, 1.5], [0.8, 0.6, 1.4], [0.9, 0.4, 1.2], [0.7, 0.4, 1.1]], np.float32)
