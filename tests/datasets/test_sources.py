"""What users' folders hold besides data: pipes, links, hidden files, turned pictures, archives of anything."""

import os
import shutil
import socket
import tracemalloc

import numpy as np
import PIL
import pytest
from PIL import Image

from mtkd_jax.datasets.errors import DamagedFile, DataError
from mtkd_jax.datasets.files import finding, pictures
from mtkd_jax.datasets.svhn_omniglot import archives, decathlon
from mtkd_jax.types import UserError
from tests.datasets import cityscapes_source, decathlon_source, nyuv2_source, prepared, taskonomy_source

PARTIAL = {'height': 16, 'width': 16, 'partial': True}
# By layout: the data set, what is asked for, who writes it, and a file of it that is read.
LAYOUTS = {
    'folder': (
        *('nyuv2', {}, lambda to: nyuv2_source.write_folder(to, frames={'train': 2, 'val': 1}, size=(8, 8))),
        'train/normal/1.npy',
    ),
    'mat': ('nyuv2', {}, lambda to: nyuv2_source.write_raw(_made(to) / 'nyu_depth_v2_labeled.mat').parent, '*.mat'),
    'city folder': ('cityscapes', {}, cityscapes_source.write_folder, 'train/depth/0.npy'),
    'city tree': ('cityscapes', {}, cityscapes_source.write_raw, 'leftImg8bit/train/bochum/*.png'),
    'camera': ('cityscapes', {'depth': 'metric', 'depth_maximum': 80}, cityscapes_source.write_raw, 'camera/*/*/*'),
    'taskonomy': ('taskonomy', {}, taskonomy_source.write, 'normal/taskonomy/hanson/*'),
    'downloads': ('svhn_omniglot', PARTIAL, decathlon_source.write, '*data.tar.gz'),
    'devkit': ('svhn_omniglot', PARTIAL, decathlon_source.write, '*devkit.tar.gz'),
    'tars': ('svhn_omniglot', PARTIAL, lambda to: decathlon_source.write(to, 'tars'), 'data/svhn.tar'),
    'images': ('svhn_omniglot', PARTIAL, lambda to: decathlon_source.write(to, 'folders'), 'svhn/train/0002/*'),
    'annotations': ('svhn_omniglot', PARTIAL, lambda to: decathlon_source.write(to, 'tars'), '*/annotations/svhn*'),
}


def _made(folder):
    folder.mkdir()
    return folder


def become_socket(file):
    here = os.getcwd()
    os.chdir(file.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind('s')
    os.chdir(here)
    (file.parent / 's').rename(file)


BECOME = {
    'a pipe': os.mkfifo,
    'a socket': become_socket,
    'a device': lambda file: file.symlink_to('/dev/zero'),
    'a folder': os.mkdir,
    'a link to itself': lambda file: file.symlink_to(file.name),
    'empty': lambda file: file.touch(),
    'zeros': lambda file: file.write_bytes(b'\0' * 2048),
    'a zip': lambda file: file.write_bytes(b'PK\x03\x04' + b'x' * 60),
    'an xz': lambda file: file.write_bytes(b'\xfd7zXZ\x00' + b'x' * 60),
    'a bz2': lambda file: file.write_bytes(b'BZh9' + b'x' * 60),
    'deep': lambda file: file.write_bytes(b'[' * 100_000),
    'huge': lambda file: file.write_bytes(
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 9), }".ljust(128)
    ),
}


@pytest.mark.parametrize('odd', BECOME)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_what_is_no_file_of_data_is_refused_by_name(tmp_path, layout, odd):
    """Not waited for, no traceback, nothing left half-written; names have spaces, brackets and other letters."""
    name, data, write, pattern = LAYOUTS[layout]
    folder, out = write(tmp_path / 'my [files] é*'), tmp_path / 'out'
    file = next(iter(sorted(folder.glob(pattern))))
    file.unlink()
    BECOME[odd](file)
    if layout == 'taskonomy' and file.is_file():
        # It does without a view that is damaged.
        found = prepared.prepare(name, out, data, folder)
        assert file.name in found.metadata['excluded']['train'][0]
        return
    with pytest.raises(UserError) as raised:
        prepared.prepare(name, out, data, folder)
    message = str(raised.value)
    assert str(folder) in message
    assert len(message) < 600
    assert not [path for path in out.rglob('*') if path.name.startswith(('incomplete.', 'replaced.'))]
    if odd in ('a pipe', 'a socket', 'a device'):
        assert f'{file} is {odd}, not a file' in message


def test_a_pipe_as_the_source_is_refused(tmp_path):
    pipe = tmp_path / 'nyu.mat'
    os.mkfifo(pipe)
    for name in ('nyuv2', 'cityscapes', 'taskonomy', 'svhn_omniglot'):
        with pytest.raises(DataError, match=r'nyu\.mat'):
            prepared.prepare(name, tmp_path / 'out', {}, pipe)


def test_every_file_is_found_through_links_once_and_hidden_ones_are_not(tmp_path):
    (tmp_path / 'a/b').mkdir(parents=True)
    (tmp_path / 'elsewhere').mkdir()
    for file in ('a/1', 'a/.DS_Store', 'a/._1', 'a/b/2', 'elsewhere/3'):
        (tmp_path / file).touch()
    (tmp_path / '.cache').mkdir()
    (tmp_path / '.cache/4').touch()
    (tmp_path / 'a/link').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'a/b/up').symlink_to(tmp_path / 'a')
    (tmp_path / 'elsewhere/self').symlink_to('.')
    found = [path.relative_to(tmp_path).as_posix() for path in finding.walk(tmp_path)]
    assert found == ['a/1', 'a/b/2', 'a/link/3', 'elsewhere/3']


@pytest.mark.parametrize('layout', [layout for layout in LAYOUTS if layout != 'mat'])
def test_hidden_files_are_no_data(tmp_path, layout):
    name, data, write, _ = LAYOUTS[layout]
    folder = write(tmp_path / 'files')
    clean = prepared.prepare(name, tmp_path / 'clean', data, folder)
    for file in [path for path in folder.rglob('*') if path.is_file()]:
        (file.parent / f'._{file.name}').write_bytes(b'\0\5\x16\7')
        (file.parent / '.DS_Store').touch()
    found = prepared.prepare(name, tmp_path / 'hidden', data, folder)
    assert found.metadata == clean.metadata


@pytest.mark.parametrize('layout', ['tars', 'images'])
def test_linked_folders_are_followed(tmp_path, layout):
    _, data, write, _ = LAYOUTS[layout]
    folder = write(tmp_path / 'files')
    for inner in [path for path in folder.iterdir() if path.is_dir()]:
        shutil.move(inner, tmp_path / inner.name)
        inner.symlink_to(tmp_path / inner.name)
    assert prepared.prepare('svhn_omniglot', tmp_path / 'out', data, folder).counts == {'train': 32, 'test': 14}


def test_only_what_is_asked_for_is_in_memory(tmp_path, monkeypatch):
    large = bytes(30_000_000)
    folder = decathlon_source.write(tmp_path / 'files', 'tars')
    (folder / 'data/svhn.tar').write_bytes(decathlon_source.pack({'other': large} | decathlon_source.images('svhn')))
    del large
    reader = decathlon.Decathlon(folder, (16, 16), partial=True)
    tracemalloc.start()
    assert len(list(reader.images('svhn', 'train'))) == 20
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    monkeypatch.setattr(archives, 'LARGEST', 100)
    with pytest.raises(DataError, match=r'svhn\.tar: svhn/train/.*jpg has more than 100 bytes'):
        list(reader.images('svhn', 'train'))


def exif(orientation):
    tags = Image.Exif()
    tags[pictures.ORIENTATION] = orientation
    return tags


@pytest.mark.parametrize('ending', ['png', 'jpg'])
def test_a_picture_that_is_shown_turned_is_refused(tmp_path, ending):
    file = tmp_path / f'x.{ending}'
    Image.new('RGB', (4, 2)).save(file, exif=exif(6))
    with pytest.raises(DataError, match=rf'x\.{ending} is marked to be shown turned \(EXIF orientation 6\)'):
        pictures.read(file, 'rgb')
    Image.new('RGB', (4, 2)).save(file, exif=exif(1))
    assert pictures.read(file, 'rgb').shape == (2, 4, 3)


def test_every_kind_of_picture_is_right_or_refused(tmp_path):
    modes = {'1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'LAB', 'I', 'F', 'I;16', 'I;16B'}
    if PIL.__version__ < '13':
        modes.remove('YCbCr')  # earlier ones cannot read the TIFF which they write
    file, ramp = tmp_path / 'x.tiff', np.arange(8, dtype=np.uint8).reshape(2, 4)
    for mode in modes:
        Image.new(mode, (4, 2)).save(file)
        for kind, right in pictures.MODES.items():
            if mode in right:
                assert pictures.read(file, kind).dtype == (np.uint16 if kind == 'uint16' else np.uint8)
            else:
                with pytest.raises(DataError, match=f'is of the kind {mode!r}, not'):
                    pictures.read(file, kind)
    for array, kind in ((ramp, 'uint8'), (ramp.astype(np.uint16) * 1000, 'uint16'), (ramp.astype(np.int32), 'uint16')):
        Image.fromarray(array).save(file)
        np.testing.assert_array_equal(pictures.read(file, kind), array)
    Image.fromarray(np.full((2, 4), 70_000, np.int32)).save(file)
    with pytest.raises(DataError, match='numbers from 70000 to 70000, not 16-bit numbers'):
        pictures.read(file, 'uint16')


def test_grey_of_few_bits_is_not_stretched(tmp_path):
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    file = tmp_path / 'x.png'
    header = struct.pack('>IIBBBBB', 2, 1, 4, 0, 0, 0, 0)
    parts = chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(b'\0\x12')), chunk(b'IEND', b'')
    file.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(parts))
    with pytest.raises(DataError, match='fewer than 8 bits a pixel'):
        pictures.read(file, 'uint8')


def test_a_decompression_bomb_is_one_sentence(tmp_path, monkeypatch):
    file = tmp_path / 'x.png'
    Image.new('L', (40, 40)).save(file)
    for most in (1000, 100):  # Pillow warns of one and refuses the other
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', most)
        with pytest.raises(DataError, match=rf'x\.png has more than {most} pixels') as raised:
            pictures.read(file, 'rgb')
        assert not isinstance(raised.value, DamagedFile)


def test_names_that_are_no_text_are_escaped():
    assert finding.printable(finding.Path(os.fsdecode(b'caf\xe9.npy'))) == 'caf\\udce9.npy'


@pytest.mark.parametrize('layout', ['folder', 'city folder', 'taskonomy', 'tars'])
def test_homes_of_nobody_and_names_that_are_too_long_are_named(tmp_path, layout):
    name, data, write, _ = LAYOUTS[layout]
    folder = write(tmp_path / 'files')
    for source, out in (('~nobody_here/x', tmp_path), (folder, '~nobody_here/x'), (folder, tmp_path / ('x' * 300))):
        with pytest.raises(DataError, match=r'~nobody_here/x begins with ~|xxx'):
            prepared.prepare(name, out, data, source)
