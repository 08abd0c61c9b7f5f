"""Shared by builders of dense data sets: frames of a reader are summed up and written in parts, on all cores."""

import hashlib
import json
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.reader import Frame, Reader, ReadSplit, stamp
from mtkd_jax.datasets.storage import builder as base
from mtkd_jax.datasets.storage import parts
from mtkd_jax.datasets.storage.parallel import ordered_map
from mtkd_jax.datasets.storage.summary import Summary, merged


class FramesBuilder(base.LocalBuilder):
    """Writes what `reader` gives. `unfinished` is needed to prepare, not to read.

    A builder says which arrays it stores (`stored`), and how a frame becomes them (`encode`).

    Attributes:
        reader: the user's files.
        unfinished: the folder of parts that are written, until all are.
        official: examples of each split of the whole data set; () where there is no such number.
    """

    reader: Reader
    unfinished: Path
    official: ClassVar[Mapping[str, int]] = {}

    def stored(self, height: int, width: int) -> dict[str, tfds.features.FeatureConnector]:
        """The arrays of an example."""
        return {'image': base.stored(3, np.float32, height, width), **base.dense_features(height, width)}

    def classes(self) -> Sequence[str]:
        """Names of the classes of the segmentation, as they are stored."""
        raise NotImplementedError

    def encode(self, frame: Frame) -> Frame:
        """The arrays that are stored of a frame."""
        return frame

    def check_space(self, folder: Path, kept: int) -> None:
        """See `LocalBuilder.check_space`."""
        features = self.info.features.get_tensor_info()
        each = sum(int(np.prod(info.shape)) * np.dtype(info.np_dtype).itemsize for info in features.values())
        needed = max(sum(self.reader.splits.values()) - kept, 0) * each
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise DataError(
                f'{folder} has {free / 1e9:.1f} GB free; preparing needs up to {needed / 1e9:.1f} GB. Free some space, '
                'or give another `data_dir`.'
            )

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.size
        return base.LocalInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(self.stored(*size)),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict({'size': size, 'classes': tuple(self.classes()), 'splits': {}}),
        )

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[tfds.core.SplitInfo]:
        self.info.metadata.update(self.reader.metadata, notes=notes(self.reader, self.official))
        written = {split: self._write(split) for split in self.reader.splits}
        # Only now: until every split is whole, parts stay where the next run finds them.
        infos = []
        for split, done in written.items():
            template = self._get_filename_template(split_name=split)
            infos.append(
                tfds.core.SplitInfo(split, *parts.move_parts(self.unfinished, split, done, template), template)
            )
        self.info.metadata['notes'] += self._absent()
        return infos

    def _absent(self) -> list[str]:
        """A warning where most classes never occur: then the labels are probably of another kind."""
        shares = self.info.metadata['splits']['train']['class_percent']
        absent = [name for name, share in zip(self.classes(), shares, strict=True) if not share]
        if 2 * len(absent) < len(shares):
            return []
        shown = ', '.join(absent[:3]) + _more(absent)
        return [f'WARNING: {len(absent)} of {len(shares)} classes never occur in train: {shown}']

    def _split_generators(self, dl_manager: Any) -> Any:
        raise AssertionError('Frames are written in parts, by `_generate_splits`.')

    def _generate_examples(self, *arguments: Any) -> Any:
        raise AssertionError('Frames are written in parts, by `_generate_splits`.')

    def _write(self, split: str) -> list[parts.Part]:
        material = _Material(self, split, self.reader.splits[split])
        done = parts.write_parts(self.unfinished, split, material, self.progress)
        summary = merged([part.summary for part in done])
        excluded = [*getattr(self.reader, 'excluded', {}).get(split, ()), *(r for part in done for r in part.excluded)]
        if not summary.examples:
            raise DataError(f'No frame of the split {split} can be used; the first: {excluded[0]}')
        self.info.metadata['splits'][split] = summary.as_dict()
        if excluded:
            self.info.metadata.setdefault('excluded', {})[split] = excluded
        return done


@dataclass(frozen=True)
class _Material:
    """A split of a builder's reader, as `parts.write_parts` takes it."""

    builder: FramesBuilder
    split: str
    count: int

    def signature(self, first: int, last: int) -> str:
        return self.sign([stamp(self.builder.reader, self.split, i) for i in range(first, last)])

    def sign(self, stamps: Sequence[str]) -> str:
        builder = self.builder
        made_by = [builder.name, str(builder.version), builder.builder_config.name, builder.reader.metadata, self.split]
        return hashlib.sha256(json.dumps([made_by, list(stamps)]).encode()).hexdigest()

    def records(self, first: int) -> Generator[parts.Record, None, None]:
        builder, classes = self.builder, len(self.builder.classes())
        read, decode = ReadSplit(builder.reader, self.split), builder.decoder()
        for found, frame in ordered_map(read, range(first, self.count), self.count - first):
            if isinstance(frame, str):
                yield parts.Record(found, excluded=frame)
            else:
                stored = builder.encode(frame)
                # As it is read back: what is stored may be coarser.
                example = decode(stored) if decode else stored
                yield parts.Record(found, builder.info.features.serialize_example(stored), Summary.of(example, classes))


def notes(reader: Reader, official: Mapping[str, int]) -> list[str]:
    """What a user should know about the files, one sentence each."""
    found = []
    for split, count in official.items():
        if reader.splits[split] != count:
            found.append(f'{split} has {reader.splits[split]} frames; the official split has {count}.')
    height, width = reader.size
    if height % 32 or width % 32:
        found.append(f'WARNING: {height}x{width} is not a multiple of 32 in both directions, which SegNet needs.')
    for split, buildings in reader.metadata.get('missing_buildings', {}).items():
        found.append(f'{split} lacks {len(buildings)} buildings: {", ".join(buildings[:3])}{_more(buildings)}')
    if reader.skipped:
        shown = ', '.join(reader.skipped[:3]) + _more(reader.skipped)
        others = '1 other file was' if len(reader.skipped) == 1 else f'{len(reader.skipped)} other files were'
        found.append(f'{others} not used: {shown}')
    return found


def _more(names: Sequence[str]) -> str:
    return ', ...' if len(names) > 3 else ''
