"""Small NYUv2 files as users have them, both kinds."""

import numpy as np

FRAMES = {'train': 5, 'val': 3}
SIZE = (32, 64)
# Like the official tables, for a file of six frames with four labels.
OFFICIAL = {
    'train_frames': [2, 3, 6],
    'test_frames': [1, 4, 5],
    'label_to_40': [5, 1, 40, 22],
    'class40_to_13': [12, 5, 6, 1, 4, *[7] * 16, 3, *[7] * 18],
}


def frame(seed, size=SIZE):
    """The four arrays of a frame, as the files have them: a tenth undefined."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((*size, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    undefined = rng.uniform(size=(*size, 1)) < 0.1
    return {
        'image': rng.uniform(size=(*size, 3)).astype(np.float32),
        'label': rng.integers(-1, 13, size).astype(np.float32),
        'depth': np.where(undefined, 0, rng.uniform(0.7, 9.9, (*size, 1))).astype(np.float32),
        'normal': np.where(undefined, 0, normal).astype(np.float32),
    }


def write_folder(root, dtypes=None, frames=None, size=SIZE):
    """Writes `{train,val}/{image,label,depth,normal}/{i}.npy` and returns its folder."""
    for number, (split, count) in enumerate((frames or FRAMES).items()):
        for i in range(count):
            for name, array in frame([number, i], size).items():
                folder = root / split / name
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f'{i}.npy', array.astype((dtypes or {}).get(name, array.dtype)))
    return root


def raw_arrays(frames=6, size=(48, 64)):
    """images, depths, labels of the `.mat` file, height before width: smooth depth, labels 0..4."""
    height, width = size
    rng = np.random.default_rng(7)
    v, u = np.mgrid[:height, :width]
    depth = np.stack([2 + i / 2 + u / width + v / height for i in range(frames)]).astype(np.float32)
    image = rng.integers(0, 256, (frames, height // 4, width // 4, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    label = rng.integers(0, 5, (frames, height // 4, width // 4)).repeat(4, 1).repeat(4, 2).astype(np.uint16)
    return image, depth, label


def write_raw(file, frames=6, size=(48, 64), **replaced):
    """Writes `.mat` as published, the axes of frames swapped. `replaced`: datasets to write instead (None: none)."""
    import h5py

    image, depth, label = raw_arrays(frames, size)
    datasets = {
        'images': image.transpose(0, 3, 2, 1),
        'depths': depth.transpose(0, 2, 1),
        'labels': label.transpose(0, 2, 1),
        **replaced,
    }
    with h5py.File(file, 'w') as data:
        for name, array in datasets.items():
            if array is not None:
                data[name] = array
    return file
