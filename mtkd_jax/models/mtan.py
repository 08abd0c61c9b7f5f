"""MTAN (Liu et al. 2019) in its published form (papers.md A6): a SegNet whose features every task attends to."""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtkd_jax import ops
from mtkd_jax.models.backbone import by_child
from mtkd_jax.models.blocks import XAVIER, ConvBlock, batch_norm, narrower, predictions, recomputed
from mtkd_jax.models.segnet import WIDTHS, SegNet
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, Outputs


class TaskAttention(nn.Module):
    """A mask in [0, 1] of `features` channels: conv1×1, batch norm, ReLU, conv1×1, batch norm, sigmoid."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b h w c2']:
        for i, activate in enumerate((nn.relu, nn.sigmoid)):
            x = nn.Conv(self.features, (1, 1), kernel_init=XAVIER, dtype=self.dtype, name=f'conv_{i}')(x)
            x = activate(batch_norm(self.dtype, train, f'norm_{i}')(x))
        return x


class MTAN(nn.Module):
    """A shared SegNet and, per task, a mask for each of its blocks; the attended features enter the next mask.

    Image, widths, dtype, remat and predictions as in `SegNet`. Features are each task's own: `mid`
    [b h/32 w/32 widths[-1]], the attended encoder output; `last` [b h w widths[0]], the attended decoder output. Shared
    by all tasks: the SegNet and, after every block, the convolution of the attended features (`*_pass_<i>`, whose batch
    statistics are updated once per task). Each task has its own masks and head.
    """

    tasks: Sequence[Task]
    widths: Sequence[int] = WIDTHS
    dtype: Any = None
    remat: bool = False

    NAME: ClassVar[str] = 'mtan'
    CONVS: ClassVar[tuple[int, ...]] = SegNet.CONVS
    POINTS: ClassVar[tuple[str, ...]] = ('mid', 'last')
    STRIDE: ClassVar[int] = 32
    SHARED_FEATURE: ClassVar[str | None] = None

    def own(self, path: tuple[str, ...]) -> str | None:
        """See `Backbone.own`: masks and heads."""
        levels = range(len(self.widths))
        masks = [f'{part}_attention_{i}' for part in ('encoder', 'decoder') for i in levels]
        return by_child(path, self.tasks, 'head', *masks)

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w 3'], *, train: bool) -> Outputs:
        narrow, levels = narrower(self.widths), range(len(self.widths))
        wider = (*self.widths[1:], self.widths[-1])
        encoded, decoded, unpooled = self._trunk(image, train)
        encoder_pass = [ConvBlock(wider[i], 1, self.dtype, name=f'encoder_pass_{i}') for i in levels]
        decoder_pass = [ConvBlock(narrow[i], 1, self.dtype, name=f'decoder_pass_{i}') for i in levels]

        def encode(mask: Any, passed: Any, block: Array, *seen: Array) -> Any:
            x = passed(mask(jnp.concatenate(seen, axis=-1), train=train) * block, train=train)
            return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))

        def decode(mask: Any, passed: Any, block: Array, x: Array, unpooled: Array) -> Any:
            x = passed(ops.upsample_bilinear(x), train=train)
            return mask(jnp.concatenate([unpooled, x], axis=-1), train=train) * block

        features: dict[str, Any] = {'mid': {}, 'last': {}}
        for task in [t.name for t in self.tasks]:
            x = image
            for i in levels:
                first, block = encoded[i]
                mask = TaskAttention(self.widths[i], self.dtype, name=f'encoder_attention_{i}_{task}')
                seen = (first, x) if i else (first,)
                x = recomputed(self.remat, encode)(mask, encoder_pass[i], block, *seen)
            features['mid'][task] = x
            for i in reversed(levels):
                mask = TaskAttention(narrow[i], self.dtype, name=f'decoder_attention_{i}_{task}')
                x = recomputed(self.remat, decode)(mask, decoder_pass[i], decoded[i], x, unpooled[i])
            features['last'][task] = x
        return Outputs({MAIN: predictions(self.tasks, features['last'], self.widths[0], self.dtype)}, features)

    def _trunk(self, image: Array, train: bool) -> tuple[list[tuple[Array, Array]], dict[int, Array], dict[int, Array]]:
        """The shared SegNet by block: (first convolution, output) of the encoder; output and input of the decoder."""

        run = recomputed(self.remat, lambda block, x: block(x, train=train))

        def block(x: Array, width: int, name: str, convs: int) -> tuple[Array, Array]:
            first = run(ConvBlock(width, 1, self.dtype, name=f'{name}_first'), x)
            return first, run(ConvBlock(width, convs - 1, self.dtype, name=f'{name}_rest'), first)

        x, encoded, indices = image, [], []
        for i, convs in enumerate(self.CONVS):
            encoded.append(block(x, self.widths[i], f'encoder_{i}', convs))
            x, index = ops.max_pool_argmax(encoded[i][1])
            indices.append(index)
        decoded, unpooled = {}, {}
        for i in reversed(range(len(self.CONVS))):
            unpooled[i] = ops.max_unpool(x, indices[i])
            _, x = block(unpooled[i], narrower(self.widths)[i], f'decoder_{i}', self.CONVS[i])
            decoded[i] = x
        return encoded, decoded, unpooled
