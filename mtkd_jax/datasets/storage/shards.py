"""Writes a split's ArrayRecord files one example after the other.

tensorflow-datasets' own writer sorts first; beyond a gigabyte it does so in files that need TensorFlow.
"""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from mtkd_jax.datasets.storage.records import RecordFile

SHARD_BYTES = 2**28


def write_split(
    split: str,
    examples: Generator[tuple[int, dict[str, Any]], None, None],
    features: tfds.features.FeaturesDict,
    template: tfds.core.ShardedFileTemplate,
) -> tfds.core.SplitInfo:
    """Writes `examples` in order into files of about `SHARD_BYTES` (before compression)."""
    shards = _Shards(template)
    # However the writing ends, the processes that make the examples end with it.
    with contextlib.closing(examples), contextlib.closing(shards):
        for _, example in examples:
            shards.add(features.serialize_example(example))
    shards.name_files()
    return tfds.core.SplitInfo(split, shards.lengths, shards.bytes, template)


class _Shards:
    def __init__(self, template: tfds.core.ShardedFileTemplate) -> None:
        self.lengths: list[int] = []
        self.bytes = 0
        self._template = template
        self._writer: RecordFile | None = None
        self._room = 0

    def add(self, record: bytes) -> None:
        if self._writer is None or self._room < len(record):
            self.close()
            self._writer = RecordFile(self._part(len(self.lengths)))
            self._room = SHARD_BYTES
            self.lengths.append(0)
        self._writer.write(record)
        self._room -= len(record)
        self.bytes += len(record)
        self.lengths[-1] += 1

    def close(self) -> None:
        if self._writer is not None:
            # Once, also where it fails.
            writer, self._writer = self._writer, None
            writer.close()

    def name_files(self) -> None:
        # A file's name says how many there are, which is known only now.
        count = len(self.lengths)
        for i in range(count):
            self._part(i).rename(self._template.sharded_filepath(shard_index=i, num_shards=count))

    def _part(self, i: int) -> Path:
        return Path(self._template.data_dir) / f'{self._template.split}.part{i}'
