"""KD-MTL's adaptors: one linear map per task and distilled point (spec A2)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from mtkd_jax.models.blocks import XAVIER
from mtkd_jax.types import Features, feature_of


class Adaptors(nn.Module):
    """A_t of Li & Bilen (2020), eq. 3: a 1×1 convolution C→C without bias per task and point, Xavier normal.

    Takes the network's features by point, [b h w C] each (shared, or one for each task), and returns
    {task: {point: [b h w C]}}.
    """

    tasks: Sequence[str]
    points: Sequence[str]
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Features) -> dict[str, dict[str, Float[Array, '...']]]:
        def adapt(task: str, point: str) -> Array:
            x = feature_of(task, point, features)
            name = f'{task}_{point}'
            return nn.Conv(x.shape[-1], (1, 1), use_bias=False, kernel_init=XAVIER, dtype=self.dtype, name=name)(x)

        return {task: {point: adapt(task, point) for point in self.points} for task in self.tasks}
