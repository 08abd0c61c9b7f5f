"""Predictions for image files, as a stream: read, computed and written a few at a time."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mtkd_jax.data.ahead import ahead
from mtkd_jax.errors import UserError
from mtkd_jax.experiment import outputs
from mtkd_jax.experiment.inputs import Inputs, find
from mtkd_jax.experiment.models import Opened, open_model
from mtkd_jax.inference import PLACES, Model
from mtkd_jax.models.backbone import per_image
from mtkd_jax.names import choice
from mtkd_jax.reporting.progress import Progress
from mtkd_jax.tasks import Task
from mtkd_jax.training.stop import StoppedError

KINDS = ('pictures', 'side_by_side', 'npz')
"""What can be written."""
WRITERS = 4  # threads
WAITING = 2**30  # bytes of predictions


class Options(NamedTuple):
    """How to predict, and what to write.

    Attributes:
        branch: only this branch of a network that has several.
        save: of `KINDS`.
        at: see `Model.predict`.
        recursive: of a folder, also its sub-folders.
        batch_size: images that are computed at a time.
        allow_modules: whether a Python module that the model folder names may be imported, which runs its code.
    """

    branch: str | None = None
    save: Sequence[str] = ('pictures',)
    at: str = 'network'
    recursive: bool = False
    batch_size: int = 8
    allow_modules: bool = False


def predict(folder: Path, patterns: Sequence[str], out: Path, options: Options) -> str:
    """Predicts for files, writes to `out`, and says what was written.

    Every file is whole or not there. An image that turns out to be damaged ends the command after those before it were
    written; `predictions.npz` and `answers.json` are of all images, so they come last. Ctrl-C and a `StopRequest` end
    it as well, by the same kind of error.

    Args:
        folder: a model folder.
        patterns: see `inputs.find`.
        out: the folder that is written to.
        options: the rest.

    Raises:
        UserError: the model cannot be opened, an image cannot be read, or `out` cannot be written.
    """
    choice('at', options.at, PLACES)
    if not options.save:
        raise UserError(f'`save` is empty; choose some of {", ".join(KINDS)}.')
    for kind in options.save:
        choice('save', kind, KINDS)
    opened = open_model(folder, allow_modules=options.allow_modules, branch=options.branch)
    model, given = _prepared(opened, patterns, options)
    chosen = outputs.keys(opened.tasks, model.branches)
    outputs.check(out, given, _suffixes(chosen, options.save))
    try:
        pace = _write(model, given, out, chosen, options)
    except OSError as error:
        raise UserError(f'`out` {out} cannot be written ({error}); make room there, or give another.') from error
    size = f'of {model.size[0]}×{model.size[1]}' if options.at == 'network' else 'at their own size'
    count, tasks = len(given.names), ', '.join(task.name for task in opened.tasks)
    return f'{count:,} image{"s" * (count > 1)} {size}, tasks {tasks}, in {pace}. See {out}'


def _prepared(opened: Opened, patterns: Sequence[str], options: Options) -> tuple[Model, Inputs]:
    described, network = opened.spec['data'], opened.network
    size = described['height'], described['width']
    given = find(
        patterns, recursive=options.recursive, stride=network.STRIDE, only=size if per_image(type(network)) else None
    )
    if given.array is not None:
        # Arrays keep their size, which may be another than the one that the network was trained at.
        size = given.array.shape[1], given.array.shape[2]
    return Model(network, opened.tasks, opened.variables, size, options.batch_size), given


def _suffixes(chosen: Mapping[str, tuple[str, Task]], save: Collection[str]) -> list[str]:
    """What pictures are called behind the name of an image."""
    dense = [outputs.suffix(key) for key, (_, task) in chosen.items() if task.words is None]
    return [*(('_image', *dense) if 'pictures' in save else ()), *(('',) if 'side_by_side' in save else ())]


def _write(model: Model, given: Inputs, out: Path, chosen: Mapping[str, tuple[str, Task]], options: Options) -> str:
    """Predicts and writes; how many images a second it took."""
    save, together = options.save, options.at == 'network'
    spoken = {key: task.words for key, (_, task) in chosen.items() if task.words is not None}

    def collected(files: outputs.Collected) -> Iterator[outputs.Predicted]:
        seen = model.seen(given.pictures(), at=options.at)
        for name, (image, found) in zip(given.names, seen, strict=True):
            arrays = {key: found[branch][task.name] for key, (branch, task) in chosen.items()}
            if spoken:
                files.add_words(name, {key: words(arrays[key]) for key, words in spoken.items()})
            if 'npz' in save and together:
                files.add_arrays(arrays)
            yield outputs.Predicted(name, image, arrays)

    written = outputs.Writer(out, chosen, save, arrays=not together)
    most = 2 * WRITERS if together else in_flight(given.pixels, [task for _, task in chosen.values()])
    pace, done = Pace(options.batch_size), 0
    with (
        outputs.Collected(out, given.names) as files,
        Progress('predicting', len(given.names), unit='image') as progress,
    ):
        try:
            for done, _ in enumerate(ahead(written, collected(files), WRITERS, most), 1):
                progress.update(done, None, pace(done))
            files.finish()
        except (UserError, KeyboardInterrupt, StoppedError) as error:
            said = str(error) if isinstance(error, UserError) else 'Interrupted.'
            raise UserError(f'{said} {_kept(done, given, out, chosen, options)}') from error
    return pace.words


def _kept(done: int, given: Inputs, out: Path, chosen: Mapping[str, tuple[str, Task]], options: Options) -> str:
    """What is there once `done` images were written, and the command ends: files of single images."""
    save = options.save
    pictures = 'pictures' in save and any(task.words is None for _, task in chosen.values())
    if done and (pictures or 'side_by_side' in save or ('npz' in save and options.at == 'input')):
        return f'What was predicted before, {done:,} of {len(given.names):,} images, is in {out}.'
    return 'No prediction is kept.'


def in_flight(pixels: int, tasks: Sequence[Task]) -> int:
    """Of how many images the predictions may wait to be written, or be written now, where the largest has so many
    `pixels`: as many as fit into `WAITING` bytes, at least 1, at most two for each thread.
    """
    each = pixels * sum(4 * task.channels for task in tasks if task.words is None)
    return max(1, min(2 * WRITERS, WAITING // max(each, 1)))


class Pace:
    """How many images are done in a second.

    The first `batch`, which wait for the compiler, do not count once all others have taken `SECONDS`.
    """

    SECONDS = 1.0

    def __init__(self, batch: int) -> None:
        self._batch, self._began = batch, time.monotonic()
        self._first: tuple[int, float] = 0, self._began
        self._last = self._first

    def __call__(self, done: int) -> float | None:
        """`done` images are done; None where that says little."""
        self._last = done, time.monotonic()
        if done == self._batch:
            self._first = self._last
        return self._beyond()

    def _beyond(self) -> float | None:
        (first, began), (done, now) = self._first, self._last
        return (done - first) / (now - began) if first and now - began > self.SECONDS else None

    @property
    def words(self) -> str:
        """How long it took, for people."""
        seconds, rate = self._last[1] - self._began, self._beyond()
        if rate is None:
            return f'{seconds:.1f} s, compiling included'
        first = f'the first {self._batch}, which took {self._first[1] - self._began:.1f} s'
        return f'{seconds:.1f} s: {rate:,.1f} images/s after {first}'
