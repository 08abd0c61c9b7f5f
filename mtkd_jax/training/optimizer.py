"""Optimisers: Adam for the network, Adam with L2 for the adaptors (spec A4)."""

from collections.abc import Sequence

import optax


def make_optimizer(
    learning_rate: float,
    halve_at_epochs: Sequence[float],
    steps_per_epoch: int,
    adaptor_learning_rate: float,
    adaptor_l2: float,
) -> optax.GradientTransformation:
    """Two optimisers, one per group of `params` (`network`, `adaptors`).

    The network's rate is halved from the first step of each epoch in `halve_at_epochs` (counted from 0). The adaptors'
    stays constant, and `adaptor_l2` times the parameter is added to their gradient before Adam (not decoupled), as in
    the authors' code.
    """
    boundaries: dict[int, float] = {}
    for epoch in halve_at_epochs:
        step = round(epoch * steps_per_epoch)
        boundaries[step] = boundaries.get(step, 1.0) / 2
    schedule = optax.piecewise_constant_schedule(learning_rate, boundaries)
    groups = {
        'network': optax.adam(schedule),
        'adaptors': optax.chain(optax.add_decayed_weights(adaptor_l2), optax.adam(adaptor_learning_rate)),
    }

    def labels(params: dict) -> dict:
        return {group: group for group in params}

    return optax.partition(groups, labels)
