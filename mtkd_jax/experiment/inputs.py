"""The images that a command is given: which files, in which order, and what each is called."""

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from mtkd_jax.data.ahead import ahead
from mtkd_jax.data.images import Picture, at_size, check, header, read_frames
from mtkd_jax.errors import UserError
from mtkd_jax.files import read_npz
from mtkd_jax.names import matching, natural

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.pgm', '.ppm')
VIDEO_SUFFIXES = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv')
OPENERS = 8  # threads that look into files before anything is computed


@dataclass(frozen=True)
class Inputs:
    """Images by name, in order; they are read as they are asked for.

    Attributes:
        names: of the images, as parts of paths; those of sub-folders begin with the folder (`a/x`).
        files: where they are: (file, how many of `names` are its frames); none where they are an array.
        array: [n h w 3] float32 in [0, 1]; None where they are files.
        pixels: of the largest.
        searched: folders that were searched with all their sub-folders.
    """

    names: Sequence[str]
    files: Sequence[tuple[Path, int]] = ()
    array: np.ndarray | None = None
    pixels: int = 0
    searched: Sequence[Path] = ()

    def pictures(self) -> Iterator[Picture]:
        """The images in the order of `names`: files to be read, or what is in one of several."""
        if self.array is not None:
            yield from self.array
        for file, count in self.files:
            if count == 1:
                yield file
            else:
                yield from read_frames(file)


def find(
    patterns: Sequence[str], *, recursive: bool = False, stride: int = 1, only: tuple[int, int] | None = None
) -> Inputs:
    """What `patterns` name, each a file, a folder, or a pattern; every file is opened, and none decoded.

    A name is the file's path without its suffix, below the folder that was given, or below what stands before the first
    folder with a wildcard: `x` for DIR and DIR/*.png, `a/x` for DIR/*/x.png. Frames are NAME_0000 and so on.

    Args:
        patterns: image files, or one .npz with `image` [n h w 3], of sizes that are multiples of `stride`.
        recursive: of a folder, also its sub-folders, but for hidden ones.
        stride, only: arrays have a size that is a multiple of `stride`, or `only` that one.

    Raises:
        UserError: nothing matches, a file is no image, names collide, or an array has the wrong shape or range.
    """
    named = [pair for pattern in patterns for pair in _named(pattern, recursive)]
    if not named:
        raise UserError('`inputs` is empty; give image files, a folder of them, or one .npz.')
    arrays = [file for _, file in named if file.suffix == '.npz']
    if arrays and len(named) > 1:
        raise UserError(f'`inputs` mixes {arrays[0]} with other files; give image files, or one .npz.')
    if arrays:
        images = _read_npz(arrays[0], stride)
        if only is not None and images.shape[1:3] != only:
            raise UserError(f'{arrays[0]}: `image` is {images.shape}; the network takes {only[0]}×{only[1]} only.')
        return Inputs([f'{arrays[0].stem}_{i:04d}' for i in range(len(images))], array=images)
    for _, file in named:
        _check_no_video(file)
    headers = list(ahead(header, (file for _, file in named), OPENERS, 8 * OPENERS))
    counts = [found.frames for found in headers]
    return Inputs(
        _names(named, counts),
        [(file, count) for (_, file), count in zip(named, counts, strict=True)],
        pixels=max(found.pixels for found in headers),
        searched=[Path(pattern) for pattern in patterns if os.path.isdir(pattern)] if recursive else [],
    )


def _names(named: Sequence[tuple[str, Path]], counts: Sequence[int]) -> list[str]:
    """The names of all frames of files called NAME, which have so many frames."""
    owners: dict[str, Path] = {}
    for (name, file), count in zip(named, counts, strict=True):
        for frame in [name] if count == 1 else [f'{name}_{i:04d}' for i in range(count)]:
            if frame in owners:
                raise UserError(
                    f'`inputs` has {owners[frame]} and {file}, both to be called {frame}. Rename one; where they '
                    "lie in different folders, give the folder above and --recursive, or 'DIR/*/*.png': names then "
                    'begin with the folder.'
                )
            owners[frame] = file
    return list(owners)


def _check_no_video(file: Path) -> None:
    if file.suffix.lower() in VIDEO_SUFFIXES:
        raise UserError(
            f'`inputs` has {file}, a video, which is not read. Make pictures of its frames, and give their folder: '
            f'mkdir frames && ffmpeg -i {shlex.quote(str(file))} frames/%06d.png'
        )


def _named(pattern: str, recursive: bool) -> list[tuple[str, Path]]:
    """The file of that very name, the images in the folder of that name, or the files that match it as a pattern."""
    if pattern and os.path.isdir(pattern):
        return _inside(Path(pattern), recursive)
    found = matching('inputs', pattern, os.path.isfile, 'file')
    if os.path.isfile(pattern):
        return [(file.stem, file) for file in found]
    fixed = Path(*_before_wildcards(PurePath(pattern)))
    return sorted(((_relative(file, fixed), file) for file in found), key=_order)


def _before_wildcards(pattern: PurePath) -> list[str]:
    """The folders in front of the first that has a wildcard, or of the file."""
    folders: list[str] = []
    for part in pattern.parts[:-1]:
        if set(part) & set('*?['):
            break
        folders.append(part)
    return folders


def _relative(file: Path, folder: Path) -> str:
    inside = PurePath(os.path.relpath(file, folder))
    return file.stem if '..' in inside.parts else inside.with_suffix('').as_posix()


def _inside(folder: Path, recursive: bool) -> list[tuple[str, Path]]:
    def refused(error: OSError) -> None:
        raise UserError(
            f'`inputs` has the folder {folder}, but {error.filename} cannot be read ({error.strerror}).'
        ) from error

    every: list[PurePath] = []
    for place, folders, files in os.walk(folder, onerror=refused):
        # What is taken out here is not entered.
        folders[:] = [name for name in folders if recursive and not name.startswith('.')]
        inside = PurePath(os.path.relpath(place, folder))
        every += [inside / name for name in files if not name.startswith('.')]
    found = [file for file in every if file.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        for file in sorted(every):
            _check_no_video(folder / file)
        deeper = '' if recursive else '; --recursive takes those of its sub-folders'
        raise UserError(
            f'`inputs` has the folder {folder}, which holds no images ({", ".join(IMAGE_SUFFIXES)}){deeper}.'
        )
    return sorted(((file.with_suffix('').as_posix(), folder / file) for file in found), key=_order)


def _order(named: tuple[str, Path]) -> list[Any]:
    """Folder by folder, numbers by value."""
    name, file = named
    return [*(natural(part) for part in name.split('/')), natural(file.suffix)]


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
