"""Reads batches ahead of their use, with threads of this process or of worker processes (grain)."""

import functools
import pickle
import signal
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from mtkd_jax.data import shared_memory
from mtkd_jax.data.parent import follow_parent
from mtkd_jax.types import Batches

# Grain reads it as it starts workers, although nobody has to parse absl's flags.
PROFILING = 'grain_enable_multiprocess_worker_profiling'
AHEAD = 4  # batches that are read ahead, per thread


def read(batches: Any, threads: int, workers: int) -> Batches:
    """The elements of a `grain.MapDataset` in order, `AHEAD` · `threads` of them ahead of time.

    `workers` processes share the threads; with 0 they are this process's own. An error in an element is raised here, in
    place of the element. Closing the iterator ends threads and workers.
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
        start = functools.partial(_start_worker, shared_memory.prefix())
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers), start)
    iterator = iter(dataset)
    try:
        for batch in iterator:
            # What comes from a worker is a view of shared memory, which lives as long as the view.
            yield jax.tree.map(np.asarray, batch)
    finally:
        iterator.close()


class _WithSendableErrors(grain.MapDataset):
    """The same elements.

    An error that cannot be pickled is replaced by one that can: otherwise the run would wait for ever.
    """

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
    # The error's own class may raise anything here.
    except Exception:
        return False


def _start_worker(names: str, index: int, count: int) -> None:
    del index, count
    shared_memory.take(names)
    # A terminal or a job scheduler may send both signals to every process. The workers ignore them, because the run
    # needs batches until it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    follow_parent()
    # If a worker touches JAX, it must not take an accelerator from the training process.
    jax.config.update('jax_platforms', 'cpu')
