"""Prepared data that live on the devices: read once, and gathered there by number, so that the host sends numbers only.

Batches are those that the host would have sent, bit for bit.
"""

import math
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from mtkd_jax.data.examples import Label, Stored, stored, to_batch
from mtkd_jax.data.pipeline import Split
from mtkd_jax.data.reading import read
from mtkd_jax.data.sources import Subset
from mtkd_jax.training import device, sharding
from mtkd_jax.training.programs import Compile, Program
from mtkd_jax.types import Batch

Arrays = Mapping[str, Array]
"""The stored arrays of a source's examples by name, [n h w k] each, split over the devices along the first axis."""

SHARE = 0.25  # of the memory that is free, which data may take where nobody says that they shall
CHUNK = 64  # examples that are read at once


class Residence:
    """Sources that live on the devices of `mesh` with the targets of `names`: each is read when it is first asked for.

    The stages of a run share it, also those that train at the same time on other devices: a residence `like` another,
    on a mesh of the same size, takes from that what it has read.
    """

    def __init__(self, mesh: Mesh, names: Sequence[str], like: 'Residence | None' = None) -> None:
        self.mesh, self._names, self._like = mesh, tuple(names), like
        self._kept: list[tuple[Any, Arrays]] = []
        self._lock = threading.Lock()

    def arrays(self, split: Split) -> Arrays:
        """The examples of `split.source`."""
        with self._lock:
            for source, arrays in self._kept:
                if source is split.source:
                    return arrays
            if self._like is None:
                arrays = _placed(split, self._names, self.mesh)
            else:
                arrays = jax.device_put(self._like.arrays(split), sharding.batched(self.mesh))
            self._kept.append((split.source, arrays))
            return arrays

    def ordered(self, split: Split, compiled: Compile) -> Generator[Batch, None, None]:
        """The batches of `Split.ordered`; `compiled` makes what gathers them."""
        arrays, gather = self.arrays(split), gatherer(split.tasks, self.mesh, compiled)
        for index in split.numbers():
            yield gather(arrays, index)


def size(split: Split, names: Sequence[str]) -> int:
    """Bytes of the examples of `split.source` with the targets of `names`, as they are stored."""
    return len(split.source) * sum(x.nbytes for x in stored(split.source[0], names).values())


def fits(count: int, mesh: Mesh, sharers: int = 1) -> bool:
    """Whether `count` bytes, divided among the devices, take no more than `SHARE` of what is free there.

    `sharers`: meshes that are filled at the same time, and share the host's memory.
    """
    return count / mesh.size <= SHARE * device.free_bytes(mesh, sharers)


def gather(arrays: Arrays, index: Int[Array, 'b'], tasks: Sequence[Label]) -> Batch:
    """The batch of the examples numbered `index`; a number below 0 gives zeros that no mask counts."""
    there = index >= 0
    batch = to_batch({name: jnp.take(x, index, axis=0, mode='clip') for name, x in arrays.items()}, tasks)
    return jax.tree.map(lambda x: jnp.where(there.reshape(-1, 1, 1, 1), x, jnp.zeros((), x.dtype)), batch)


def gatherer(tasks: Sequence[Any], mesh: Mesh, compiled: Compile) -> Program:
    """`gather` of the tasks, compiled by `compiled`: (arrays, numbers) → a batch that is split over the devices."""
    labels, split, everywhere = (
        tuple(Label.of(task) for task in tasks),
        sharding.batched(mesh),
        sharding.replicated(mesh),
    )
    gathering = jax.jit(
        lambda arrays, index: gather(arrays, index, labels), in_shardings=(split, everywhere), out_shardings=split
    )
    return Program(gathering, compiled)


def _placed(split: Split, names: Sequence[str], mesh: Mesh) -> Arrays:
    """Reads the source once, with the split's threads and processes.

    Of several processes that train together, each reads the rows of its own devices.
    """
    count = len(split.source)
    first = stored(split.source[0], names)
    # The devices get equal shares; what is filled up is never asked for.
    start, rows = split.share(math.ceil(count / mesh.size) * mesh.size)
    mine = Subset(split.source, np.arange(start, max(start, min(start + rows, count))))
    examples = grain.MapDataset.source(mine).map(Stored(tuple(names))).batch(CHUNK)
    own = {name: np.zeros((rows, *x.shape), x.dtype) for name, x in first.items()}
    done = 0
    chunks: Any = read(examples, split.read_threads, split.read_workers) if len(mine) else ()
    for chunk in chunks:
        for name, x in chunk.items():
            own[name][done : done + len(x)] = x
        done += len(chunk['image'])
    return sharding.from_rows(own, mesh)
