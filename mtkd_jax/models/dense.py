"""The MTAN code's `dense` (papers.md A6): a SegNet per task that reads a shared SegNet at every block."""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtkd_jax import ops
from mtkd_jax.models.backbone import by_child
from mtkd_jax.models.blocks import ConvBlock, narrower, predictions, recomputed
from mtkd_jax.models.segnet import WIDTHS, SegNet
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Outputs


class Dense(nn.Module):
    """A shared trunk and a tower per task, both SegNets; a tower's block reads its own and the trunk's features.

    Image, widths, dtype, remat and predictions as in `SegNet`. Features are each task's own: `mid`, the tower's last
    pooling; `last`, before the head. Shared by all tasks: the trunk, `encoder_<i>` and `decoder_<i>`; it has no
    `decoder_0`, because nothing would read it (the published code has one).
    """

    tasks: Sequence[Task]
    widths: Sequence[int] = WIDTHS
    dtype: Any = None
    remat: bool = False

    NAME: ClassVar[str] = 'dense'
    CONVS: ClassVar[tuple[int, ...]] = SegNet.CONVS
    POINTS: ClassVar[tuple[str, ...]] = ('mid', 'last')
    STRIDE: ClassVar[int] = 32
    SHARED_FEATURE: ClassVar[str | None] = None

    def own(self, path: tuple[str, ...]) -> str | None:
        """See `Backbone.own`: towers and heads."""
        towers = [f'{part}_{i}' for part in ('encoder', 'decoder') for i in range(len(self.widths))]
        return by_child(path, self.tasks, 'head', *towers)

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w 3'], *, train: bool) -> Outputs:
        blocks, narrow = len(self.widths), narrower(self.widths)

        def encode(i: int, sources: Sequence[Array], task: str = '') -> tuple[Array, Array]:
            def run(block: Any, *sources: Array) -> Any:
                return ops.max_pool_argmax(block(_joined(sources), train=train))

            block = ConvBlock(self.widths[i], self.CONVS[i], self.dtype, name=f'encoder_{i}{task}')
            return recomputed(self.remat, run)(block, *sources)

        def decode(i: int, sources: Sequence[Array], task: str = '') -> Array:
            def run(block: Any, *sources: Array) -> Any:
                return block(_joined(sources), train=train)

            # A tower's last block keeps the width of its two sources in its first convolution.
            first = 2 * narrow[0] if task and i == 0 else None
            block = ConvBlock(narrow[i], self.CONVS[i], self.dtype, first, name=f'decoder_{i}{task}')
            return recomputed(self.remat, run)(block, *sources)

        x, pooled, indices, unpooled = image, [], [], {}
        for i in range(blocks):
            x, index = encode(i, [x])
            pooled.append(x)
            indices.append(index)
        for i in reversed(range(blocks)):
            unpooled[i] = ops.max_unpool(x, indices[i])
            x = decode(i, [unpooled[i]]) if i else x

        features: dict[str, Any] = {'mid': {}, 'last': {}}
        for name in [t.name for t in self.tasks]:
            x, indices = image, []
            for i in range(blocks):
                x, index = encode(i, [x, pooled[i - 1]] if i else [x], f'_{name}')
                indices.append(index)
            features['mid'][name] = x
            for i in reversed(range(blocks)):
                x = decode(i, [ops.max_unpool(x, indices[i]), unpooled[i]], f'_{name}')
            features['last'][name] = x
        return Outputs({MAIN: predictions(self.tasks, features['last'], self.widths[0], self.dtype)}, features)


def _joined(sources: Sequence[Float[Array, 'b h w _']]) -> Float[Array, 'b h w c']:
    return jnp.concatenate(sources, axis=-1) if len(sources) > 1 else sources[0]
