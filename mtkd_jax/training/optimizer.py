"""Optimisers: Adam for the network, Adam with L2 for the adaptors (spec A4)."""

from collections.abc import Sequence

import optax


def make_optimizer(
    learning_rate: float,
    halve_at_epochs: Sequence[float],
    steps_per_epoch: int,
    adaptor_learning_rate: float,
    adaptor_l2: float,
    decay_every_epochs: float = 0.0,
    decay_factor: float = 1.0,
) -> optax.GradientTransformation:
    """Two optimisers, one per group of `params` (`network`, `adaptors`).

    The network's rate is halved from the first step of each epoch in `halve_at_epochs` (counted from 0), and multiplied
    by `decay_factor` after every `decay_every_epochs` (0: never). The adaptors' stays constant, and `adaptor_l2` times
    the parameter is added to their gradient before Adam (not decoupled), as in the authors' code.
    """
    boundaries: dict[int, float] = {}
    for epoch in halve_at_epochs:
        step = round(epoch * steps_per_epoch)
        boundaries[step] = boundaries.get(step, 1.0) / 2
    halved = optax.piecewise_constant_schedule(learning_rate, boundaries)
    every = max(1, round(decay_every_epochs * steps_per_epoch))
    decayed = optax.exponential_decay(1.0, every, decay_factor if decay_every_epochs else 1.0, staircase=True)
    groups = {
        'network': optax.adam(lambda count: halved(count) * decayed(count)),
        'adaptors': optax.chain(optax.add_decayed_weights(adaptor_l2), optax.adam(adaptor_learning_rate)),
    }

    def labels(params: dict) -> dict:
        return {group: group for group in params}

    return optax.partition(groups, labels)
