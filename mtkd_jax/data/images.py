"""Images that a user gives: picture files and arrays, checked, and brought to a network's size."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from mtkd_jax.tasks import gate
from mtkd_jax.types import UserError

Picture = str | Path | np.ndarray | jax.Array
"""A picture file, or an array [h w 3] of uint8 or of floats in [0, 1]."""

SHAPES = {(3,): '[h w 3]', (4,): '[n h w 3]', (3, 4): '[h w 3] or [n h w 3]'}


class Prepared(NamedTuple):
    """`images` as a network takes them; `sizes`: (height, width) of each as given; `many`: not one image alone."""

    images: Float[np.ndarray, 'n h w 3']
    sizes: Sequence[tuple[int, int]]
    many: bool


def prepare(x: Picture | Sequence[Picture], size: tuple[int, int]) -> Prepared:
    """All images in `x` (see `Model.predict`) as float32 in [0, 1], resized to `size` (height, width).

    Raises:
        UserError: there is no image, a file cannot be read, or an array has the wrong shape, type or range.
    """
    if isinstance(x, str | Path):
        arrays, many = iter([as_array('`x`', x)]), False
    elif isinstance(x, list | tuple):
        # Read one at a time: pictures of full size may be much larger than what is kept of them.
        arrays, many = (as_array(f'`x[{i}]`', image) for i, image in enumerate(x)), True
    else:
        array = np.asarray(x)
        check('`x`', array, (3, 4))
        arrays, many = iter(array if array.ndim == 4 else array[None]), array.ndim == 4
    pairs = [(at_size(array, size), (array.shape[0], array.shape[1])) for array in arrays]
    if not pairs:
        raise UserError('`x` is an empty list; give at least one image.')
    return Prepared(np.stack([image for image, _ in pairs]), [size for _, size in pairs], many)


def by_area(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [h w 3] resized to `size` (height, width): the mean over the area of each new pixel."""
    height, width = size
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def check(name: str, array: np.ndarray, axes: tuple[int, ...]) -> None:
    """Raises a `UserError` unless `array`, called `name`, holds images and has as many axes as one of `axes`."""
    if array.ndim not in axes or array.shape[-1] != 3:
        raise UserError(
            f'{name} has the shape {array.shape}; give {SHAPES[axes]}: channels last, red, green and blue '
            '(a grey one three times, no alpha).'
        )
    if not array.size:
        raise UserError(f'{name} has the shape {array.shape}, so it is empty; give at least one image.')
    gate.admit(name, array, fault)


def fault(array: np.ndarray) -> str | None:
    """What is wrong with the values of images, to be put behind their name; None where nothing is."""
    if array.dtype == np.uint8:
        return None
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return f'is of the type {array.dtype}; give uint8, or floats in [0, 1]'
    if not np.isfinite(array).all():
        return 'has NaN or infinite values; give floats in [0, 1]'
    least, most = float(array.min()), float(array.max())
    if least < 0 or most > 1:
        return (
            f'reaches from {least:g} to {most:g} and leaves [0, 1]; divide 8-bit images by 255 or give uint8, and clip '
            'what resizing overshot'
        )
    return None


def at_size(image: UInt8[np.ndarray, 'h w 3'] | Float[np.ndarray, 'h w 3'], size: tuple[int, int]) -> np.ndarray:
    """`image` as float32 [h2 w2 3] in [0, 1]: at `size` (height, width), the mean over the area of each new pixel."""
    if image.dtype == np.uint8:
        return by_area(image, size).astype(np.float32) / 255
    image = image.astype(np.float32)
    return image if image.shape[:2] == size else _resampled(image, size, Image.Resampling.BOX)


def interpolated(array: Float[np.ndarray, 'h w c'], size: tuple[int, int]) -> Float[np.ndarray, 'h2 w2 c']:
    """`array` at `size` (height, width), by bilinear interpolation; where it becomes smaller, by means around."""
    # Not by jax, which compiles for every size anew.
    return _resampled(array.astype(np.float32), size, Image.Resampling.BILINEAR)


def _resampled(array: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    result = np.empty((*size, array.shape[-1]), array.dtype)
    for i in range(array.shape[-1]):
        result[..., i] = Image.fromarray(array[..., i]).resize((size[1], size[0]), how)
    return result


def read_picture(file: Path) -> UInt8[np.ndarray, 'h w 3']:
    """The picture in `file` as a viewer shows it: turned as its EXIF says; the first frame of several.

    16-bit grey is scaled to 8 bits.

    Raises:
        UserError: it is not there, no picture, too large, has transparent pixels, or holds other than 8- or 16-bit
            colours.
    """
    with _opened(file) as image:
        return _shown(file, image)


class Header(NamedTuple):
    """`frames`: pictures one after another (an animation, pages), 1 of most files; `pixels` of each."""

    frames: int
    pixels: int


def header(file: Path) -> Header:
    """What `file` says of itself; its pixels are not decoded.

    Raises:
        UserError: it is not there, or no picture.
    """
    with _opened(file) as image:
        # A telephone's MPO is one picture, with previews and the like behind it.
        frames = 1 if image.format == 'MPO' else getattr(image, 'n_frames', 1)
        return Header(frames, image.width * image.height)


def read_frames(file: Path) -> Iterator[UInt8[np.ndarray, 'h w 3']]:
    """The pictures in `file` in order, each as `read_picture` gives it, one at a time.

    Raises:
        UserError: see `read_picture`.
    """
    with _opened(file) as image:
        for i in range(getattr(image, 'n_frames', 1)):
            image.seek(i)
            yield _shown(file, image)


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    if not os.path.isfile(file):
        raise UserError(f'{file}: no such file. Check the path.')
    try:
        with Image.open(file) as image:
            yield image
    except UserError:
        raise
    # The decoders of some forty formats raise whatever they like about damaged files.
    except Exception as error:
        raise UserError(f'{file} cannot be read as an image ({error}); convert it to PNG or JPEG.') from error


def _shown(file: Path, image: Image.Image) -> np.ndarray:
    """The frame that `image` is at."""
    turned = ImageOps.exif_transpose(image)
    return np.asarray(_opaque(file, turned, netpbm=image.format == 'PPM').convert('RGB'))


def _opaque(file: Path, image: Image.Image, netpbm: bool) -> Image.Image:
    """`image` in a mode that Pillow converts to RGB without loss of meaning."""
    transparent = image.has_transparency_data
    # Pillow reads 16-bit grey as `I`, scaled to 16 bits, from netpbm files only.
    if image.mode.startswith('I;16') or (image.mode == 'I' and netpbm):
        if transparent:
            raise UserError(f'{file} is 16-bit grey with a transparent value; save it without transparency.')
        deep = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if image.mode in ('I', 'F', 'LAB'):
        raise UserError(
            f'{file} is an image of mode {image.mode}, whose values have no fixed range of colours; save it as 8-bit '
            'RGB.'
        )
    if transparent:
        # Premultiplied modes become straight ones first.
        straight = image.convert({'La': 'LA', 'RGBa': 'RGBA'}.get(image.mode, image.mode)).convert('RGBA')
        if straight.getchannel('A').getextrema() != (255, 255):
            raise UserError(f'{file} has transparent pixels, which have no colour; flatten it onto a background.')
        return straight
    return image


def as_array(name: str, image: Picture) -> np.ndarray:
    """One image, called `name` in errors, as an array [h w 3] of uint8 or of floats in [0, 1]."""
    if isinstance(image, str | Path):
        return read_picture(Path(image))
    try:
        array = np.asarray(image)
    except ValueError as error:
        raise UserError(f'{name} is no array ({error}); give numbers [h w 3].') from error
    check(name, array, (3,))
    return array
