"""Where a stage's numbers go: `metrics.jsonl`, one JSON object per line, and TensorBoard."""

import json
import os
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboardX import SummaryWriter

from mtkd_jax.reporting.stages import read_records
from mtkd_jax.types import UserError

POSITION = ('step', 'epoch', 'split')


class MetricWriter:
    """Appends records to `folder/metrics.jsonl` and `folder/tensorboard`. Use as a context manager.

    Args:
        folder: the stage's folder; made when absent.
        resume_step: the step that training continues from. Records of later steps, which will be computed again, are
            dropped, in TensorBoard as well; 0 = all of them, None = keep everything. A last line that was cut off goes.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / 'metrics.jsonl'
        if self._path.is_file():
            self._rewrite(r for r in read_records(self._path) if resume_step is None or r['step'] <= resume_step)
        records = list(read_records(self._path)) if self._path.is_file() else []
        self._written = {(r['step'], r['split']) for r in records if r['step'] == resume_step}
        self._file = self._path.open('a')
        # TensorBoard drops events from `purge_step` on.
        purge_step = None if resume_step is None else resume_step + 1
        board = folder / 'tensorboard'
        # Named after the second only, a file begun in the same second would overwrite the one before.
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

        A run that continues where an epoch ended evaluates that epoch again: the new record replaces the old one.

        Raises:
            UserError: `step`, `epoch` or `split` is missing.
        """
        missing = [name for name in POSITION if name not in record]
        if missing:
            raise UserError(
                f'The record {dict(record)} lacks `{"`, `".join(missing)}`; every record says where it stands.'
            )
        clean = {name: _plain(value) for name, value in record.items()}
        step, split = clean['step'], clean['split']
        if (step, split) in self._written:
            self._written.discard((step, split))
            self._file.close()
            self._rewrite(r for r in read_records(self._path) if (r['step'], r['split']) != (step, split))
            self._file = self._path.open('a')
        self._file.write(json.dumps(clean) + '\n')
        self._file.flush()
        for name, value in clean.items():
            if name not in POSITION:
                self._board.add_scalar(f'{split}/{name}', value, step)

    def close(self) -> None:
        """Closes both files; what was written stays."""
        self._file.close()
        self._board.close()

    def _rewrite(self, records: Iterable[Mapping[str, Any]]) -> None:
        partial = self._path.with_name(self._path.name + '.tmp')
        partial.write_text(''.join(json.dumps(record) + '\n' for record in records))
        os.replace(partial, self._path)


def _plain(value: Any) -> str | int | float:
    """A value as JSON knows it: NumPy and JAX scalars become Python's."""
    if isinstance(value, str):
        return value
    return int(value) if isinstance(value, Integral) else float(value)
