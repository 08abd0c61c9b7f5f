"""Small files in the Visual Decathlon's layout: annotation JSONs, and tars of JPEG images."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = {'svhn': 10, 'omniglot': 4}
COUNTS = {'svhn': {'train': 20, 'val': 10}, 'omniglot': {'train': 12, 'val': 4}}
SIZE = 72


def picture(name: str, split: str, i: int) -> np.ndarray:
    """Image `i`, uint8 [72 72 3]: smooth, so that JPEG keeps it well, and unlike all others."""
    rng = np.random.default_rng([len(name), len(split), i])
    coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def label(name: str, i: int) -> int:
    """Class id of image `i`, in the order of the categories."""
    return (3 * i + 1) % CLASSES[name]


def file_name(name: str, split: str, i: int) -> str:
    return f'{name}/{split}/{label(name, i) + 1:04d}/{i:06d}.jpg'


def annotations(name: str, split: str) -> dict:
    """As the challenge writes them; ids of images and categories begin anywhere."""
    numbers = range(COUNTS[name][split])
    return {
        'categories': [{'id': 500 + k, 'name': f'{name} {k}'} for k in range(CLASSES[name])],
        'images': [{'id': 900 + i, 'file_name': f'data/{file_name(name, split, i)}'} for i in numbers],
        'annotations': [{'id': i, 'image_id': 900 + i, 'category_id': 500 + label(name, i)} for i in reversed(numbers)],
    }


def images(name: str) -> dict[str, bytes]:
    """Content by file name of everything in the tar, images of the challenge's test split included."""
    found = {}
    for split, count in {**COUNTS[name], 'test': 2}.items():
        for i in range(count):
            stream = io.BytesIO()
            Image.fromarray(picture(name, split, i)).save(stream, 'JPEG', quality=95)
            found[file_name(name, split, i)] = stream.getvalue()
    return found


def pack(files: dict[str, bytes], mode: str = 'w') -> bytes:
    """A tar of `files`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def json_files() -> dict[str, bytes]:
    return {
        f'decathlon-1.0/annotations/{name}_{split}.json': json.dumps(annotations(name, split)).encode()
        for name in CLASSES
        for split in ('train', 'val')
    }


def write(folder: Path, layout: str = 'downloaded') -> Path:
    """Writes `downloaded` (two .tar.gz), `tars` (JSONs and a tar per data set) or `folders` (all unpacked)."""
    folder.mkdir(parents=True, exist_ok=True)
    if layout == 'downloaded':
        tars = {'aircraft.tar': pack({'aircraft/train/0001/1.jpg': b'other'})}
        tars |= {f'{name}.tar': pack(images(name)) for name in CLASSES}
        (folder / 'decathlon-1.0-devkit.tar.gz').write_bytes(pack(json_files(), 'w:gz'))
        (folder / 'decathlon-1.0-data.tar.gz').write_bytes(pack(tars, 'w:gz'))
        return folder
    contents = json_files()
    for name in CLASSES:
        contents |= {f'data/{name}.tar': pack(images(name))} if layout == 'tars' else images(name)
    for file, content in contents.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder
