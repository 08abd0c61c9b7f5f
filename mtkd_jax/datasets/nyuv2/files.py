"""NYUv2 as researchers have it: the official tables, and the preprocessed folder's layout (papers.md E)."""

import functools
import json
from importlib import resources
from typing import Any

from mtkd_jax.datasets.files.npy_folder import Layout
from mtkd_jax.datasets.nyuv2 import COUNTS


@functools.cache
def tables() -> dict[str, Any]:
    """The official tables: raw label → 40 → 13 classes, their names, and the frames of the splits (1-based)."""
    return json.loads((resources.files('mtkd_jax.datasets.nyuv2') / 'classes_and_splits.json').read_text())


def class_names(classes: int) -> tuple[str, ...]:
    """The 13 or 40 classes, in the order of their ids."""
    return tuple(tables()['class40_names' if classes == COUNTS[1] else 'class13_names'])


def layout(classes: int) -> Layout:
    """The preprocessed folder with `classes` classes."""
    return Layout(
        title='NYUv2',
        text='{train,val}/{image,label,depth,normal}/{0,1,...}.npy',
        arrays={'image': ['image'], 'segmentation': ['label'], 'depth': ['depth'], 'normals': ['normal']},
        classes=class_names(classes),
        notes={'normals': 'as given', 'test_split': 'the folder val, which holds the official test split'},
    )
