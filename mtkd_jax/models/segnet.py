"""SegNet with one trunk for all tasks, its wide and deep forms: the backbone of KD-MTL's main tables (papers.md A6)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from mtkd_jax.models.backbone import by_child
from mtkd_jax.models.blocks import ConvBlock, narrower, perturbable, pooled, predictions, unpooled
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Features, Outputs

WIDTHS = (64, 128, 256, 512, 512)


class SegNet(nn.Module):
    """Five encoder blocks with 2×2 max pooling that keeps the argmax, five mirrored decoder blocks, a head per task.

    Image [b h w 3] in [0, 1], `h` and `w` multiples of 32. Features: `mid` [b h/32 w/32 widths[-1]], after the last
    pooling; `last` [b h w widths[0]], before the heads. Predictions are float32, independently of `dtype`.
    The last shared feature is `last`.

    Attributes:
        tasks: what to predict; a single-task network is one with a single task.
        widths: channels of the five encoder blocks (the paper's: 64, 128, 256, 512, 512).
        dtype: compute type; parameters and batch statistics stay float32.
        remat: the backward pass computes the blocks' intermediate values again, instead of keeping them.
    """

    tasks: Sequence[Task]
    widths: Sequence[int] = WIDTHS
    dtype: Any = None
    remat: bool = False

    NAME: ClassVar[str] = 'segnet'
    CONVS: ClassVar[tuple[int, ...]] = (2, 2, 3, 3, 3)
    POINTS: ClassVar[tuple[str, ...]] = ('mid', 'last')
    STRIDE: ClassVar[int] = 32
    SHARED_FEATURE: ClassVar[str | None] = 'last'

    def own(self, path: tuple[str, ...]) -> str | None:
        """See `Backbone.own`: the heads."""
        return by_child(path, self.tasks, 'head')

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w 3'], *, train: bool) -> Outputs:
        x, indices = image, []
        for i, (width, convs) in enumerate(zip(self.widths, self.CONVS, strict=True)):
            block = ConvBlock(width, convs, self.dtype, name=f'encoder_{i}')
            x, index = pooled(block, x, train=train, remat=self.remat)
            indices.append(index)
        features: Features = {'mid': x}

        for i in reversed(range(len(self.widths))):
            block = ConvBlock(narrower(self.widths)[i], self.CONVS[i], self.dtype, name=f'decoder_{i}')
            x = unpooled(block, x, indices[i], train=train, remat=self.remat)
        x = perturbable(self, x)
        features['last'] = x
        return Outputs({MAIN: predictions(self.tasks, x, self.widths[0], self.dtype)}, features)


class SplitStandard(SegNet):
    """What the MTAN code calls this SegNet."""

    NAME = 'split_standard'


class SplitWide(SegNet):
    """`split_wide` of the MTAN code: twice the channels in the last encoder block."""

    NAME = 'split_wide'

    widths: Sequence[int] = (64, 128, 256, 512, 1024)


class SplitDeep(SegNet):
    """`split_deep` of the MTAN code: twice the convolutions everywhere."""

    NAME = 'split_deep'

    CONVS = (4, 4, 6, 6, 6)
