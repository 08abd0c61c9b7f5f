"""A network in evaluation and in training mode, as pure functions of its variables."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array

from mtkd_jax.types import Outputs, Variables


def predict(network: nn.Module, variables: Variables, image: Array) -> Outputs:
    """Outputs with the running statistics of batch normalisation."""
    outputs: Any = network.apply(dict(variables), image, train=False)
    return outputs


def train_outputs(network: nn.Module, variables: Variables, image: Array) -> tuple[Outputs, dict[str, Any]]:
    """Outputs with the statistics of the batch, and the running statistics after it."""
    outputs, updated = network.apply(dict(variables), image, train=True, mutable=['batch_stats'])
    return outputs, updated.get('batch_stats', {})
