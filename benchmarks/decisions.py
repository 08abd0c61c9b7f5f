"""What a network decides for each of its activations: which ReLU lets through, and which of four is the maximum.

A gradient is smooth in what the layers before compute, but for these: where two types, or two orders of a sum, decide
one of them otherwise, it jumps.
"""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mtkd_jax import ops
from mtkd_jax.models.blocks import ConvBlock
from mtkd_jax.training import sharding

Decisions = dict[str, np.ndarray]


def decisions(network: nn.Module, variables: Any, image: np.ndarray, devices: int) -> Decisions:
    """Of a SegNet in training mode, by layer: booleans of ReLUs, and of encoder blocks the places of the maxima."""
    mesh = sharding.make_mesh(devices)

    def before(variables: Any, image: Any) -> Any:
        kept = nn.apply(
            lambda module: module(image, train=True),
            network,
            mutable=['batch_stats', 'intermediates'],
            capture_intermediates=lambda module, _: isinstance(module, nn.BatchNorm | ConvBlock),
        )
        return kept(variables)[1]['intermediates']

    everywhere, split = sharding.replicated(mesh), sharding.batched(mesh)
    values = jax.jit(before, in_shardings=(everywhere, split), out_shardings=everywhere)(variables, image)
    found = {}
    for keys, value in jax.tree_util.tree_flatten_with_path(values)[0]:
        layer = '/'.join(key.key for key in keys if hasattr(key, 'key'))
        # Batch normalisation comes before a ReLU, but in attention.
        if 'norm' in layer and 'attention' not in layer:
            found[layer] = np.asarray(value > 0)
        elif layer.startswith('encoder') and 'norm' not in layer:
            found[layer] = np.asarray(ops.max_pool_argmax(value)[1])
    return found


def otherwise(found: Decisions, expected: Decisions) -> int:
    """How many differ."""
    return sum(int(np.sum(found[layer] != expected[layer])) for layer in expected)
