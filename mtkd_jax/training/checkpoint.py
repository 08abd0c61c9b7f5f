"""Checkpoints with everything that a run needs to continue exactly (Orbax)."""

from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from absl import logging

from mtkd_jax.training.state import TrainState
from mtkd_jax.types import UserError

FORMAT = 2  # of checkpoints; those written before they had a number are of format 1


class Position(NamedTuple):
    """Where in the data a checkpoint stands: `batch` batches of `epoch` are done; and the data it counted them on."""

    epoch: int
    batch: int
    steps_per_epoch: int
    examples: int
    seed: int


class Checkpointer:
    """Saves and restores (state, position) under a folder. Saves are asynchronous and atomic; the last two are kept."""

    def __init__(self, folder: Path) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> 'Checkpointer':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def save(self, state: TrainState, position: Position) -> None:
        """Starts saving; the arrays are copied before this returns, so the state may be donated afterwards.

        A step that is already saved is not saved again: its content would be the same.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state._asdict()),
            position=ocp.args.JsonSave({'format': FORMAT, **position._asdict()}),
        )
        if not self._manager.save(step, args=items):
            raise RuntimeError(f'Orbax did not save step {step} in {self._manager.directory}.')

    def wait(self) -> None:
        """Returns once the last save is on disk."""
        self._manager.wait_until_finished()

    def restore(self, state: TrainState) -> tuple[TrainState, Position] | None:
        """The newest checkpoint that can be read, with the shapes and shardings of `state`; None when there is none.

        Raises:
            UserError: there are checkpoints, but none can be read, or a version of another format wrote them.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                restored = self._restore(step, state)
            except (ValueError, OSError, KeyError) as error:
                # A disk that filled up can leave a damaged newest step: the one before it is as good, only older.
                logging.warning('Checkpoint %d cannot be read (%s); trying an older one.', step, error)
                continue
            # Orbax refuses to save a step that is not after its newest one, so the damaged steps must go first.
            for damaged in (later for later in steps if later > step):
                self._manager.delete(damaged)
            return restored
        if steps:
            raise UserError(
                f'None of the checkpoints {steps} in {self._manager.directory} can be read; '
                'remove the folder to start the stage again.'
            )
        return None

    def _restore(self, step: int, state: TrainState) -> tuple[TrainState, Position]:
        where: Any = self._manager.restore(step, args=ocp.args.Composite(position=ocp.args.JsonRestore()))['position']
        written = where.pop('format', 1)
        if written != FORMAT:
            age = 'an earlier' if written < FORMAT else 'a later'
            raise UserError(
                f'{self._manager.directory} was written by {age} version of mtkd_jax (format {written}, this is '
                f'{FORMAT}); use another --workdir, or remove that folder to train the stage again.'
            )
        abstract = jax.tree.map(_abstract, state._asdict())
        items: Any = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))
        return TrainState(**items['state']), Position(**where)


def _abstract(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
