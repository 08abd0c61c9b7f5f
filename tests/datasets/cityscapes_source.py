"""Small Cityscapes files as users have them, both kinds."""

import json

import numpy as np
from PIL import Image

FRAMES = {'train': {'aachen': 2, 'bochum': 1}, 'val': {'frankfurt': 2}}
SIZE = (64, 128)
BASELINE, FOCAL = 0.2, 2000.0


def raw_frame(seed, size=SIZE):
    """image uint8 [h w 3], label ids uint8 [h w] in blocks of 4, disparity numbers uint16 [h w]: a tenth undefined."""
    rng = np.random.default_rng(seed)
    height, width = size
    labels = rng.integers(0, 34, (height // 4, width // 4)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    steps = rng.integers(1, 32_000, size).astype(np.uint16)
    steps[rng.uniform(size=size) < 0.1] = 0
    return rng.integers(0, 256, (*size, 3)).astype(np.uint8), labels, steps


def names():
    """(split, path without its ending, seed) of every frame, in order."""
    for number, (split, cities) in enumerate(FRAMES.items()):
        i = 0
        for city, count in cities.items():
            for k in range(count):
                yield split, f'{city}/{city}_{k:06d}_000019', [number, i]
                i += 1


def write_raw(root, size=SIZE):
    """Writes the raw layout and returns its folder."""
    for split, frame, seed in names():
        image, labels, steps = raw_frame(seed, size)
        camera = {'extrinsic': {'baseline': BASELINE, 'pitch': 0.03}, 'intrinsic': {'fx': FOCAL, 'fy': FOCAL + 3}}
        for kind, ending in (
            ('leftImg8bit', 'leftImg8bit.png'),
            ('gtFine', 'gtFine_labelIds.png'),
            ('disparity', 'disparity.png'),
            ('camera', 'camera.json'),
        ):
            file = root / kind / split / f'{frame}_{ending}'
            file.parent.mkdir(parents=True, exist_ok=True)
            if kind == 'camera':
                file.write_text(json.dumps(camera))
            else:
                array = {'leftImg8bit': image, 'gtFine': labels, 'disparity': steps}[kind]
                Image.fromarray(array).save(file)
        # As in the published packages: other pictures beside those that are read.
        Image.fromarray(labels).save(root / 'gtFine' / split / f'{frame}_gtFine_instanceIds.png')
    return root


def folder_frame(seed, classes=7, size=(32, 64)):
    """The three arrays of a frame in the preprocessed folder."""
    rng = np.random.default_rng(seed)
    depth = rng.integers(1, 32_000, (*size, 1)) / 65535
    return {
        'image': rng.uniform(size=(*size, 3)),
        f'label_{classes}': rng.integers(-1, classes, size),
        'depth': np.where(rng.uniform(size=(*size, 1)) < 0.1, 0, depth),
    }


def write_folder(root, dtypes=None, classes=7, label=None):
    """Writes `{train,val}/{image,label_7,depth}/{i}.npy` and returns its folder; `label`: the label folder's name."""
    for number, (split, count) in enumerate({'train': 3, 'val': 2}.items()):
        for i in range(count):
            for name, array in folder_frame([number, i], classes).items():
                folder = root / split / (label if label and name.startswith('label') else name)
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f'{i}.npy', array.astype((dtypes or {}).get(name, array.dtype)))
    return root
