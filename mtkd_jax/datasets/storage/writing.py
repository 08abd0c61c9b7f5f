"""Writing a prepared data set completely or not at all, however the process ends."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from mtkd_jax.datasets.base import GIVEN, Preparation, Prepared
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.storage import parts
from mtkd_jax.datasets.storage.builder import LocalBuilder, is_complete, root
from mtkd_jax.datasets.storage.disk import UNFINISHED, alone, explained
from mtkd_jax.datasets.storage.frames import FramesBuilder
from mtkd_jax.datasets.storage.opening import open_prepared, opened
from mtkd_jax.files import sync
from mtkd_jax.places import in_store

REPLACED = 'replaced.'
KEPT = 'unfinished.'  # parts of an interrupted run, which the next run reuses


def prepared(kind: type[LocalBuilder], data: Mapping[str, Any], how: Preparation, reader: Any = None) -> Prepared:
    """The variant that `data` names, made when it is not there yet (or `how.overwrite`).

    `reader`: the user's files, where it is made from some. A reader of frames (`files.reader.Reader`) gives the size.

    Raises:
        UserError: there is no such variant.
        DataError: a file is not what it should be, the disk is too small, or what is prepared already was made with
            another ignore label or depth scale than `how` asks for.
    """
    if how.data_dir and in_store(how.data_dir):
        if how.overwrite:
            raise DataError(f'`data_dir` is {how.data_dir}; prepare in a folder of this machine, and copy that there.')
        return opened(kind, data, how.data_dir)
    if reader is not None:
        data = {**data, 'height': reader.size[0], 'width': reader.size[1]}

    def make(folder: Path) -> LocalBuilder:
        builder = kind.of(data, folder)
        builder.reader, builder.progress = reader, how.progress
        return builder

    place = root(how.data_dir)
    builder = make(place)
    target = Path(builder.data_dir)
    if how.overwrite or not is_complete(target):
        with explained(place):
            builder.check_space(place, parts.kept(_unfinished(target)))
    found = write(make, how.data_dir, how.overwrite)
    for field in GIVEN:
        asked, made = getattr(how, field), found.metadata.get(field)
        if asked not in (None, made):
            said = 'without' if made is None else f'with {made} as'
            raise DataError(
                f'{found.path} was prepared {said} `{field}`, not {asked}; give --overwrite to make it again.'
            )
    return found


def write(make: Callable[[Path], LocalBuilder], data_dir: str | None, overwrite: bool) -> Prepared:
    """Prepares the data set of the builder that `make` gives for a root folder: whole, or not at all.

    Only one process prepares. Another one waits, then finds the data set ready. Remains of interrupted runs are
    removed, except finished parts of frames: the next run continues from those. An existing data set is replaced
    (`overwrite`) only when the new one is complete.

    An error or Ctrl-C carries a note that says how many examples are kept.

    Raises:
        DataError: a file is not what it should be, or `data_dir` cannot be written to or locked.
    """
    place = root(data_dir)
    target = Path(make(place).data_dir)
    with explained(place), alone(place):
        _remove_leftovers(target)
        if overwrite or not is_complete(target):
            staging, unfinished = target.parent / f'{UNFINISHED}new', _unfinished(target)
            try:
                _generate(make(staging), unfinished)
                _replace(target, staging / target.relative_to(place))
                shutil.rmtree(unfinished, ignore_errors=True)
            except BaseException as error:
                if examples := parts.kept(unfinished):
                    error.add_note(
                        f'{examples} examples are kept in {unfinished}; the same command goes on from there.'
                    )
                else:
                    shutil.rmtree(unfinished, ignore_errors=True)
                if is_complete(target):
                    error.add_note(f'What was prepared before is still in {target}.')
                raise
            finally:
                _remove_leftovers(target)
                _remove_empty(target.parent, place)
    return open_prepared(make(place))


def _unfinished(target: Path) -> Path:
    return target.with_name(f'{KEPT}{target.name}')


def _generate(builder: LocalBuilder, unfinished: Path) -> None:
    tfds.disable_progress_bar()
    if isinstance(builder, FramesBuilder):
        builder.unfinished = unfinished
    # Nothing is downloaded, but a folder for it is always made.
    with tempfile.TemporaryDirectory() as downloads:
        builder.download_and_prepare(file_format='array_record', download_dir=downloads)


def _replace(target: Path, new: Path) -> None:
    # After a power cut it is whole under its final name.
    sync([*new.iterdir(), new])
    if target.exists():
        target.rename(target.with_name(f'{REPLACED}{target.name}'))
    new.rename(target)
    sync([target.parent])


def _remove_leftovers(target: Path) -> None:
    replaced = target.with_name(f'{REPLACED}{target.name}')
    # Killed between the two renames: the old data set is still the only whole one.
    if replaced.exists() and not target.exists():
        replaced.rename(target)
    for pattern in (f'{UNFINISHED}*', f'{REPLACED}*'):
        for leftover in target.parent.glob(pattern):
            shutil.rmtree(leftover)


def _remove_empty(folder: Path, stop: Path) -> None:
    while folder != stop and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
