"""Predictions for image files: what goes in, and what is written."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mtkd_jax.data.images import at_size, check, prepare
from mtkd_jax.errors import UserError
from mtkd_jax.experiment.models import open_model
from mtkd_jax.files import read_npz, write_json, write_npz
from mtkd_jax.inference import Model, Predictions
from mtkd_jax.models.backbone import per_image
from mtkd_jax.names import matching, natural
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.pgm', '.ppm')


def _files(pattern: str) -> list[Path]:
    """The file of that very name, the images in the folder of that name, or the files that match it as a pattern."""
    if not pattern or not os.path.isdir(pattern):
        return matching('inputs', pattern, os.path.isfile, 'file')
    inside = [file for file in Path(pattern).iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    found = sorted((file for file in inside if not file.name.startswith('.')), key=lambda file: natural(file.name))
    if not found:
        raise UserError(f'`inputs` has the folder {pattern}, which holds no images ({", ".join(IMAGE_SUFFIXES)}).')
    return found


def read_inputs(
    patterns: Sequence[str], height: int, width: int, stride: int, one_size: bool = False
) -> tuple[list[str], np.ndarray]:
    """Names and images [n h w 3] float32 in [0, 1]; image files are resized to `height` × `width`.

    Arrays keep their size: multiples of `stride`, or, for a network of `one_size`, `height` × `width`.

    Raises:
        UserError: nothing matches, a file cannot be read, or an array has the wrong shape or range.
    """
    files = [file for pattern in patterns for file in _files(pattern)]
    if not files:
        raise UserError('`inputs` is empty; give image files, a folder of them, or one .npz.')
    arrays = [file for file in files if file.suffix == '.npz']
    if arrays and len(files) > 1:
        raise UserError(f'`inputs` mixes {arrays[0]} with other files; give image files, or one .npz.')
    if arrays:
        images = _read_npz(files[0], stride)
        if one_size and images.shape[1:3] != (height, width):
            raise UserError(f'{files[0]}: `image` is {images.shape}; the network takes {height}×{width} only.')
        return [f'{files[0].stem}_{i:04d}' for i in range(len(images))], images
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f'`inputs` has two files named {twice}; their pictures would overwrite each other.')
    return names, prepare(files, (height, width)).images


def _read_npz(file: Path, stride: int) -> np.ndarray:
    arrays = read_npz(file)
    if 'image' not in arrays:
        raise UserError(f'{file} has no array `image`; it has {", ".join(arrays) or "none"}.')
    images = arrays['image']
    check(f'{file}: `image`', images, (4,))
    height, width = images.shape[1:3]
    if height % stride or width % stride:
        raise UserError(f'{file}: `image` is {images.shape}; give [n h w 3] with h and w multiples of {stride}.')
    return np.stack([at_size(image, (height, width)) for image in images])


def save(
    names: Sequence[str], images: np.ndarray, predictions: Predictions, tasks: Sequence[Task], out: Path, npz: bool
) -> None:
    """Writes `NAME_image.png`, `NAME_TASK.png` (or `NAME_BRANCH_TASK.png`) and, with `npz`, `predictions.npz`.

    That holds the predictions of each task [n h w c], and `names` [n], those of the images in the same order.

    What tasks with one answer per image say goes to `answers.json`: image → task (or branch/task) → words.
    """
    if out.is_dir() and any((out / f'{name}{suffix}').exists() for name in names for suffix in IMAGE_SUFFIXES):
        raise UserError(f'`out` is {out}, where the inputs lie; choose another folder, so that none is overwritten.')
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'`out` {out} cannot be made ({error.strerror}); give another.') from error
    for name, image in zip(names, images, strict=True):
        Image.fromarray((image * 255).round().astype(np.uint8)).save(out / f'{name}_image.png')
    arrays = {}
    answers: dict[str, dict[str, str]] = {name: {} for name in names}
    for branch, by_task in predictions.items():
        for task in tasks:
            key = task.name if branch == MAIN else f'{branch}/{task.name}'
            arrays[key] = by_task[task.name]
            for name, prediction in zip(names, by_task[task.name], strict=True):
                if task.words is not None:
                    answers[name][key] = task.words(prediction)
                    continue
                Image.fromarray(task.render(prediction, None)).save(out / f'{name}_{key.replace("/", "_")}.png')
    if any(answers.values()):
        write_json(out / 'answers.json', answers)
    if npz:
        write_npz(out / 'predictions.npz', dict(names=np.array(names, np.str_), **arrays), compress=True)


def predict(
    model: Path, inputs: Sequence[str], out: Path, *, branch: str | None, npz: bool, allow_modules: bool
) -> str:
    """Predicts for files, writes pictures and arrays to `out`, and says what was written.

    Args:
        model: a model folder.
        inputs: as `read_inputs` takes them.
        out: see `save`.
        branch: only this branch of a network that has several.
        npz: whether arrays are written, too.
        allow_modules: whether a Python module that the folder names may be imported, which runs its code.

    Raises:
        UserError: the model cannot be opened, the inputs cannot be read, or `out` cannot be written.
    """
    opened = open_model(model, allow_modules=allow_modules)
    spec, network = opened.spec, opened.network
    size, one_size = (spec['data']['height'], spec['data']['width']), per_image(type(network))
    names, images = read_inputs(inputs, *size, network.STRIDE, one_size)
    # Arrays keep their size, which may be another than the one that the network was trained at.
    found = Model(network, opened.tasks, opened.variables, (images.shape[1], images.shape[2]))
    predictions = found.by_branch(images, branch=branch)
    try:
        save(names, images, predictions, opened.tasks, out, npz)
    except OSError as error:
        raise UserError(f'`out` {out} cannot be written ({error}); make room there, or give another.') from error
    return f'{len(names)} images of {images.shape[1]}×{images.shape[2]}, tasks {", ".join(spec["tasks"])}: {out}'
