"""Image files mean what a viewer shows, or are refused by name."""

import contextlib

import numpy as np
import PIL
import pytest
from PIL import Image

from mtkd_jax.data.images import read_picture
from mtkd_jax.types import UserError

COLOURS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / 'a.png', exif=exif)
    shown = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.swapaxes(0, 1),
        6: np.rot90(COLOURS, -1),
        7: COLOURS[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(COLOURS),
    }
    np.testing.assert_array_equal(read_picture(tmp_path / 'a.png'), shown[orientation])


@pytest.mark.parametrize(('suffix', 'dtype'), [('png', '<u2'), ('tif', '<u2'), ('tif', '>u2'), ('pgm', '<u2')])
def test_grey_of_16_bits_is_scaled_to_8(tmp_path, suffix, dtype):
    deep = np.array([[0, 257, 128 * 257, 65535]], dtype)
    Image.fromarray(deep).save(tmp_path / f'a.{suffix}')
    np.testing.assert_array_equal(read_picture(tmp_path / f'a.{suffix}')[0, :, 0], [0, 1, 128, 255])


@pytest.mark.parametrize(
    ('mode', 'suffix'), [('1', 'png'), ('L', 'png'), ('P', 'png'), ('CMYK', 'tif'), ('YCbCr', 'tif'), ('RGBA', 'png')]
)
def test_modes_come_back_as_colours(tmp_path, mode, suffix):
    if mode == 'YCbCr' and PIL.__version__ < '13':
        pytest.skip('Earlier Pillows cannot read the TIFF of that mode which they write.')
    Image.new('RGB', (2, 2), (255, 255, 255)).convert(mode).save(tmp_path / f'a.{suffix}')
    np.testing.assert_array_equal(read_picture(tmp_path / f'a.{suffix}'), np.full((2, 2, 3), 255))


@pytest.mark.parametrize(
    ('mode', 'suffix', 'message'),
    [
        ('I', 'tif', 'of mode I, whose'),
        ('F', 'tif', 'of mode F, whose'),
        ('LAB', 'tif', 'of mode LAB, whose'),
        ('RGBA', 'png', 'transparent pixels'),
        ('LA', 'png', 'transparent pixels'),
    ],
)
def test_modes_without_colours_are_refused_by_name(tmp_path, mode, suffix, message):
    Image.new(mode, (2, 2)).save(tmp_path / f'a.{suffix}')
    with pytest.raises(UserError, match=rf'a\.{suffix} .*{message}'):
        read_picture(tmp_path / f'a.{suffix}')


@pytest.mark.parametrize('mode', ['L', 'P', 'RGB'])
def test_a_transparent_colour_is_seen(tmp_path, mode):
    Image.new(mode, (2, 2)).save(tmp_path / 'a.png', transparency=(0, 0, 0) if mode == 'RGB' else 0)
    with pytest.raises(UserError, match='transparent pixels'):
        read_picture(tmp_path / 'a.png')


def test_the_first_frame_of_several(tmp_path):
    frames = [Image.new('RGB', (2, 2), colour) for colour in ('white', 'black')]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_picture(tmp_path / 'a.gif'), np.full((2, 2, 3), 255))


@pytest.mark.parametrize('limit', [1, 3])
def test_a_picture_far_too_large_is_one_sentence(tmp_path, monkeypatch, limit):
    Image.new('RGB', (2, 2)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
    with pytest.raises(UserError, match=r'a\.png cannot be read .*pixels'):
        read_picture(tmp_path / 'a.png')


@pytest.mark.parametrize('cut', [0, 8, 20, 40, 60, -1])
@pytest.mark.parametrize('suffix', ['png', 'jpg', 'gif', 'tif', 'bmp', 'ppm', 'webp'])
def test_half_a_picture_is_no_traceback(tmp_path, suffix, cut):
    file = tmp_path / f'a.{suffix}'
    Image.fromarray(COLOURS).save(file)
    file.write_bytes(file.read_bytes()[:cut])
    with contextlib.suppress(UserError):
        assert read_picture(file).shape == COLOURS.shape
