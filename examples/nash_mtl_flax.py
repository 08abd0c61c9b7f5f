"""Nash-MTL (Navon et al. 2022) in a loop of one's own: a Flax (linen) network with a trunk and two heads."""

import flax.linen as nn
import jax
import optax

import mtkd_jax as mt

IMAGE = jax.random.uniform(jax.random.key(1), (8, 16, 16, 3))
TRUTH = {'grey': IMAGE.mean(-1, keepdims=True), 'red': 100 * IMAGE[..., :1]}  # losses of very different size


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(16, (3, 3), name='trunk')(x))
        return {task: nn.Conv(1, (1, 1), name=task)(x) for task in TRUTH}


def losses(params, image):
    predictions = Network().apply(params, image)
    return {task: abs(predictions[task] - TRUTH[task]).mean() for task in TRUTH}


balance = mt.task_gradients(mt.weighting.nash_mtl(), shared=lambda path: path[1] == 'trunk')
optimizer = optax.adam(0.02)


@jax.jit
def step(params, optimizer_state, balance_state):
    gradient, balance_state, report = balance.update(losses, params, balance_state, IMAGE)
    updates, optimizer_state = optimizer.update(gradient, optimizer_state)
    return (optax.apply_updates(params, updates), optimizer_state, balance_state), report


params = Network().init(jax.random.key(0), IMAGE)
state, reports = (params, optimizer.init(params), balance.init(params, tuple(TRUTH))), []
for _ in range(100):
    state, report = step(*state)
    reports.append(report.losses)
print('\n'.join(f'{task}: {reports[0][task]:.4f} -> {reports[-1][task]:.4f}' for task in TRUTH))
