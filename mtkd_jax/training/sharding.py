"""The device mesh, and how arrays lie on it: batches split along `data`, everything else replicated, or split, too."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mtkd_jax.training import processes
from mtkd_jax.training.machine import cores
from mtkd_jax.types import Batches, UserError

SMALL = 4096  # numbers; a smaller leaf is not worth splitting


def make_mesh(devices: int = 0) -> Mesh:
    """A mesh with one axis `data` over the first `devices` devices (0: all of them).

    Raises:
        UserError: there are fewer devices.
    """
    return make_meshes(devices, 1)[0]


def make_meshes(devices: int, most: int) -> list[Mesh]:
    """As many meshes as divide the first `devices` devices (0: all of them) equally, `most` at most.

    Raises:
        UserError: there are fewer devices.
    """
    available = jax.devices()
    if devices > len(available):
        raise UserError(f'`devices` is {devices}, but JAX sees {len(available)}; choose at most that, or 0 for all.')
    if processes.several():
        if devices not in (0, len(available)):
            raise UserError(
                f'`devices` is {devices}, but several processes use all of their {len(available)} devices; set it to 0.'
            )
        # One mesh: a process takes part in every stage.
        return [Mesh(np.array(processes.in_order(available)), ('data',), axis_types=(AxisType.Auto,))]
    chosen = available[: devices or len(available)]
    count = max(n for n in range(1, most + 1) if len(chosen) % n == 0)
    each = len(chosen) // count
    return [
        jax.make_mesh((each,), ('data',), axis_types=(AxisType.Auto,), devices=chosen[first : first + each])
        for first in range(0, len(chosen), each)
    ]


AT_ONCE = 3
"""Stages on a CPU device: two keep two cores at work, and a third where one of them begins or ends."""


def stages_at_once(asked: int, meshes: Sequence[Mesh]) -> int:
    """How many stages are trained at the same time on each mesh; `asked` 0: as many as pay.

    A CPU's cores are not all at work for one stage. Two programs of several devices could wait for each other.

    Raises:
        UserError: `asked` is more than one, on several devices.
    """
    several = meshes[0].size > 1
    if asked > 1 and several:
        raise UserError(
            f'`stages_at_once` is {asked}, but a stage has {meshes[0].size} devices, which train one at a time; set it '
            'to 0 or 1, or `devices` to 1.'
        )
    pays = not (several or accelerated(meshes[0])) and len(meshes) == 1 and cores() > 1
    return asked or (AT_ONCE if pays else 1)


def accelerated(mesh: Mesh) -> bool:
    """Whether the devices are accelerators, and no CPUs."""
    return mesh.devices.flat[0].platform != 'cpu'


def check_batch_size(name: str, batch_size: int, mesh: Mesh) -> None:
    """Raises a UserError unless `batch_size` divides evenly over the mesh."""
    if batch_size < 1 or batch_size % mesh.size:
        raise UserError(
            f'`{name}` is {batch_size}, which does not divide over {mesh.size} devices; choose a multiple of '
            f'{mesh.size}, or use fewer devices with --config.devices=N.'
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec('data'))


def of_leaves(shapes: Any, mesh: Mesh, fsdp: bool) -> Any:
    """How each leaf of a tree of parameters, or of what an optimiser keeps of them, lies on the mesh.

    `fsdp`: a leaf of `SMALL` numbers or more is split along its largest axis that the devices divide (Rajbhandari et
    al. 2020, ZeRO stage 3). Others, and without it all, are everywhere.
    """

    def of_leaf(x: Any) -> NamedSharding:
        possible = [axis for axis, size in enumerate(x.shape) if size % mesh.size == 0]
        if not fsdp or mesh.size == 1 or not possible or math.prod(x.shape) < SMALL:
            return replicated(mesh)
        axis = max(possible, key=lambda axis: x.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*axis * [None], 'data'))

    return jax.tree.map(of_leaf, shapes)


@dataclass(frozen=True)
class Layout:
    """How a state that is split over the devices lies there (`of_leaves`).

    Attributes:
        mesh: the devices.
        state: for every leaf of the `TrainState`.
    """

    mesh: Mesh
    state: Any

    def gather(self, tree: Any) -> Any:
        """In a function that is compiled: `tree` whole on every device."""
        return jax.lax.with_sharding_constraint(tree, replicated(self.mesh))

    def scatter(self, gradient: Any) -> Any:
        """In a function that is compiled: of the gradient each device its share."""
        return jax.lax.with_sharding_constraint(gradient, self.state.params)


def put(tree: Any, shardings: Any) -> Any:
    """Arrays of the host, the same in all processes, on the devices: `shardings` for each leaf, or one for all."""
    if not processes.several():
        return jax.device_put(tree, shardings)
    if isinstance(shardings, NamedSharding):
        shardings = jax.tree.map(lambda _: shardings, tree)

    def put_leaf(x: Any, sharding: NamedSharding) -> Any:
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put_leaf, tree, shardings)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """`tree` on every device of the mesh."""
    return put(tree, replicated(mesh))


def from_rows(tree: Any, mesh: Mesh) -> Any:
    """Arrays whose first axis is split over the devices, of the rows that this process has."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(batched(mesh), x), tree)


def fetched(tree: Any) -> Any:
    """Arrays of the devices, whole, on the host; all processes must ask."""

    def gathered(x: Any) -> Any:
        whole = not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated
        return x if whole else multihost_utils.process_allgather(x, tiled=True)

    return jax.device_get(jax.tree.map(gathered, tree))


def on_device(batches: Batches, mesh: Mesh, ahead: int = 2) -> Batches:
    """Batches as sharded device arrays; transfers run `ahead` batches in front of the one in use. Closes `batches`."""
    with closing(batches):
        waiting = [from_rows(batch, mesh) for batch in islice(batches, ahead)]
        while waiting:
            ready = waiting.pop(0)
            waiting.extend(from_rows(batch, mesh) for batch in islice(batches, 1))
            yield ready
