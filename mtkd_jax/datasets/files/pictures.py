"""Reading picture files whose numbers count, and resizing them."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from mtkd_jax.data.images import by_area
from mtkd_jax.datasets.errors import DamagedFile, DataError
from mtkd_jax.datasets.files.finding import open_ordinary

__all__ = ['by_area', 'nearest', 'parse', 'read']

# Pillow's modes of files that hold what is asked for. Transparency is dropped: the colours are what was recorded.
MODES = {'rgb': ('RGB', 'RGBA', 'L'), 'uint8': ('L', 'P'), 'uint16': ('I;16', 'I;16B', 'I')}
WORDS = {'rgb': 'a colour picture', 'uint8': '8-bit numbers, one channel', 'uint16': '16-bit numbers, one channel'}
SCALED = ('L;2', 'L;4')  # grey of few bits, which Pillow stretches to 0..255
ORIENTATION = 0x0112  # the EXIF tag; 1: as stored


def read(file: Path, kind: str) -> np.ndarray:
    """The numbers of a picture: `rgb` uint8 [h w 3], `uint8` or `uint16` [h w]; of an animation, its first frame.

    Raises:
        DamagedFile: it is no whole picture.
        DataError: it is missing, cannot be read at all, holds something else, or is marked to be shown turned.
    """
    with open_ordinary(file) as stream:
        return parse(stream, kind, str(file))


def parse(stream: io.BufferedReader | io.BytesIO, kind: str, name: str) -> np.ndarray:
    """`read`, of an open file; `name` names it in messages."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            with Image.open(stream) as image:
                if image.mode not in MODES[kind]:
                    raise DataError(f'{name} is of the kind {image.mode!r}, not {WORDS[kind]}; download it again.')
                if kind == 'uint8' and any(tile[3] in SCALED for tile in image.tile):
                    raise DataError(f'{name} has fewer than 8 bits a pixel, not {WORDS[kind]}; download it again.')
                # A tag may stand behind the pixels: they are read first.
                array = np.asarray(image.convert('RGB') if kind == 'rgb' else image)
                turned = image.getexif().get(ORIENTATION, 1)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f'{name} has more than {Image.MAX_IMAGE_PIXELS} pixels; give it smaller.') from error
    except Exception as error:  # Pillow may raise anything for a damaged file
        # The system's own errors have a number: a disk or a network that is gone says nothing about the file.
        if getattr(error, 'errno', None) is not None:
            raise DataError(
                f'{name} cannot be read ({error}); see whether its disk is there, and try again.'
            ) from error
        raise DamagedFile(f'{name} cannot be read as a picture ({error}); download it again.') from error
    if turned != 1:
        raise DataError(
            f'{name} is marked to be shown turned (EXIF orientation {turned}), and its targets are not; save it '
            'turned, without the mark.'
        )
    if kind != 'uint16':
        return array
    if array.min() < 0 or array.max() > np.iinfo(np.uint16).max:
        raise DataError(f'{name} has numbers from {array.min()} to {array.max()}, not {WORDS[kind]}; convert it again.')
    return array.astype(np.uint16)


def nearest(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whole numbers [h w] resized to `size` (height, width), each new pixel that of the nearest old one's centre."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, ids.shape, strict=True)
    )
    return ids[rows[:, None], columns]
