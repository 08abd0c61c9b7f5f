"""Reads batches ahead of whoever asks for them: with threads, of this process or of worker processes (grain)."""

import pickle
import signal
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from mtkd_jax.data.parent import follow_parent
from mtkd_jax.types import Batches

# Grain reads it as it starts workers, although nobody has to parse absl's flags.
PROFILING = 'grain_enable_multiprocess_worker_profiling'
AHEAD = 4  # batches that are read ahead, per thread


def read(batches: Any, threads: int, workers: int) -> Batches:
    """The elements of a `grain.MapDataset` in their order, `AHEAD` · `threads` of them ahead of time.

    `workers` processes share the threads; with 0 they are this process's own. What an element raises is raised here, in
    its place. Closing the iterator ends threads and workers.
    """
    if len(batches) == 0:
        return
    workers = min(workers, len(batches))
    each = -(-threads // max(workers, 1))
    dataset = _WithSendableErrors(batches).to_iter_dataset(
        grain.ReadOptions(num_threads=each, prefetch_buffer_size=AHEAD * each)
    )
    if workers:
        if PROFILING in flags.FLAGS:
            flags.FLAGS[PROFILING].present = True
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers), _start_worker)
    iterator = iter(dataset)
    try:
        for batch in iterator:
            # What comes from a worker is a view of shared memory, which lives as long as the view.
            yield jax.tree.map(np.asarray, batch)
    finally:
        iterator.close()


class _WithSendableErrors(grain.MapDataset):
    """The same elements. Of an error that cannot be sent from a worker nobody would hear, and wait for ever."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)

    def __len__(self) -> int:
        return len(self._parent)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        try:
            return self._parent[index]
        except Exception as error:
            if not _can_be_sent(error):
                raise RuntimeError(f'{type(error).__name__}: {error}') from error
            raise


def _can_be_sent(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    # Whatever an error's own class does there.
    except Exception:
        return False


def _start_worker(index: int, count: int) -> None:
    del index, count
    # Both may be sent to every process of a terminal or a job; the run needs its batches until it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    follow_parent()
    # Whatever touches JAX here must not take an accelerator from the process that trains.
    jax.config.update('jax_platforms', 'cpu')
