"""Where a stage's numbers go: its records, and TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboardX import SummaryWriter

from mtkd_jax.records import TENSORBOARD, RecordWriter, numbers


class MetricWriter:
    """Appends records to `folder/metrics.jsonl` and `folder/tensorboard`. Use as a context manager.

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
        self._board = SummaryWriter(str(board), purge_step=purge_step, filename_suffix=suffix)

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
