"""Self-distilled networks: a shared encoder, deep teacher decoders, light student branches (papers.md B1)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtkd_jax import ops
from mtkd_jax.models.backbone import by_child
from mtkd_jax.models.blocks import XAVIER, ConvBlock, Head, batch_norm, convolved, narrower, perturbable, recomputed
from mtkd_jax.tasks import Task
from mtkd_jax.types import ENSEMBLE, MAIN, STUDENT, TEACHER, Outputs

WIDTHS = (64, 128, 256, 512, 1024)
CONVS = (2, 2, 3, 4)
BOTTLENECK_CONVS = 2
STUDENT_WIDTHS = (256, 128, 64, 32)


class Attention(nn.Module):
    """A mask in [0, 1] over the features of a decoder block: (conv3×3, batch norm) twice, sigmoid (papers.md B1)."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b h w c']:
        mask = x
        for i in range(2):
            mask = nn.Conv(x.shape[-1], (3, 3), kernel_init=XAVIER, dtype=self.dtype, name=f'conv_{i}')(mask)
            mask = batch_norm(self.dtype, train, f'norm_{i}')(mask)
        return x * nn.sigmoid(mask)


class TeacherDecoder(nn.Module):
    """Mirrors the encoder, block by block, with an attention mask after each; then a head.

    With `unpooling` (`segnet_sd`) the mirrored bottleneck comes first, which brings the features to the width of the
    remembered positions; without (`unet_sd`) 2×2 transposed convolutions go up, and the encoder's features are joined.
    """

    task: Task
    widths: Sequence[int]
    unpooling: bool
    attention: bool
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, 'b h w c'], indices: Sequence[Array], skips: Sequence[Array], *, train: bool
    ) -> Float[Array, 'b h2 w2 k']:
        mirrored, run = narrower(self.widths), recomputed(self.remat, lambda block, x: block(x, train=train))
        if self.unpooling:
            x = run(ConvBlock(mirrored[4], BOTTLENECK_CONVS, self.dtype, name='bottleneck'), x)
        for i in reversed(range(len(CONVS))):
            if self.unpooling:
                x, width = ops.max_unpool(x, indices[i]), mirrored[i]
            else:
                width = self.widths[i]
                x = nn.ConvTranspose(width, (2, 2), (2, 2), kernel_init=XAVIER, dtype=self.dtype, name=f'up_{i}')(x)
                x = jnp.concatenate([skips[i], x], axis=-1)
            x = run(ConvBlock(width, CONVS[i], self.dtype, name=f'block_{i}'), x)
            if self.attention:
                x = run(Attention(self.dtype, name=f'attention_{i}'), x)
        head = Head(x.shape[-1], self.widths[0], self.task.channels, name='head')()
        return convolved(x, *head, self.dtype)


class StudentBranch(nn.Module):
    """Four times transposed conv4×4 (stride 2), batch norm, ReLU, from the bottleneck; then conv1×1 to the output."""

    task: Task
    widths: Sequence[int]
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b h2 w2 k']:
        run = recomputed(self.remat, lambda up, norm, x: nn.relu(norm(up(x))))
        for i, width in enumerate(self.widths):
            up = nn.ConvTranspose(width, (4, 4), (2, 2), kernel_init=XAVIER, dtype=self.dtype, name=f'up_{i}')
            x = run(up, batch_norm(self.dtype, train, f'norm_{i}'), x)
        return nn.Conv(self.task.channels, (1, 1), kernel_init=XAVIER, dtype=self.dtype, name='out')(x)


class SelfDistilled(nn.Module):
    """The shared encoder with a teacher decoder and a student branch per task.

    Only the requested branches are computed; the same variables serve the teacher, the student, or both.

    Image [b h w 3] in [0, 1], `h` and `w` multiples of 16. Features: `mid` [b h/16 w/16 widths[-1]], the shared feature
    space. Predictions are float32, independently of `dtype`. Shared by all tasks: encoder and bottleneck; everything
    else belongs to one task.

    Attributes:
        tasks: what to predict.
        widths: channels of the four encoder blocks and of the bottleneck (the paper's: 64, 128, 256, 512, 1024).
        dtype: compute type; parameters and batch statistics stay float32.
        branches: which of `teacher`, `student` and `ensemble` (the mean of the two, eq. 6); or `main` alone: the
            teacher as a network of its own (baseline 1).
        renormalise: whether the ensemble's mean is made a prediction again, such as normals of unit length; eq. 6 as
            printed does not.
        attention: whether the teacher's blocks have attention masks.
        student_widths: channels of the student's four transposed convolutions.
        remat: the backward pass computes the blocks' intermediate values again, instead of keeping them.
    """

    tasks: Sequence[Task]
    widths: Sequence[int] = WIDTHS
    dtype: Any = None
    branches: Sequence[str] = (TEACHER, STUDENT)
    renormalise: bool = False
    attention: bool = True
    student_widths: Sequence[int] = STUDENT_WIDTHS
    remat: bool = False

    NAME: ClassVar[str]
    UNPOOLING: ClassVar[bool]
    POINTS: ClassVar[tuple[str, ...]] = ('mid',)
    STRIDE: ClassVar[int] = 16
    SHARED_FEATURE: ClassVar[str | None] = 'mid'
    BRANCHES: ClassVar[tuple[str, ...]] = (MAIN, TEACHER, STUDENT, ENSEMBLE)

    def own(self, path: tuple[str, ...]) -> str | None:
        """See `Backbone.own`: both branches."""
        return by_child(path, self.tasks, TEACHER, STUDENT)

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w 3'], *, train: bool) -> Outputs:
        def encode(block: Any, x: Array) -> Any:
            x = block(x, train=train)
            return x, *ops.max_pool_argmax(x)

        x, indices, skips = image, [], []
        for i, convs in enumerate(CONVS):
            block = ConvBlock(self.widths[i], convs, self.dtype, name=f'encoder_{i}')
            skip, x, index = recomputed(self.remat, encode)(block, x)
            skips.append(skip)
            indices.append(index)
        bottleneck = ConvBlock(self.widths[4], BOTTLENECK_CONVS, self.dtype, name='bottleneck')
        x = recomputed(self.remat, lambda block, x: block(x, train=train))(bottleneck, x)
        x = perturbable(self, x)

        def teacher(t: Task) -> Array:
            options = (self.widths, self.UNPOOLING, self.attention, self.dtype, self.remat)
            decoder = TeacherDecoder(t, *options, name=f'{TEACHER}_{t.name}')
            return t.activate(ops.widened(decoder(x, indices, skips, train=train)))

        def student(t: Task) -> Array:
            branch = StudentBranch(t, self.student_widths, self.dtype, self.remat, name=f'{STUDENT}_{t.name}')
            return t.activate(ops.widened(branch(x, train=train)))

        asked, found = set(self.branches), {}
        if asked & {MAIN, TEACHER, ENSEMBLE}:
            found[MAIN] = found[TEACHER] = {t.name: teacher(t) for t in self.tasks}
        if asked & {STUDENT, ENSEMBLE}:
            found[STUDENT] = {t.name: student(t) for t in self.tasks}
        if ENSEMBLE in asked:
            mean = {t.name: t.blend(found[TEACHER][t.name], found[STUDENT][t.name]) for t in self.tasks}
            found[ENSEMBLE] = {t.name: t.activate(mean[t.name]) for t in self.tasks} if self.renormalise else mean
        return Outputs({branch: found[branch] for branch in self.branches}, {'mid': x})


class SegNetSD(SelfDistilled):
    """Teacher decoders that unpool to the encoder's argmaxes."""

    NAME = 'segnet_sd'
    UNPOOLING = True


class UNetSD(SelfDistilled):
    """Teacher decoders with transposed convolutions and skip connections. Gradients bypass `mid` through the latter."""

    NAME = 'unet_sd'
    UNPOOLING = False
    SHARED_FEATURE = None
