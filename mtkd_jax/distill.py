"""Knowledge distillation for any training loop: adaptors, and distances between features or between predictions.

These are functions of arrays and two Flax modules; whose features they are, and what the network predicts, is open.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtkd_jax import ops
from mtkd_jax.tasks.distances import kl, l2, mean_score, squared_l2
from mtkd_jax.types import Features, UserError, feature_of

__all__ = [
    'Adaptor',
    'Adaptors',
    'MlpAdaptor',
    'average',
    'feature_distance',
    'kl',
    'l2',
    'mean_score',
    'resized',
    'squared_l2',
]

NORM_EPSILON = 1e-6  # inside the square root of the feature norm (papers.md A2)

Labelled = Bool[Array, 'b'] | Bool[Array, 'b 1 1 1'] | None


def average(apart: Float[Array, 'b h w 1'], labelled: Labelled = None) -> Float[Array, '']:
    """Mean of the distances `apart` over all pixels of the `labelled` images (None: of all); 0 when there are none."""
    if labelled is None:
        return ops.masked_mean(apart, jnp.ones(apart.shape, bool))
    return ops.masked_mean(apart, jnp.broadcast_to(labelled.reshape(-1, 1, 1, 1), apart.shape))


def feature_distance(
    own: Float[Array, 'b h w c'], taught: Float[Array, '_ _ _ _'], labelled: Labelled = None
) -> Float[Array, '']:
    """ℓ^d of Li & Bilen (2020), eq. 4: ‖own/‖own‖₂ - taught/‖taught‖₂‖₂² in float32; `taught` is of the shape of `own`.

    The norm is over channels at every position; the squared distance is summed over channels and averaged over batch
    and positions (papers.md A2), over the images that are `labelled` for the task (None: over all). Eq. 3 sums over
    pairs (x, y_t).

    Raises:
        UserError: the two differ in shape.
    """
    # Subtraction would broadcast an axis of length 1, and give a number that means nothing.
    if own.shape != taught.shape:
        raise UserError(f'Features {own.shape} and {taught.shape} differ in shape; make them alike with an `Adaptor`.')
    own = ops.unit_normalise(ops.widened(own), NORM_EPSILON)
    taught = ops.unit_normalise(ops.widened(taught), NORM_EPSILON)
    return average(jnp.sum(jnp.square(own - taught), axis=-1, keepdims=True), labelled)


def resized(x: Float[Array, 'b h w c'], size: tuple[int, int]) -> Float[Array, 'b h2 w2 c']:
    """`x` at `size` (height, width) by bilinear interpolation between the pixels' centres; as it is at its own size."""
    if x.shape[1:3] == size:
        return x
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), 'bilinear', antialias=False)


class Adaptor(nn.Module):
    """A_t of Li & Bilen (2020), eq. 3: a 1×1 convolution [b h w C] → [b h w C'] without bias, Xavier normal.

    Its one parameter is `kernel` [1 1 C C']. Teachers of other strides are beyond the paper: for them the result is
    also resized (see `resized`), to [b h' w' C'].

    Attributes:
        features: C', the channels of the teacher's features.
        size: (h', w') of the teacher's features; None: as the student's.
        dtype: compute type; the parameter stays float32.
    """

    features: int
    size: tuple[int, int] | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h2 w2 c2']:
        init = nn.initializers.xavier_normal()
        conv = nn.Conv(self.features, (1, 1), use_bias=False, kernel_init=init, dtype=self.dtype)
        nn.share_scope(self, conv)  # the kernel is the adaptor's own
        height, width = self.size or x.shape[1:3]
        # The two linear maps commute: channels are mixed where there are fewer pixels.
        if height * width < math.prod(x.shape[1:3]):
            return conv(resized(x, (height, width)))
        return resized(conv(x), (height, width))


class MlpAdaptor(nn.Module):
    """A nonlinear A_t: a 1×1 convolution [b h w C] → [b h w C], ReLU, then an `Adaptor`.

    Parameters: `hidden/kernel` [1 1 C C], without bias, Xavier normal, and the adaptor's `kernel`. `features`, `size`,
    `dtype`: see `Adaptor`.
    """

    features: int
    size: tuple[int, int] | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h2 w2 c2']:
        x = nn.relu(Adaptor(x.shape[-1], dtype=self.dtype, name='hidden')(x))
        linear = Adaptor(self.features, self.size, self.dtype)
        nn.share_scope(self, linear)
        return linear(x)


ADAPTORS = {'linear': Adaptor, 'mlp': MlpAdaptor}


class Adaptors(nn.Module):
    """An adaptor for every task and distilled point, with the parameters of `<task>_<point>`, such as `kernel`.

    Takes the network's features by point, [b h w C] each (shared, or one for each task), and every teacher's, which are
    read for their shapes only. Returns {task: {point: [b h' w' C']}}, each of the shape of the teacher's.

    Attributes:
        tasks: names of the tasks that have a teacher.
        points: names of the feature maps that are distilled.
        dtype: compute type; parameters stay float32.
        kind: `linear`, the paper's `Adaptor`, or `mlp`, `MlpAdaptor`.
    """

    tasks: Sequence[str]
    points: Sequence[str]
    dtype: Any = None
    kind: str = 'linear'

    @nn.compact
    def __call__(
        self, features: Features, taught: Mapping[str, Features]
    ) -> dict[str, dict[str, Float[Array, 'b h w c']]]:
        def adapt(task: str, point: str) -> Array:
            _, height, width, channels = feature_of(task, point, taught[task]).shape
            adaptor = ADAPTORS[self.kind](channels, (height, width), self.dtype, name=f'{task}_{point}')
            return adaptor(feature_of(task, point, features))

        return {task: {point: adapt(task, point) for point in self.points} for task in self.tasks}
