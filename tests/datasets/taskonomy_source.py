"""A small official Taskonomy tree."""

import numpy as np
from PIL import Image

from mtkd_jax.datasets.taskonomy.files import DOMAINS

# Buildings of the tiny split, one of another, and their views (point, view).
BUILDINGS = {
    'hanson': [(2, 0), (2, 1), (10, 0)],
    'merom': [(0, 3)],
    'ihlen': [(1, 1)],
    'corozal': [(5, 0)],
    'elsewhere': [(0, 0)],
}
SIZE = (32, 64)


def seed(building, point, view):
    return [sorted(BUILDINGS).index(building), point, view]


def raw(seed, size=SIZE):
    """The numbers of every domain's file: a tenth of depth and normals undefined, labels in blocks of 4."""
    rng = np.random.default_rng(seed)
    height, width = size
    undefined = rng.uniform(size=size) < 0.1
    depth = rng.integers(1, 64_500, size)
    depth[undefined] = rng.choice([0, 64_500, 65_535], undefined.sum())
    normals = rng.standard_normal((*size, 3))
    normals = np.rint(127 * normals / np.linalg.norm(normals, axis=-1, keepdims=True)) + 127
    normals[undefined] = 127
    return {
        'image': rng.integers(0, 256, (*size, 3)).astype(np.uint8),
        'segmentation': rng.integers(0, 18, (height // 4, width // 4)).repeat(4, 0).repeat(4, 1).astype(np.uint8),
        'depth': depth.astype(np.uint16),
        'normals': normals.astype(np.uint8),
        'keypoints': rng.integers(0, 65_536, size).astype(np.uint16),
        'edges': rng.integers(0, 65_536, size).astype(np.uint16),
    }


def file_of(root, target, building, point, view):
    domain = DOMAINS[target]
    return root / domain.folder / 'taskonomy' / building / f'point_{point}_view_{view}_domain_{domain.ending}.png'


def write(root, without=(), size=SIZE):
    """Writes the tree but for the domains of the targets `without`, and returns its folder."""
    for building, views in BUILDINGS.items():
        for point, view in views:
            for target, array in raw(seed(building, point, view), size).items():
                if target not in without:
                    file = file_of(root, target, building, point, view)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array).save(file)
    return root
