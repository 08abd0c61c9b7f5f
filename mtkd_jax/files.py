"""Files that are read whole or refused, and written whole or not at all."""

import errno
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from mtkd_jax.errors import UserError
from mtkd_jax.places import Stored, is_file

FULL, CLOSED = (errno.ENOSPC, errno.EDQUOT), (errno.EROFS, errno.EACCES, errno.EPERM)
"""Numbers of the system's errors: a disk is full, a place may not be written to."""


def read_npz(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by name.

    Raises:
        UserError: it does not exist, is damaged or no `.npz`, or holds Python objects.
    """
    if not is_file(file):
        raise UserError(f'{file} does not exist. Check the path.')
    try:
        with file.open('rb') as stream, np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    # Headers are parsed as Python, members are inflated: damage shows in many ways.
    except Exception as error:
        raise UserError(f'{file} is no .npz of arrays ({error}); write it again with numpy.savez.') from error


def read_json(file: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in `file`.

    Raises:
        UserError: it is damaged (half, empty, not UTF-8) or no object; ends with `remedy`, what to do about it.
    """
    try:
        content = json.loads(file.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{file} is not valid JSON ({error}); {remedy}.') from error
    if not isinstance(content, dict):
        raise UserError(f'{file} is not valid JSON (no object with names); {remedy}.')
    return content


def write_json(file: Path, content: Any) -> None:
    """Writes `content` to `file`, whole or not at all."""
    write_text(file, json.dumps(content, indent=1) + '\n')


def write_text(file: Path, text: str) -> None:
    """Writes `text` to `file`, whole or not at all."""
    with whole(file) as stream:
        stream.write(text.encode())


def write_npz(file: Path, arrays: dict[str, np.ndarray], compress: bool = False) -> None:
    """Writes `arrays` to `file`, whole or not at all."""
    with whole(file) as stream:
        (np.savez_compressed if compress else np.savez)(stream, allow_pickle=False, **arrays)


@contextmanager
def whole(file: Path) -> Iterator[IO[bytes]]:
    """A stream whose content becomes `file`, whole or not at all; it is durable once this is left."""
    if isinstance(file, Stored):
        content = io.BytesIO()
        yield content
        file.write_bytes(content.getvalue())
        return
    partial = file.with_name(file.name + '.tmp')
    with partial.open('wb') as stream:
        yield stream
    replace(partial, file)


def replace(partial: Path, file: Path) -> None:
    """Renames `partial` to `file`; both the content and the name are on disk when this returns."""
    sync([partial])
    os.replace(partial, file)
    sync([file.parent])


def sync(places: Iterable[Path]) -> None:
    """Returns once these files and folders are on disk."""
    for place in places:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def as_float32(array: np.ndarray) -> np.ndarray:
    """`array` as it is computed with, whatever its file's type; what is too large becomes infinite."""
    with np.errstate(over='ignore'):
        return array.astype(np.float32)


def wide(array: np.ndarray) -> np.ndarray:
    """Numbers from a file in a type of this machine's: floats as float32, others in its byte order."""
    return as_float32(array) if array.dtype.kind == 'f' else array.astype(array.dtype.newbyteorder('='))


def checksums(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The CRC-32 of every array: of its name, type, shape and values."""
    return {
        name: zlib.crc32(np.ascontiguousarray(x).tobytes(), zlib.crc32(f'{name} {x.dtype} {x.shape}'.encode()))
        for name, x in arrays.items()
    }


def content_checksum(content: Any) -> int:
    """The CRC-32 of what is written as JSON, whatever the order of its names."""
    # As it is read again: names that are numbers become words.
    plain = json.loads(json.dumps(content))
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())
