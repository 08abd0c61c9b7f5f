"""Mini-Taskonomy from the official tree of pictures (papers.md E).

`DOMAIN/taskonomy/BUILDING/point_P_view_V_domain_D.png`; the folder `taskonomy` may be missing. A target is a function
of the files' numbers p:

| target | domain | value | undefined |
| :--- | :--- | :--- | :--- |
| image | rgb | p / 255 | |
| depth | depth_zbuffer | p / 512 metres | p = 0 or p ≥ 64,500 |
| normals | normal | (p - 127) / 127, brought to unit length, in the axes of the files | p = (127, 127, 127) |
| segmentation | segment_semantic | p, of which 0 is "uncertain" | |
| keypoints | keypoints2d | p / 65,535 | |
| edges | edge_texture | p / 65,535 | |
"""

import csv
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtkd_jax.datasets.errors import DamagedFile, DataError, FrameExcluded
from mtkd_jax.datasets.files import pictures
from mtkd_jax.datasets.files.finding import is_hidden
from mtkd_jax.datasets.files.reader import Frame, check_frame
from mtkd_jax.datasets.taskonomy.resizing import RESIZED
from mtkd_jax.datasets.taskonomy.storing import CLASSES

LAYOUT = 'DOMAIN/taskonomy/BUILDING/point_P_view_V_domain_D.png'


class Domain(NamedTuple):
    """Of a target: its folder, what its files are called by, and the kind of numbers in them (`pictures.read`)."""

    folder: str
    ending: str
    kind: str


DOMAINS = {
    'image': Domain('rgb', 'rgb', 'rgb'),
    'segmentation': Domain('segment_semantic', 'segmentsemantic', 'uint8'),
    'depth': Domain('depth_zbuffer', 'depth_zbuffer', 'uint16'),
    'normals': Domain('normal', 'normal', 'rgb'),
    'keypoints': Domain('keypoints2d', 'keypoints2d', 'uint16'),
    'edges': Domain('edge_texture', 'edge_texture', 'uint16'),
}
# What stands for a target whose domain is not there: nothing is defined.
ABSENT = {'segmentation': -1, 'depth': 0, 'normals': 0, 'keypoints': -1, 'edges': -1}


def tiny_split() -> dict[str, tuple[str, ...]]:
    """The buildings of the official tiny split: `train`, `validation` and `test`."""
    text = (resources.files('mtkd_jax.datasets.taskonomy') / 'tiny_split.csv').read_text()
    rows = list(csv.DictReader(text.splitlines()))
    columns = {'train': 'train', 'validation': 'val', 'test': 'test'}
    return {split: tuple(row['id'] for row in rows if row[column] == '1') for split, column in columns.items()}


class Tree:
    """A `Reader` of the tree: the views that every domain there has, of the buildings of the tiny split.

    Images, keypoints and edges are resized by area, labels to the nearest pixel, depth and normals by the mean over
    defined pixels.

    Args:
        source: the folder that holds rgb, depth_zbuffer, ...
        size: height and width in pixels.
        split: building names by split; default the tiny split.

    Attributes:
        targets: those whose domain is there.
        excluded: by split, the views that lack a file, and which.

    Raises:
        DataError: there is no folder of images, none of targets, or no view left in a split that is needed.
    """

    def __init__(self, source: Path, size: tuple[int, int], split: Mapping[str, Sequence[str]] | None = None) -> None:
        self.source, self.size = source, size
        self.classes: tuple[str, ...] = CLASSES
        self._roots = {target: root for target, domain in DOMAINS.items() if (root := self._root(domain)) is not None}
        if 'image' not in self._roots or len(self._roots) == 1:
            wanted = (
                'rgb'
                if 'image' not in self._roots
                else 'any of ' + ', '.join(d.folder for t, d in DOMAINS.items() if t != 'image')
            )
            raise DataError(f'{source} has no folder {wanted}; the tree is {LAYOUT}.')
        self.targets = tuple(target for target in self._roots if target != 'image')
        buildings = split or tiny_split()
        self.excluded: dict[str, list[str]] = {}
        self._views: dict[str, list[tuple[str, str]]] = {}
        for name, wanted_buildings in buildings.items():
            self._find(name, wanted_buildings)
        self.splits: dict[str, int] = {name: len(views) for name, views in self._views.items() if views}
        absent = [name for name in ('train', 'test') if not self.splits.get(name)]
        if absent:
            raise DataError(
                f'{source} has no view of a building of the split {absent[0]} that every domain has; its buildings are '
                f'{", ".join(buildings[absent[0]])}.'
            )
        here = {path.name for path in self._roots['image'].iterdir() if path.is_dir() and not is_hidden(path.name)}
        listed = {building for names in buildings.values() for building in names}
        self.skipped = tuple(sorted(f'{DOMAINS["image"].folder}/{name}' for name in here - listed))
        missing = {name: sorted(set(wanted) - here) for name, wanted in buildings.items()}
        self.metadata: dict[str, Any] = {
            'source': 'official tree',
            'resampling': 'image, keypoints, edges by area; label to the nearest pixel; depth, normals by the mean '
            'over defined pixels',
            'depth': 'metres along the optical axis, stored in steps of 1/512; 0 undefined',
            'normals': 'in the axes of the files, stored in steps of 1/127',
            'targets': list(self.targets),
            'missing_buildings': {name: found for name, found in missing.items() if found},
            'test_split': 'the test buildings of the tiny split',
            'index': 'number of the view among the sorted ones of its split, from 0',
        }

    def files(self, split: str, i: int) -> list[Path]:
        """See `Reader.files`."""
        building, view = self._views[split][i]
        return [root / building / f'{view}_domain_{DOMAINS[target].ending}.png' for target, root in self._roots.items()]

    def read(self, split: str, i: int) -> Frame:
        """See `Reader.read`; a view with a damaged file, or files of different sizes, is excluded."""
        names = dict(zip(self._roots, self.files(split, i), strict=True))
        try:
            raw = {target: pictures.read(file, DOMAINS[target].kind) for target, file in names.items()}
        except DamagedFile as error:
            raise FrameExcluded(str(error)) from error
        for target, array in raw.items():
            if array.shape[:2] != raw['image'].shape[:2]:
                raise FrameExcluded(f'{names[target]} is {array.shape[:2]}, its image {raw["image"].shape[:2]}.')
        if 'segmentation' in raw and raw['segmentation'].max() >= len(CLASSES):
            raise DataError(
                f'{names["segmentation"]} has the value {raw["segmentation"].max()}; labels end at {len(CLASSES) - 1}. '
                'Give the official files.'
            )
        frame = {target: RESIZED[target](raw[target], self.size) for target in raw}
        frame |= {target: self._nothing(target) for target in ABSENT if target not in raw}
        shown = {target: str(names.get(target, target)) for target in frame}
        return {**check_frame(frame, shown, self.size, len(CLASSES)), 'index': np.array(i, np.int32)}

    def _nothing(self, target: str) -> np.ndarray:
        return np.full((*self.size, 3 if target == 'normals' else 1), ABSENT[target], np.float32)

    def _root(self, domain: Domain) -> Path | None:
        folder = self.source / domain.folder
        inner = folder / 'taskonomy'
        return inner if inner.is_dir() else folder if folder.is_dir() else None

    def _find(self, split: str, buildings: Sequence[str]) -> None:
        self._views[split], self.excluded[split] = [], []
        for building in sorted(buildings):
            found = {target: self._listed(target, building) for target in self._roots}
            for view in sorted(set().union(*found.values()), key=_numbers):
                lacking = [DOMAINS[target].folder for target, views in found.items() if view not in views]
                if lacking:
                    self.excluded[split].append(f'{building}/{view}: no {", ".join(lacking)}')
                else:
                    self._views[split].append((building, view))

    def _listed(self, target: str, building: str) -> set[str]:
        folder, ending = self._roots[target] / building, f'_domain_{DOMAINS[target].ending}.png'
        if not folder.is_dir():
            return set()
        names = [name for name in os.listdir(folder) if name.endswith(ending) and not is_hidden(name)]
        return {name.removesuffix(ending) for name in names}


def _numbers(view: str) -> tuple[Any, ...]:
    """point_12_view_3 → (12, 3), so that views stand in the order of their numbers."""
    return tuple(int(part) for part in view.split('_') if part.isdecimal()), view
