"""Tars, also within tars, read once from front to back: nothing is unpacked.

Functions raise `DataError` where an archive is damaged; `where` names it in the message.
"""

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtkd_jax.datasets.errors import DataError

DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error)


def contents(archive: Path | Any, where: str) -> Iterator[tuple[str, bytes, str]]:
    """(name, content, `where`) of an archive's files."""
    for name, stream in members(archive, where):
        yield name, read(stream, where), where


def read(stream: Any, where: str) -> bytes:
    """The rest of an open file of an archive."""
    try:
        return stream.read()
    except DAMAGED as error:
        raise DataError(f'{where} cannot be read ({error}); download it again.') from error


def members(archive: Path | Any, where: str) -> Iterator[tuple[str, Any]]:
    """(name, open file) of an archive's files, read once from front to back."""
    try:
        source: dict[str, Any] = {'name': archive} if isinstance(archive, Path) else {'fileobj': archive}
        with tarfile.open(mode='r|*', **source) as tar:
            for member in tar:
                if member.isfile():
                    yield member.name.removeprefix('./'), tar.extractfile(member)
    except DAMAGED as error:
        raise DataError(f'{where} cannot be read ({error}); download it again.') from error
