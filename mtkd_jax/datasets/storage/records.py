"""A file of records that is whole when it is closed, or an error."""

from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from mtkd_jax.datasets.errors import DataError


class RecordFile:
    """Writes records to an ArrayRecord file, each in a group of its own: any one is read without its neighbours.

    Raises:
        DataError: the file cannot be written, as when the disk is full.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.count = file, 0
        self._writer: Any = self._try(ArrayRecordWriter, str(file), 'group_size:1')

    def write(self, record: bytes) -> None:
        """Adds a record."""
        self._try(self._writer.write, record)
        self.count += 1

    def close(self) -> None:
        """Ends the file, and looks whether all of it arrived: the library does not say when the disk is full."""
        self._try(self._writer.close)
        found = self._try(_length, self.file)
        # An interrupt may come between a record and its count.
        if found < self.count:
            raise self._error(f'{found} of {self.count} examples arrived')

    def _try(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:  # the storage library may raise anything
            raise self._error(str(error)) from error

    def _error(self, reason: str) -> DataError:
        return DataError(
            f'{self.file} cannot be written ({reason}); see whether its disk is full, and run the same command again.'
        )


def _length(file: Path) -> int:
    reader = ArrayRecordReader(str(file))
    try:
        return reader.num_records()
    finally:
        reader.close()
