"""A view of an image: a window of it, enlarged to the size of the whole, perhaps mirrored.

Points are measured in pixels from the upper left corner of the image; a pixel's value stands at its centre, half a
pixel from its edges. The view of scale 1 without a flip returns every array bit for bit, and with a flip its exact
reversal.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped


class View(NamedTuple):
    """One view for every image of a batch.

    `scale`: enlargement, at least 1; a window has 1/scale of the height and of the width. `corner`: its upper left
    corner (row, column), in pixels. `flip`: whether left and right are exchanged.
    """

    scale: Float[Array, 'b']
    corner: Float[Array, 'b 2']
    flip: Bool[Array, 'b']

    def nearest(self, x: Shaped[Array, 'b h w c']) -> Shaped[Array, 'b h w c']:
        """The view of `x`: at every pixel the value of the pixel that its centre lies in. Nothing is blended."""
        rows, columns = (
            jnp.clip(jnp.floor(points).astype(jnp.int32), 0, size - 1)
            for points, size in zip(self._points(x.shape), x.shape[1:3], strict=True)
        )
        return jax.vmap(lambda image, row, column: image[row][:, column])(x, rows, columns)

    def bilinear(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
        """The view of `x`, interpolated between the four nearest centres; beyond the outermost, their values go on.

        Values must be finite.
        """

        def weights(points: Array, size: int) -> Array:
            inside = jnp.clip(points - 0.5, 0, size - 1)
            return jnp.maximum(0, 1 - jnp.abs(inside[:, :, None] - jnp.arange(size)[None, None]))

        rows, columns = self._points(x.shape)
        _, h, w, _ = x.shape
        # Two products with matrices per image: no gathers of single pixels. 'highest': one-hot rows then copy exactly.
        return jnp.einsum('bih,bjw,bhwc->bijc', weights(rows, h), weights(columns, w), x, precision='highest')

    def _points(self, shape: tuple[int, ...]) -> tuple[Float[Array, 'b h'], Float[Array, 'b w']]:
        """The rows and columns of the image at which the centres of the view's pixels lie."""

        def along(axis: int) -> Array:
            return self.corner[:, axis, None] + (jnp.arange(shape[1 + axis]) + 0.5)[None] / self.scale[:, None]

        rows, columns = along(0), along(1)
        return rows, jnp.where(self.flip[:, None], columns[:, ::-1], columns)
