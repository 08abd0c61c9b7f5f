"""Where a stage's numbers go: its records, and TensorBoard."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboardX import SummaryWriter

from mtkd_jax.places import Stored
from mtkd_jax.records import TENSORBOARD, RecordWriter, numbers


class MetricWriter:
    """Appends records to `folder/metrics.jsonl` and `folder/tensorboard`. Use as a context manager.

    In a store TensorBoard's file, which is appended to, is written on this machine and comes there when this is closed.

    Args:
        folder: the stage's folder; made when absent.
        resume_step: the step that training continues from; what is later goes (`RecordWriter`), in TensorBoard as well.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        self._records = RecordWriter(folder, resume_step)
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

    def __enter__(self) -> 'MetricWriter':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes one record: `step`, `epoch`, `split`, and numbers by name; it is on disk when this returns.

        Raises:
            UserError: `step`, `epoch` or `split` is missing.
        """
        written = self._records.append(record)
        for name, value in numbers(written).items():
            self._board.add_scalar(f'{written["split"]}/{name}', value, written['step'])

    def close(self) -> None:
        """Closes both; what was written stays."""
        self._records.close()
        self._board.close()
        if self._kept is not None and self._place is not None:
            with self._place as here:
                for file in sorted(Path(here).iterdir()):
                    (self._kept / file.name).write_bytes(file.read_bytes())
