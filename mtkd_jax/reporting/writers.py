"""Where a stage's numbers go: its records, and besides these TensorBoard, Weights & Biases, or a user's own module."""

import contextlib
import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from absl import logging

from mtkd_jax.names import choice, importable, module
from mtkd_jax.places import Stored
from mtkd_jax.records import TENSORBOARD, Record, RecordWriter, numbers
from mtkd_jax.types import UserError

RECORDS = 'jsonl'
NAMES = (RECORDS, 'tensorboard', 'wandb')
"""The writers that `config.writers` may name, besides modules of one's own."""

DEFAULT = NAMES[:2]


class Board(Protocol):
    """Shows numbers; what the class `Writer` of a user's module makes, of `(folder, resume_step)` as here."""

    def write(self, record: Record) -> None:
        """Takes one record: `step`, `epoch`, `split`, and numbers by name."""

    def close(self) -> None:
        """Ends it, however training ended."""


class MetricWriter:
    """Appends records to `folder/metrics.jsonl`, and shows them on boards. Use as a context manager.

    Args:
        folder: the stage's folder; made when absent.
        resume_step: the step that training continues from; what is later goes (`RecordWriter`), where a board can.
        writers: as in `config.writers`.
    """

    def __init__(self, folder: Path, resume_step: int | None = None, writers: Sequence[str] = DEFAULT) -> None:
        self._boards: list[Board] = []
        with contextlib.ExitStack() as opened:
            self._records = RecordWriter(folder, resume_step)
            opened.callback(self._records.close)
            for name in writers:
                if name != RECORDS:
                    self._boards.append(_board(name)(folder, resume_step))
                    opened.callback(self._boards[-1].close)
            self._opened = opened.pop_all()

    def __enter__(self) -> 'MetricWriter':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as failed:
            # Why training ended matters more.
            if error is None:
                raise
            logging.warning('A writer could not be closed: %s: %s', type(failed).__name__, failed)

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes one record: `step`, `epoch`, `split`, and numbers by name; it is on disk when this returns.

        Raises:
            UserError: `step`, `epoch` or `split` is missing.
        """
        written = self._records.append(record)
        for board in self._boards:
            board.write(written)

    def close(self) -> None:
        """Closes all, also where one cannot be; what was written stays."""
        self._opened.close()


class TensorBoard:
    """Writes event files to `folder/tensorboard`.

    In a store the file, which is appended to, is written on this machine and comes there when this is closed.
    """

    def __init__(self, folder: Path, resume_step: int | None) -> None:
        from tensorboardX import SummaryWriter

        # TensorBoard drops events from `purge_step` on.
        purge_step = None if resume_step is None else resume_step + 1
        board = folder / TENSORBOARD
        # TensorBoard names files by the second. Without a suffix, a second file in the same second would overwrite the
        # first.
        suffix = f'.{len(list(board.glob("events.*")))}'
        self._kept = board if isinstance(board, Stored) else None
        self._place = tempfile.TemporaryDirectory(prefix='mtkd_jax_') if self._kept else None
        here = self._place.name if self._place else str(board)
        self._board = SummaryWriter(here, purge_step=purge_step, filename_suffix=suffix)

    def write(self, record: Record) -> None:
        """Adds `SPLIT/NAME` at the record's step."""
        for name, value in numbers(record).items():
            self._board.add_scalar(f'{record["split"]}/{name}', value, record['step'])

    def close(self) -> None:
        """Closes the file."""
        self._board.close()
        if self._kept is not None and self._place is not None:
            with self._place as here:
                for file in sorted(Path(here).iterdir()):
                    (self._kept / file.name).write_bytes(file.read_bytes())


def check(writers: Sequence[str]) -> None:
    """Raises a UserError where `config.writers` does not fit, or names what is not installed."""
    if RECORDS not in writers or len(set(writers)) != len(writers):
        raise UserError(
            f'`writers` is {tuple(writers)}; give each once, and {RECORDS!r} among them: reports are made of that one.'
        )
    for name in writers:
        if name in NAMES or not importable(name):
            choice('writers', name, NAMES)
        else:
            module('writers', name, ('Writer',), NAMES)
    # A folder of that name, such as the package leaves, is no package.
    found = importlib.util.find_spec('wandb') if 'wandb' in writers else None
    if 'wandb' in writers and (found is None or found.origin is None):
        raise UserError('`writers` has \'wandb\', which is not installed: pip install "mtkd_jax[wandb]".')


def _board(name: str) -> Any:
    if name == 'tensorboard':
        return TensorBoard
    if name == 'wandb':
        from mtkd_jax.reporting.weights_and_biases import WeightsAndBiases

        return WeightsAndBiases
    return module('writers', name, ('Writer',), NAMES).Writer
