"""What is written of predictions, image by image: pictures, arrays, words."""

import json
import os
import tempfile
import zipfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from mtkd_jax.errors import UserError
from mtkd_jax.experiment.inputs import Inputs
from mtkd_jax.files import replace
from mtkd_jax.reporting.strip import Strip
from mtkd_jax.reporting.tiles import as_bytes
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN

QUICK = 1  # of zlib's levels: several times as fast, a little larger


def keys(tasks: Sequence[Task], branches: Sequence[str]) -> dict[str, tuple[str, Task]]:
    """What the predictions are called: TASK, or BRANCH/TASK of a network with several → (branch, task)."""
    return {t.name if b == MAIN else f'{b}/{t.name}': (b, t) for b in branches for t in tasks}


def suffix(key: str) -> str:
    """What the picture of a prediction is called behind its image's name."""
    return f'_{key.replace("/", "_")}'


def check(out: Path, given: Inputs, suffixes: Sequence[str]) -> None:
    """Makes the folder `out`; `suffixes`: what pictures are called behind an image's name, '' for the name alone.

    Raises:
        UserError: an input or a picture of another image would be overwritten, pictures would be inputs of the next
            time, or nothing can be written there.
    """
    known = set(given.names)
    for longer, shorter in ((a, b) for a in suffixes for b in suffixes if a != b and a.endswith(b)):
        between = longer[: len(longer) - len(shorter)]
        clash = next((name for name in given.names if name + between in known), None)
        if clash is not None:
            raise UserError(
                f'`inputs` has {clash} and {clash}{between}, and {clash}{longer}.png would belong to both. Rename one, '
                'or predict for them apart.'
            )
    written = {(out / name).parent.resolve() for name in given.names}
    searched = any(out.resolve().is_relative_to(folder.resolve()) for folder in given.searched)
    if searched or any(folder.resolve() in written for folder in {file.parent for file, _ in given.files}):
        raise UserError(f'`out` is {out}, where the inputs lie; choose another folder, so that none is overwritten.')
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UserError(f'`out` {out} cannot be written ({error.strerror}); give another.') from error


class Predicted(NamedTuple):
    """An image [h w 3] and its predictions by key."""

    name: str
    image: np.ndarray
    arrays: Mapping[str, np.ndarray]


class Writer:
    """Writes what belongs to one image; of several threads, too.

    `NAME_image.png` and `NAME_KEY.png`, with _ for the / of a key; `NAME.png`, all side by side; `NAME.npz`.

    Args:
        out: the folder.
        shown: key → (branch, task).
        save: `pictures`, `side_by_side`, `npz`.
        arrays: whether `npz` means a file for each image.
    """

    def __init__(
        self, out: Path, shown: Mapping[str, tuple[str, Task]], save: Collection[str], *, arrays: bool
    ) -> None:
        self._out, self._shown, self._save, self._arrays = out, shown, save, arrays
        self._strip = Strip(shown)

    def __call__(self, one: Predicted) -> None:
        place = self._out / one.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if self._arrays and 'npz' in self._save:
            write_arrays(_beside(place, '.npz'), one.arrays)
        if 'pictures' in self._save:
            write_png(_beside(place, '_image.png'), as_bytes(one.image))
            for key, (_, task) in self._shown.items():
                if task.words is None:
                    write_png(_beside(place, f'{suffix(key)}.png'), task.render(one.arrays[key], None))
        if 'side_by_side' in self._save:
            write_png(_beside(place, '.png'), self._strip(one.image, one.arrays))


def _beside(place: Path, end: str) -> Path:
    return place.with_name(place.name + end)


def write_png(file: Path, picture: np.ndarray) -> None:
    """Writes uint8 [h w 3] to `file`, whole or not at all."""
    partial = file.with_name(file.name + '.tmp')
    Image.fromarray(picture).save(partial, format='PNG', compress_level=QUICK)
    os.replace(partial, file)


def write_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an `.npz`, whole or not at all."""
    partial = file.with_name(file.name + '.tmp')
    with partial.open('wb') as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    os.replace(partial, file)


class Collected:
    """Files of all images, made one image after another; memory does not grow with their number.

    `predictions.npz`: every prediction [n h w c] by key, and `names` [n]. `answers.json`, where there are words: image
    → key → words. Both come with `finish`, whole; before, they grow in a folder of their own, which is removed.

    Args:
        out: the folder they are for.
        names: of the images, in the order in which they are added.
    """

    def __init__(self, out: Path, names: Sequence[str]) -> None:
        self._out, self._names = out, names
        self._members: dict[str, IO[bytes]] = {}
        self._answers: IO[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> 'Collected':
        self._folder = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(dir=self._out, prefix='.unfinished-'))
        )
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def add_words(self, name: str, words: Mapping[str, str]) -> None:
        """What the network says of the next image."""
        entry = json.dumps({name: dict(words)}, indent=1)[1:-2]
        self._answers, before = self._answers or self._open('answers.json'), ',' if self._answers else '{'
        self._answers.write((before + entry).encode())

    def add_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The predictions for the next image."""
        for key, array in arrays.items():
            if key not in self._members:
                # A zip's members are written one after another, so each grows in a file of its own until it is whole.
                self._members[key] = self._open(f'{len(self._members)}.npy')
                shape, kind = (len(self._names), *array.shape), np.lib.format.dtype_to_descr(array.dtype)
                header = {'descr': kind, 'fortran_order': False, 'shape': shape}
                np.lib.format.write_array_header_1_0(self._members[key], header)
            self._members[key].write(array.tobytes())

    def finish(self) -> None:
        """Puts the files into their places, now that all images were added."""
        if self._answers is not None:
            self._answers.write(b'\n}\n')
            self._answers.close()
            replace(self._folder / 'answers.json', self._out / 'answers.json')
        if self._members:
            self._pack(self._folder / 'predictions.npz')
            replace(self._folder / 'predictions.npz', self._out / 'predictions.npz')

    def _pack(self, file: Path) -> None:
        with zipfile.ZipFile(file, 'w') as archive:
            for key, member in self._members.items():
                member.close()
                archive.write(member.name, f'{key}.npy')
                os.remove(member.name)
            with archive.open('names.npy', 'w', force_zip64=True) as names:
                np.lib.format.write_array(names, np.array(self._names, np.str_), allow_pickle=False)

    def _open(self, name: str) -> IO[bytes]:
        return self._stack.enter_context((self._folder / name).open('wb'))
