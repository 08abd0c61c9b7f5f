"""Tars, also within tars, read once from front to back: nothing is unpacked, and only what is asked for is in memory.

Functions raise `DataError` where an archive is damaged; `where` names it in the message.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.finding import DAMAGED, ordinary

BLOCK = 2**16  # bytes that are read at once
LARGEST = 2**26  # bytes of a file that is read whole; the challenge's images and annotations are far smaller


def read(stream: Any, where: str) -> bytes:
    """The rest of an open file, in an archive or not."""
    content = bytearray()
    try:
        while block := stream.read(BLOCK):
            content += block
            if len(content) > LARGEST:
                raise DataError(f'{where} has more than {LARGEST} bytes: no image or annotation; download it again.')
    except DAMAGED as error:
        raise DataError(f'{where} cannot be read ({error}); download it again.') from error
    return bytes(content)


def members(archive: Path | Any, where: str) -> Iterator[tuple[str, Any]]:
    """(name, open file) of an archive's files, read once from front to back."""
    try:
        source: dict[str, Any] = {'name': ordinary(archive)} if isinstance(archive, Path) else {'fileobj': archive}
        with tarfile.open(mode='r|*', **source) as tar:
            for member in tar:
                if member.isfile():
                    yield member.name.removeprefix('./'), tar.extractfile(member)
    except DAMAGED as error:
        raise DataError(f'{where} cannot be read ({error}); download it again.') from error
