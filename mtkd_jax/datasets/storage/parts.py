"""Writing a split part by part, so that an interrupted preparation continues where it stopped.

A part is an ArrayRecord file, and a JSON file that is written after it: the contents of the part, its checksum, and a
signature of its sources. Parts that are damaged, or whose signature no longer fits, are made again.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.storage.records import RecordFile
from mtkd_jax.datasets.storage.summary import Summary
from mtkd_jax.files import write_json

PART_BYTES = (2**24, 2**28)  # least and most of a part, before compression
PARTS = 64  # about this many per split, within these bounds


@dataclass
class Part:
    """What a part holds.

    Attributes:
        first, next: the number of its first frame, and of the first frame after it.
        signature: of what it was made from.
        examples, bytes: in its file, before compression; without examples there is no file.
        checksum: of its file's bytes; '' where there is no file.
        summary: of its examples.
        excluded: why frames among them are left out.
    """

    first: int
    next: int
    signature: str
    examples: int = 0
    bytes: int = 0
    checksum: str = ''
    summary: Summary = field(default_factory=Summary)
    excluded: list[str] = field(default_factory=list)


class Record(NamedTuple):
    """The result for a frame.

    The `stamp` of its files, and either its bytes and summary or the reason why it is `excluded`.
    """

    stamp: str
    content: bytes = b''
    summary: Summary | None = None
    excluded: str = ''


@runtime_checkable
class Material(Protocol):
    """What the parts of a split are made from."""

    @property
    def count(self) -> int:
        """Frames in all."""
        ...

    def signature(self, first: int, last: int) -> str:
        """A digest of the sources of frames `first` to `last` - 1."""
        ...

    def sign(self, stamps: Sequence[str]) -> str:
        """The signature of frames with these stamps."""
        ...

    def records(self, first: int) -> Generator[Record, None, None]:
        """The result for each frame from `first` on."""
        ...


def file_of(folder: Path, split: str, number: int) -> Path:
    """The ArrayRecord file of a part."""
    return folder / f'{split}.part{number}'


def write_parts(folder: Path, split: str, material: Material, progress: Callable[[str, int, int], None]) -> list[Part]:
    """All parts of a split; those that are there and still fit are not made again."""
    parts = _fitting(folder, split, material)
    first = parts[-1].next if parts else 0
    progress(split, first, material.count)
    with contextlib.closing(material.records(first)) as records:
        writer = _Writer(folder, split, len(parts), first, material)
        with contextlib.closing(writer):
            for number, record in enumerate(records, start=first):
                writer.add(record)
                # At once, not before the next record: that one may fail, and this part is whole.
                if record.content and not writer.has_room(len(record.content)):
                    parts.append(writer.finish(number + 1))
                progress(split, number + 1, material.count)
            if writer.part.first < material.count:
                parts.append(writer.finish(material.count))
    return parts


def kept(folder: Path) -> int:
    """The number of examples already kept in `folder`."""
    found = [(file, _read(file)) for file in folder.glob('*.json')] if folder.is_dir() else []
    return sum(part.examples for file, part in found if part is not None and file.with_suffix('').is_file())


def _fitting(folder: Path, split: str, material: Material) -> list[Part]:
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Part] = []
    while (record := _record(folder, split, len(parts))).is_file():
        part = _read(record)
        first = parts[-1].next if parts else 0
        if (
            part is None
            or (part.first, part.next) != (first, min(part.next, material.count))
            or part.signature != material.signature(part.first, part.next)
            or part.checksum != _checksum(file_of(folder, split, len(parts)))
        ):
            break
        parts.append(part)
    used = {file_of(folder, split, i).name for i in range(len(parts))}
    for leftover in folder.glob(f'{split}.part*'):
        if leftover.name.removesuffix('.json') not in used:
            leftover.unlink()
    return parts


def _record(folder: Path, split: str, number: int) -> Path:
    return folder / f'{split}.part{number}.json'


def _read(file: Path) -> Part | None:
    """A record; None where it is damaged, as after a power cut: then its part is made again."""
    try:
        tree = json.loads(file.read_text())
        return Part(**{**tree, 'summary': Summary.read(tree['summary'])})
    except (ValueError, KeyError, TypeError):
        return None


def _checksum(file: Path) -> str:
    if not file.is_file():
        return ''
    with file.open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()


class _Writer:
    """Writes part after part, beginning with part `number` and frame `first`."""

    def __init__(self, folder: Path, split: str, number: int, first: int, material: Material) -> None:
        self._folder, self._split, self._number, self._material = folder, split, number, material
        self._writer: RecordFile | None = None
        self._stamps: list[str] = []
        self.part = Part(first, first, '')

    def has_room(self, size: int) -> bool:
        least, most = PART_BYTES
        limit = min(most, max(least, size * self._material.count // PARTS))
        return self.part.bytes + size <= limit

    def add(self, record: Record) -> None:
        self._stamps.append(record.stamp)
        if record.summary is None:
            self.part.excluded.append(record.excluded)
            return
        if self._writer is None:
            self._writer = RecordFile(file_of(self._folder, self._split, self._number))
        self._writer.write(record.content)
        self.part.examples += 1
        self.part.bytes += len(record.content)
        self.part.summary.add(record.summary)

    def finish(self, following: int) -> Part:
        """Ends the part before frame `following`; the next one begins there."""
        self.close()
        done = self.part
        done.next, done.signature = following, self._material.sign(self._stamps)
        done.checksum, self._stamps = _checksum(file_of(self._folder, self._split, self._number)), []
        write_json(_record(self._folder, self._split, self._number), asdict(done))
        self._number += 1
        self.part = Part(following, following, '')
        return done

    def close(self) -> None:
        if self._writer is not None:
            # Once, also where it fails.
            writer, self._writer = self._writer, None
            writer.close()


def move_parts(folder: Path, split: str, parts: list[Part], template: Any) -> tuple[list[int], int]:
    """Gives the files of a whole split the names that tensorflow-datasets reads; (examples by file, bytes in all)."""
    filled = [(number, part) for number, part in enumerate(parts) if part.examples]
    for place, (number, _) in enumerate(filled):
        name = template.sharded_filepath(shard_index=place, num_shards=len(filled))
        _link(file_of(folder, split, number), Path(name))
    return [part.examples for _, part in filled], sum(part.bytes for _, part in filled)


def _link(file: Path, name: Path) -> None:
    """Gives `file` a second name, or copies it where the file system has no hard links.

    It is not moved: if a later step fails, the next run still finds the parts.
    """
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
        if _checksum(name) != _checksum(file):
            raise DataError(f'{name} differs from {file}, whose copy it is; see to its disk, and try again.') from None
