"""Cross-stitch network in the MTAN code's form (papers.md A6): a SegNet per task, mixed after every block."""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtkd_jax.models.backbone import by_child
from mtkd_jax.models.blocks import ConvBlock, narrower, pooled, predictions, unpooled
from mtkd_jax.models.segnet import WIDTHS, SegNet
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Outputs


class CrossStitch(nn.Module):
    """A tower per task; before every block but the first, all towers get the same weighted sum of all of them.

    The weights of a mix are one learned number per tower, 1 at the start. (Misra et al. 2016 learn tasks × tasks.)
    Image, widths, dtype, remat and predictions as in `SegNet`. Features are each task's own: `mid`, the tower's last
    pooling; `last`, before the head. All tasks share everything up to the last mix: both mixes, and the towers before
    it (named by the position of their task). Only the last block of a tower and its head belong to one task.
    """

    tasks: Sequence[Task]
    widths: Sequence[int] = WIDTHS
    dtype: Any = None
    remat: bool = False

    NAME: ClassVar[str] = 'cross_stitch'
    CONVS: ClassVar[tuple[int, ...]] = SegNet.CONVS
    POINTS: ClassVar[tuple[str, ...]] = ('mid', 'last')
    STRIDE: ClassVar[int] = 32
    SHARED_FEATURE: ClassVar[str | None] = None

    def own(self, path: tuple[str, ...]) -> str | None:
        """See `Backbone.own`: what comes after the last mix."""
        return by_child(path, self.tasks, 'head', 'decoder_0')

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w 3'], *, train: bool) -> Outputs:
        names, blocks = [t.name for t in self.tasks], len(self.widths)
        ones = nn.initializers.ones_init()
        encoder = self.param('mix_encoder', ones, (blocks - 1, len(names)))
        decoder = self.param('mix_decoder', ones, (blocks, len(names)))

        x, indices = image, []
        for i in range(blocks):
            options = (self.widths[i], self.CONVS[i], self.dtype)
            towers = [ConvBlock(*options, name=f'tower_{j}_encoder_{i}') for j in range(len(names))]
            found = [pooled(tower, x, train=train, remat=self.remat) for tower in towers]
            outputs, index = map(list, zip(*found, strict=True))
            indices.append(index)
            x = _mix(encoder[i] if i < blocks - 1 else decoder[0], outputs)
        features: dict[str, Any] = {'mid': dict(zip(names, outputs, strict=True))}

        for i in reversed(range(blocks)):
            outputs = []
            for j, task in enumerate(names):
                name = f'tower_{j}_decoder_{i}' if i else f'decoder_0_{task}'
                block = ConvBlock(narrower(self.widths)[i], self.CONVS[i], self.dtype, name=name)
                outputs.append(unpooled(block, x, indices[i][j], train=train, remat=self.remat))
            if i:
                x = _mix(decoder[blocks - i], outputs)
        features['last'] = dict(zip(names, outputs, strict=True))
        return Outputs({MAIN: predictions(self.tasks, features['last'], self.widths[0], self.dtype)}, features)


def _mix(weights: Float[Array, 't'], towers: Sequence[Float[Array, 'b h w c']]) -> Float[Array, 'b h w c']:
    return jnp.tensordot(weights.astype(towers[0].dtype), jnp.stack(towers), axes=1)
