"""KD-MTL (Li & Bilen 2020) in a loop of one's own: a network for two tasks also learns its wider teachers' features."""

import flax.linen as nn
import jax
import optax

from mtkd_jax.distill import Adaptor, feature_distance, squared_l2

KEY, IMAGE = jax.random.key(0), jax.random.uniform(jax.random.key(1), (4, 16, 16, 3))
TRUTH = {'grey': IMAGE.mean(-1, keepdims=True), 'blue': IMAGE[..., 2:] ** 2}
ADAPTOR, OPTIMIZER = Adaptor(features=12), optax.adam(0.01)


class Network(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        return {task: nn.Conv(1, (1, 1), name=task)(x) for task in TRUTH}, x


def train(network, tasks, taught):  # returns the trained network's features
    def loss(params):
        predictions, own = network.apply(params['network'], IMAGE)
        apart = [feature_distance(ADAPTOR.apply(params[task], own), taught[task]) for task in taught]
        return sum([squared_l2(predictions[task], TRUTH[task]).mean() for task in tasks] + apart)

    (_, own), variables = network.init_with_output(KEY, IMAGE)
    params = {'network': variables} | {task: ADAPTOR.init(KEY, own) for task in taught}
    state, gradient, before = OPTIMIZER.init(params), jax.jit(jax.grad(loss)), loss(params)
    for _ in range(60):
        updates, state = OPTIMIZER.update(gradient(params), state)
        params = optax.apply_updates(params, updates)
    print(f'{" and ".join(tasks)}: {before:.4f} -> {loss(params):.4f}')
    return network.apply(params['network'], IMAGE)[1]


train(Network(width=8), TRUTH, taught={task: train(Network(width=12), [task], taught={}) for task in TRUTH})
