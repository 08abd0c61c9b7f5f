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
update = jax.jit(lambda params, state: balance.update(losses, params, state, IMAGE))
params, optimizer = Network().init(jax.random.key(0), IMAGE), optax.adam(0.02)
optimizer_state, balance_state = optimizer.init(params), balance.init(params, tasks=tuple(TRUTH))
first = losses(params, IMAGE)
for _ in range(100):
    gradient, balance_state, report = update(params, balance_state)
    updates, optimizer_state = optimizer.update(gradient, optimizer_state)
    params = optax.apply_updates(params, updates)
last = losses(params, IMAGE)
for task in TRUTH:
    print(f'{task}: {first[task]:.4f} -> {last[task]:.4f}')
