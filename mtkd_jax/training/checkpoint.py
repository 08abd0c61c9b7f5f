"""Checkpoints with everything that a run needs to continue exactly (Orbax)."""

import contextlib
import glob
import logging as standard_logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from mtkd_jax.files import FULL, checksums, content_checksum, sync
from mtkd_jax.places import Stored, check_ours
from mtkd_jax.training import objects, processes, sharding
from mtkd_jax.training.state import TrainState
from mtkd_jax.types import UserError

T = TypeVar('T')
SPARE = 4_000_000  # bytes that stay free beside a checkpoint, for what else a run writes
FORMAT = 3  # of checkpoints, the first with checksums; those written before they had a number are of format 1


class Position(NamedTuple):
    """Where in the data a checkpoint stands: `batch` batches of `epoch` are done; and the data it counted them on."""

    epoch: int
    batch: int
    steps_per_epoch: int
    examples: int
    seed: int


class Durable(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """A checkpoint gets its name only once its files are on the disk, and not merely in the system's memory."""

    async def finalize(self) -> None:
        """See `TemporaryPath.finalize`."""
        _sync(Path(self.get()))
        await super().finalize()
        _sync(Path(self.get_final()))


def _sync(folder: Path) -> None:
    sync([*folder.rglob('*'), folder, folder.parent])


_STARTING = threading.Lock()  # held while a save starts
_OPEN: 'set[Checkpointer]' = set()
POLL_SECONDS = 0.01


class Checkpointer:
    """Saves and restores (state, position) under a folder. Saves are asynchronous and atomic; the last two are kept.

    In an object store a checkpoint is whole once it has its last object.

    With each, checksums of the position and of every array are stored, and verified when it is read.

    Raises:
        UserError: Orbax cannot read the folder.
        OSError: the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        stored = isinstance(folder, Stored)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if stored else objects.KEPT,
            create=True,
            enable_async_checkpointing=True,
            # A scheduler may suspend a run for hours in the middle of a save.
            async_options=ocp.options.AsyncOptions(timeout_secs=7 * 24 * 3600),
            temporary_path_class=ocp.path.atomicity.CommitFileTemporaryPath if stored else Durable,
        )
        self._folder, self._untidy = folder.absolute(), False
        with contextlib.ExitStack() as opening:
            opening.enter_context(_raised_once())
            if isinstance(self._folder, Stored):
                objects.teach_orbax()
                objects.tidy(self._folder)
            place = opening.enter_context(_plain(self._folder))
            try:
                self._manager = ocp.CheckpointManager(place, options=options, handler_registry=_handlers())
            except OSError:
                raise
            except Exception as error:  # Orbax raises whatever its parts raise about damaged files
                reason = ' '.join(str(error).split())[:200]
                raise UserError(
                    f'{self._folder} cannot be read ({reason}); remove the newest checkpoint in it, or all of it.'
                ) from error
            self._closing = opening.pop_all()
        _OPEN.add(self)

    def __enter__(self) -> 'Checkpointer':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._closing:
            try:
                self.wait()
            finally:
                _OPEN.discard(self)
                with self._full():
                    self._manager.close()

    def save(self, state: TrainState, position: Position) -> None:
        """Starts saving; the arrays are copied before this returns, so the state may be donated afterwards.

        A step that is already saved is not saved again: its content would be the same.
        """
        step = int(state.step)
        if processes.from_first(lambda: step in self._manager.all_steps()):
            return
        if isinstance(self._folder, Stored):
            check_ours(self._folder)
            self.wait()
            self._untidy = True
        else:
            self._check_room(state)
        where = {'format': FORMAT, **position._asdict(), 'arrays': _checksums(state)}
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state._asdict()),
            position=ocp.args.JsonSave({**where, 'checksum': content_checksum(where)}),
        )
        with self._full(), self._alone():
            if not self._manager.save(step, args=items):
                raise RuntimeError(f'Orbax did not save step {step} in {self._folder}.')

    def wait(self) -> None:
        """Returns once the last save is on disk."""
        with self._full():
            self._manager.wait_until_finished()
        if isinstance(self._folder, Stored) and self._untidy:
            objects.tidy(self._folder)
            self._untidy = False

    def _check_room(self, state: TrainState) -> None:
        """Raises a UserError where the disk has no room for a checkpoint, before anything of it is written."""
        # What the last save is still writing counts as well, and the one before it may be about to go.
        self.wait()
        if not processes.first():
            return
        needed = sum(x.nbytes for x in jax.tree.leaves(state)) + SPARE
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise UserError(
                f'{self._folder}: a checkpoint needs {needed / 1e6:.0f} MB, but {free / 1e6:.1f} MB are free; make '
                'room, and run the same command to continue.'
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Waits for the saves of other threads: Orbax counts those of a process as if one followed the other."""
        with _STARTING:
            while any(other._manager.is_saving_in_progress() for other in tuple(_OPEN) if other is not self):
                time.sleep(POLL_SECONDS)
            yield

    @contextlib.contextmanager
    def _full(self) -> Iterator[None]:
        """A full disk is the system's error, whatever the array storage makes of it; a store's, the user's."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if isinstance(self._folder, Stored):
                reason = ' '.join(str(error).split())[:300] or type(error).__name__
                raise UserError(
                    f'{self._folder}: a checkpoint cannot be written ({reason}); see to the network and your rights, '
                    'and run the same command to continue.'
                ) from error
            if isinstance(error, OSError):
                raise
            code = next((code for code in FULL if os.strerror(code) in str(error)), None)
            if code is None:
                raise
            raise OSError(code, os.strerror(code), str(self._folder)) from error

    def last_good(self, state: TrainState) -> int | None:
        """The step of the newest checkpoint that can be read and is what was written; `state` has its shapes."""
        steps = sorted(self._manager.all_steps(), reverse=True)
        return next((step for step in steps if self._tried(step, state) is not None), None)

    def restore(self, state: TrainState) -> tuple[TrainState, Position] | None:
        """The newest checkpoint that can be read, with the shapes and shardings of `state`; None when there is none.

        Raises:
            UserError: there are checkpoints, but none can be read, or a version of another format wrote them.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            restored = self._tried(step, state)
            if restored is None:
                continue
            # Orbax refuses to save a step that is not after its newest one, so the damaged steps must go first.
            for damaged in (later for later in steps if later > step):
                self._delete(damaged)
            return restored
        if steps:
            raise UserError(
                f'None of the checkpoints {steps} in {self._folder} can be read; '
                'remove the folder to start the stage again.'
            )
        return None

    def _delete(self, step: int) -> None:
        if isinstance(self._folder, Stored):
            objects.remove(self._folder, step)
            processes.meet()
            self._manager.reload()
        else:
            self._manager.delete(step)

    def _tried(self, step: int, state: TrainState) -> tuple[TrainState, Position] | None:
        """The checkpoint of `step`; None, and a warning, when it is damaged for one of the processes."""
        read, reason = _attempt(lambda: self._read(step, state))
        # Each reads other parts; what follows is the work of all.
        if processes.all_say(read is not None) and read is not None:
            where, found = read
            good, reason = _attempt(lambda: _checked(step, where, found))
            if processes.all_say(good is not None):
                return good
        reason = reason or 'another process cannot read it'
        logging.warning('%s: checkpoint %d is damaged (%s); trying an older one.', self._folder, step, reason)
        return None

    def _read(self, step: int, state: TrainState) -> tuple[dict[str, Any], TrainState]:
        """Position and state as they stand there."""
        where = self._item(step, 'position', ocp.JsonCheckpointHandler(), ocp.args.JsonRestore())
        checksum = where.pop('checksum', None)
        if checksum is not None and checksum != content_checksum(where):
            raise ValueError('its position is not what was written')
        written = where.pop('format', 1)
        if written != FORMAT:
            age = 'an earlier' if written < FORMAT else 'a later'
            raise UserError(
                f'{self._folder} was written by {age} version of mtkd_jax (format {written}, this is '
                f'{FORMAT}); use another --workdir, or remove that folder to train the stage again.'
            )
        if checksum is None:
            raise ValueError('its position has no checksum')
        wanted = ocp.args.StandardRestore(jax.tree.map(_abstract, state._asdict()))
        return where, TrainState(**self._item(step, 'state', ocp.StandardCheckpointHandler(), wanted))

    def _item(self, step: int, name: str, handler: Any, wanted: Any) -> Any:
        if not processes.several():
            return self._manager.restore(step, args=ocp.args.Composite(**{name: wanted}))[name]
        # The manager waits for all processes, also for one that has found its part damaged.
        return handler.restore(self._manager.directory / str(step) / name, args=wanted)


def _handlers() -> ocp.handlers.DefaultCheckpointHandlerRegistry:
    """What writes and reads the parts of a checkpoint.

    A state is written as Orbax's `StandardSave` does, but without the files that say how each array was split and how
    large each process's part was: who reads it says the former, checksums show that all is there, and a quarter of the
    time to write a small state went there.
    """
    kinds = ocp.type_handlers
    plain = kinds.ArrayHandler(enable_write_sharding_file=False)
    written = ocp.PyTreeCheckpointHandler(type_handler_registry=kinds.create_type_handler_registry((jax.Array, plain)))
    handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
    handlers.add('state', ocp.args.PyTreeSave, written)
    handlers.add('state', ocp.args.StandardRestore, ocp.StandardCheckpointHandler())
    for kind in (ocp.args.JsonSave, ocp.args.JsonRestore):
        handlers.add('position', kind, ocp.JsonCheckpointHandler())
    return handlers


def _attempt(make: Callable[[], T]) -> tuple[T | None, str]:
    """What `make` gives, or None and why it gave nothing."""
    try:
        return make(), ''
    except UserError:
        raise
    # Orbax raises anything, a bare Exception too, when a file is missing, empty or half.
    except Exception as error:
        return None, ' '.join(str(error).split())[:200] or type(error).__name__


def _checked(step: int, where: dict[str, Any], found: TrainState) -> tuple[TrainState, Position]:
    """State and position, where they are what was written."""
    arrays = where.pop('arrays')
    if _checksums(found) != arrays:
        raise ValueError('its arrays are not what was written')
    position = Position(**where)
    if not int(found.step) == step == position.epoch * position.steps_per_epoch + position.batch:
        raise ValueError(f'its state is of step {int(found.step)}, its position {position}')
    return found, position


@contextlib.contextmanager
def _plain(folder: Path) -> Iterator[os.PathLike[str]]:
    """`folder` by a name without `[`, `*` and `?`, which Orbax takes for a pattern: where needed, a link to it."""
    if isinstance(folder, Stored):
        yield objects.Literal(str(folder))
        return
    if glob.escape(str(folder)) == str(folder):
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='mtkd_jax_') as place:
        if glob.escape(place) != place:
            raise UserError(f'The folder of temporary files is {place}; set TMPDIR to one without [, * and ?.')
        link = Path(place) / 'checkpoints'
        link.symlink_to(folder, target_is_directory=True)
        yield link


@contextlib.contextmanager
def _raised_once() -> Iterator[None]:
    """What Orbax's threads raise, the next call raises as well; without this, their tracebacks are logged, too.

    Nor does it warn that a save waits for the one before, which is meant.
    """

    def is_other(record: standard_logging.LogRecord) -> bool:
        place, said = Path(record.pathname), record.getMessage()
        repeats = Path(ocp.__file__).parent in place.parents or said.startswith('Future exception was never retrieved')
        return not (record.exc_info and repeats) and not said.startswith('Waiting for previous save to complete')

    loggers = logging.get_absl_logger(), standard_logging.getLogger('asyncio')
    for logger in loggers:
        logger.addFilter(is_other)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_other)


def _checksums(state: TrainState) -> dict[str, int]:
    flat, _ = jax.tree_util.tree_flatten_with_path(sharding.fetched(state._asdict()))
    return checksums({jax.tree_util.keystr(path): np.asarray(x) for path, x in flat})


def _abstract(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
