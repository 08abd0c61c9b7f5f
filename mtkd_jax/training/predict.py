"""Inference apart from training: a network's predictions for arrays of images, by branch."""

import operator
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mtkd_jax import models
from mtkd_jax.types import Variables

Predictions = dict[str, dict[str, np.ndarray]]


def make_predictor(
    network: nn.Module, variables: Variables, batch_size: int = 8
) -> Callable[[np.ndarray], Predictions]:
    """images [n h w 3] in [0, 1] → {branch: {task: [n h w c]}}, in evaluation mode, `batch_size` at a time."""
    variables = jax.device_put(variables)
    apply = jax.jit(lambda variables, image: models.predict(network, variables, image).predictions)

    def predict(images: np.ndarray) -> Predictions:
        parts: list[Any] = []
        for i in range(0, len(images), batch_size):
            chunk = images[i : i + batch_size].astype(np.float32)
            # A last, shorter batch is filled up: the network is compiled for one size only.
            padding = [(0, batch_size - len(chunk)), (0, 0), (0, 0), (0, 0)]
            found = jax.device_get(apply(variables, np.pad(chunk, padding)))
            parts.append(jax.tree.map(operator.itemgetter(slice(len(chunk))), found))
        return jax.tree.map(lambda *x: np.concatenate(x), *parts)

    return predict
