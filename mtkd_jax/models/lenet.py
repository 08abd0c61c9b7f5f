"""LeNet-MTL: the small network of SVHN & Omniglot (papers.md A5), shaped like Sener & Koltun's (2018) MultiLeNet."""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from mtkd_jax import ops
from mtkd_jax.models.backbone import by_child
from mtkd_jax.models.blocks import XAVIER, perturbable, recomputed
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Outputs

WIDTHS = (10, 20, 50, 50)


class ClassHead(nn.Module):
    """A task's predictor: fully connected(width), ReLU, fully connected(classes)."""

    width: int
    classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b 1 1 c']) -> Float[Array, 'b 1 1 k']:
        x = nn.relu(nn.Dense(self.width, kernel_init=XAVIER, dtype=self.dtype, name='hidden')(x))
        return nn.Dense(self.classes, kernel_init=XAVIER, dtype=self.dtype, name='out')(x)


class LeNetMTL(nn.Module):
    """Twice conv5×5 (no padding), 2×2 max pooling, ReLU; a fully connected layer with ReLU; a head per task.

    Image [b h w 3] in [0, 1], always of one size, `h` and `w` multiples of 16. Features: `mid` [b h' w' widths[1]],
    after the last pooling (h' = h/4 - 3); `last` [b 1 1 widths[2]], the shared representation, which alone is distilled
    by default (papers.md A2). Predictions are float32, independently of `dtype`. No batch normalisation, no dropout.

    Attributes:
        tasks: what to predict, one answer per image each.
        widths: channels of the two convolutions, of the shared layer, and of the hidden layer of every head.
        dtype: compute type; parameters stay float32.
        remat: the backward pass computes the convolutions again, instead of keeping what they give.
    """

    tasks: Sequence[Task]
    widths: Sequence[int] = WIDTHS
    dtype: Any = None
    remat: bool = False

    NAME: ClassVar[str] = 'lenet_mtl'
    POINTS: ClassVar[tuple[str, ...]] = ('mid', 'last')
    DISTILLED: ClassVar[tuple[str, ...]] = ('last',)
    STRIDE: ClassVar[int] = 16
    PER_IMAGE: ClassVar[bool] = True
    SHARED_FEATURE: ClassVar[str | None] = 'last'

    def own(self, path: tuple[str, ...]) -> str | None:
        """See `Backbone.own`: the heads."""
        return by_child(path, self.tasks, 'head')

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w 3'], *, train: bool) -> Outputs:
        first, second, shared, hidden = self.widths
        pooled = recomputed(self.remat, lambda conv, x: nn.relu(nn.max_pool(conv(x), (2, 2), strides=(2, 2))))
        x = image
        for i, width in enumerate((first, second)):
            conv = nn.Conv(width, (5, 5), padding='VALID', kernel_init=XAVIER, dtype=self.dtype, name=f'conv_{i}')
            x = pooled(conv, x)
        mid, x = x, x.reshape(x.shape[0], 1, 1, -1)
        x = perturbable(self, nn.relu(nn.Dense(shared, kernel_init=XAVIER, dtype=self.dtype, name='representation')(x)))
        raw = {t.name: ClassHead(hidden, t.channels, self.dtype, name=f'head_{t.name}')(x) for t in self.tasks}
        predictions = {t.name: t.activate(ops.widened(raw[t.name])) for t in self.tasks}
        return Outputs({MAIN: predictions}, {'mid': mid, 'last': x})
