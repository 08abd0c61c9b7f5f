"""SVHN and Omniglot in the Visual Decathlon's files: annotation JSONs, and tars of images (papers.md E).

As downloaded: `decathlon-1.0-devkit.tar.gz` (it holds decathlon-1.0/annotations/svhn_train.json, ...) and
`decathlon-1.0-data.tar.gz` (it holds svhn.tar, omniglot.tar, ...); or either of them unpacked. In a tar an image is
svhn/train/CLASS/FILE.jpg; the annotations call it data/svhn/train/CLASS/FILE.jpg. `train` and `val` have labels.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files import pictures
from mtkd_jax.datasets.files.finding import open_ordinary, walk
from mtkd_jax.datasets.svhn_omniglot import OFFICIAL, archives

DATASETS = ('svhn', 'omniglot')
SPLITS = {'train': 'train', 'test': 'val'}  # the challenge's test labels are not public
CLASSES = {'svhn': 10, 'omniglot': 1623}
DEVKIT, DATA = 'decathlon-1.0-devkit.tar.gz', 'decathlon-1.0-data.tar.gz'


@dataclass(frozen=True)
class Annotations:
    """`labels`: image file (without data/) → class id, in the order of `images`; `classes`: their names by id."""

    file: str
    labels: Mapping[str, int]
    classes: Sequence[str]


class Decathlon:
    """The images and labels in a user's folder, checked against the official counts.

    Attributes:
        size: height and width in pixels that images are resized to.
        partial: whether less than the official images and classes is accepted.
        annotations: by data set and split.

    Raises:
        DataError: a file is missing, or not what it should be.
    """

    def __init__(self, source: Path, size: tuple[int, int], partial: bool = False) -> None:
        if not source.is_dir():
            raise DataError(f'`source` is {source}, which is no folder; give the one that holds {DEVKIT} and {DATA}.')
        self.source, self.size, self.partial = source, size, partial
        self._found = list(walk(source))
        self.annotations = {name: {s: self._annotations(name, s) for s in SPLITS} for name in DATASETS}
        for name in DATASETS:
            self._check(name)

    @property
    def notes(self) -> list[str]:
        """What differs from the official data, one sentence each; only where `partial` allows it."""
        return [
            f'WARNING: {name} {split} has {len(found.labels)} images of {len(found.classes)} classes; official are '
            f'{OFFICIAL[name][split]} of {CLASSES[name]}.'
            for name, splits in self.annotations.items()
            for split, found in splits.items()
            if len(found.labels) != OFFICIAL[name][split] or len(found.classes) != CLASSES[name]
        ]

    def images(self, name: str, split: str) -> Iterator[tuple[np.ndarray, int, int]]:
        """(image uint8 [h w 3], class id, place in the annotations) of every image, in the order of the archive.

        Raises:
            DataError: an image is missing, twice there, or damaged.
        """
        found = self.annotations[name][split]
        places = {file: i for i, file in enumerate(found.labels)}
        missing = set(places)
        for file, stream, where in self._files(name):
            if file not in places:
                continue
            if file not in missing:
                raise DataError(f'{where} holds {file} twice; download it again.')
            missing.discard(file)
            image = f'{where}: {file}'
            picture = pictures.parse(io.BytesIO(archives.read(stream, image)), 'rgb', image)
            yield pictures.by_area(picture, self.size), found.labels[file], places[file]
        if missing:
            raise DataError(
                f'{len(missing)} of the {len(places)} images of {found.file} are not in the data of {name}, first '
                f'{min(missing, key=places.__getitem__)}; download {DATA} again.'
            )

    def _annotations(self, name: str, split: str) -> Annotations:
        file = f'{name}_{SPLITS[split]}.json'
        devkit = self.source / DEVKIT
        for path in self._named(file):
            if path.parent.name == 'annotations':
                with open_ordinary(path) as stream:
                    return read_annotations(archives.read(stream, str(path)), str(path))
        if devkit.exists():
            for member, stream in archives.members(devkit, str(devkit)):
                if member.endswith(f'annotations/{file}'):
                    return read_annotations(archives.read(stream, str(devkit)), f'{devkit}: {member}')
        raise DataError(
            f'{self.source} has neither annotations/{file} nor a {DEVKIT} that holds it; download {DEVKIT}.'
        )

    def _named(self, file: str) -> list[Path]:
        return [path for path in self._found if path.name == file]

    def _files(self, name: str) -> Iterator[tuple[str, Any, str]]:
        """(file as in the annotations, open file, where it is) of all images of a data set."""
        for path in self._named(f'{name}.tar'):
            yield from _of_archive(path, str(path))
            return
        # NAME/train/CLASS/FILE
        folders = {path.parents[2] for path in self._found if len(path.parents) > 2 and path.parents[1].name == 'train'}
        for folder in sorted(folder for folder in folders if folder.name == name):
            for path in self._found:
                if folder in path.parents:
                    with open_ordinary(path) as stream:
                        yield path.relative_to(folder.parent).as_posix(), stream, str(folder)
            return
        data = self.source / DATA
        if data.exists():
            for member, inner in archives.members(data, str(data)):
                if member.rpartition('/')[2] == f'{name}.tar':
                    yield from _of_archive(inner, f'{data}: {member}')
                    return
        raise DataError(
            f'{self.source} has neither {name}.tar nor a folder {name}/train nor a {DATA} that holds it; download that.'
        )

    def _check(self, name: str) -> None:
        train, test = (self.annotations[name][split] for split in SPLITS)
        if list(train.classes) != list(test.classes):
            raise DataError(f'{train.file} and {test.file} do not list the same categories; download {DEVKIT} again.')
        both = train.labels.keys() & test.labels.keys()
        if both:
            raise DataError(f'{train.file} and {test.file} both list {min(both)}; download {DEVKIT} again.')
        if self.notes and not self.partial:
            raise DataError(
                f'{self.notes[0].removeprefix("WARNING: ")} Download it again, or give --partial to use it.'
            )


def read_annotations(content: bytes, file: str) -> Annotations:
    """The labels in an annotation JSON: `categories` with `id` and `name`, `images` with `id` and `file_name`, and
    `annotations` with `image_id` and `category_id`, one per image.

    Raises:
        DataError: it is no such JSON.
    """
    try:
        tree = json.loads(content)
        classes = {category['id']: i for i, category in enumerate(tree['categories'])}
        names = [str(category['name']) for category in tree['categories']]
        files = {image['id']: str(image['file_name']).removeprefix('data/') for image in tree['images']}
        pairs = [(files[a['image_id']], classes[a['category_id']]) for a in tree['annotations']]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f'{file} is no annotation file of the challenge ({type(error).__name__}: {error}); download {DEVKIT} again.'
        ) from error
    found, listed = dict(pairs), list(files.values())
    if not found:
        raise DataError(f'{file} lists no image; download {DEVKIT} again.')
    if not len(found) == len(pairs) == len(set(listed)) == len(tree['images']) or len(classes) != len(names):
        raise DataError(f'{file} does not give each of its {len(tree["images"])} images one label; download it again.')
    return Annotations(file, {image: found[image] for image in listed}, names)


def _of_archive(archive: Path | Any, where: str) -> Iterator[tuple[str, Any, str]]:
    for name, stream in archives.members(archive, where):
        yield name, stream, where
