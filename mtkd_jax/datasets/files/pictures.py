"""Reading picture files whose numbers count, and resizing them."""

from pathlib import Path

import numpy as np
from PIL import Image

from mtkd_jax.data.images import by_area
from mtkd_jax.datasets.errors import DamagedFile, DataError

__all__ = ['by_area', 'nearest', 'read']

# Pillow's modes of files that hold what is asked for.
MODES = {'rgb': ('RGB', 'RGBA', 'L'), 'uint8': ('L', 'P'), 'uint16': ('I;16', 'I;16B', 'I')}
WORDS = {'rgb': 'a colour picture', 'uint8': '8-bit numbers, one channel', 'uint16': '16-bit numbers, one channel'}


def read(file: Path, kind: str) -> np.ndarray:
    """The numbers of a picture: `rgb` uint8 [h w 3], `uint8` or `uint16` [h w].

    Raises:
        DamagedFile: it is no whole picture.
        DataError: it is missing, cannot be read at all, or holds something else.
    """
    try:
        with Image.open(file) as image:
            if image.mode not in MODES[kind]:
                raise DataError(f'{file} is of the kind {image.mode!r}, not {WORDS[kind]}; download it again.')
            array = np.asarray(image.convert('RGB') if kind == 'rgb' else image)
    except FileNotFoundError as error:
        raise DataError(f'{file} is missing.') from error
    except (OSError, SyntaxError, ValueError) as error:
        # The system's own errors have a number: a disk or a network that is gone says nothing about the file.
        if getattr(error, 'errno', None) is not None:
            raise DataError(
                f'{file} cannot be read ({error}); see whether its disk is there, and try again.'
            ) from error
        raise DamagedFile(f'{file} cannot be read as a picture ({error}); download it again.') from error
    if kind == 'uint16':
        return array.astype(np.uint16)
    return array


def nearest(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whole numbers [h w] resized to `size` (height, width), each new pixel that of the nearest old one's centre."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, ids.shape, strict=True)
    )
    return ids[rows[:, None], columns]
