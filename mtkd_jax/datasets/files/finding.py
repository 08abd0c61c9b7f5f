"""Finding the user's files, and what can be wrong with them before they are read."""

import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from mtkd_jax.datasets.errors import DataError

DAMAGED = (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""What reading a damaged archive may raise."""

KINDS = {
    stat.S_IFDIR: 'a folder',
    stat.S_IFIFO: 'a pipe',
    stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
}


def ordinary(file: Path) -> Path:
    """`file`, when it is an ordinary file, or a link to one. Nothing else is ever opened: a pipe would be waited for.

    Raises:
        DataError: it is missing, cannot be reached, or is something else.
    """
    try:
        kind = stat.S_IFMT(file.stat().st_mode)
    except FileNotFoundError as error:
        raise DataError(f'{file} is missing; copy it again.') from error
    except OSError as error:
        raise DataError(f'{file} cannot be read ({error.strerror}); see to its folder and its rights.') from error
    if kind != stat.S_IFREG:
        raise DataError(f'{file} is {KINDS.get(kind, "something else")}, not a file; put the file itself there.')
    return file


def expanded(path: str) -> Path:
    """`path`, in which ~ stands for a home.

    Raises:
        DataError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f'{path} begins with ~, but there is no such user; give the whole path.') from error


def open_ordinary(file: Path) -> io.BufferedReader:
    """`file`, open to be read, when it is `ordinary`."""
    try:
        return ordinary(file).open('rb')
    except OSError as error:
        raise DataError(f'{file} cannot be read ({error.strerror}); see to its folder and its rights.') from error


def is_hidden(name: str) -> bool:
    """Whether a file of this name is no data: .DS_Store, ._0.npy and whatever else begins with a dot."""
    return name.startswith('.')


def walk(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Every file below `folder`, sorted by folder; without hidden ones, and through links to folders.

    `above`: device and number of the folders that led here; a link back to one of them is not followed.
    """
    state = folder.stat()
    here = (state.st_dev, state.st_ino)
    if here in above:
        return
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if is_hidden(name):
            continue
        if path.is_dir():
            yield from walk(path, (*above, here))
        else:
            yield path


def printable(path: Path) -> str:
    """A path as text that every terminal and JSON file takes; bytes that are no UTF-8 are escaped."""
    return str(path).encode(errors='backslashreplace').decode()
