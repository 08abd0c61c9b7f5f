"""The same as `nash_mtl_flax.py` with Flax NNX: parameters are a state, the trunk is found by its path."""

import jax
import optax
from flax import nnx

import mtkd_jax as mt

IMAGE = jax.random.uniform(jax.random.key(1), (8, 16, 16, 3))
TRUTH = {'grey': IMAGE.mean(-1, keepdims=True), 'red': 100 * IMAGE[..., :1]}


class Network(nnx.Module):
    def __init__(self, rngs):
        self.trunk = nnx.Conv(3, 16, (3, 3), rngs=rngs)
        self.heads = nnx.Dict({task: nnx.Conv(16, 1, (1, 1), rngs=rngs) for task in TRUTH})

    def __call__(self, x):
        return {task: self.heads[task](nnx.relu(self.trunk(x))) for task in TRUTH}


graph, params = nnx.split(Network(nnx.Rngs(0)), nnx.Param)


def losses(params, image):
    predictions = nnx.merge(graph, params)(image)
    return {task: abs(predictions[task] - TRUTH[task]).mean() for task in TRUTH}


balance = mt.task_gradients(mt.weighting.nash_mtl(), shared=lambda path: path[0] == 'trunk')
optimizer = optax.adam(0.02)
update = jax.jit(lambda params, state: balance.update(losses, params, state, IMAGE))
optimizer_state, balance_state, reports = optimizer.init(params), balance.init(params, tuple(TRUTH)), []
for _ in range(100):
    gradient, balance_state, report = update(params, balance_state)
    updates, optimizer_state = optimizer.update(gradient, optimizer_state)
    params = optax.apply_updates(params, updates)
    reports.append(report.losses)
print('\n'.join(f'{task}: {reports[0][task]:.4f} -> {reports[-1][task]:.4f}' for task in TRUTH))
