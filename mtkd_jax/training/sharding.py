"""The device mesh, and how arrays lie on it: batches split along `data`, everything else replicated."""

from contextlib import closing
from itertools import islice
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mtkd_jax.types import Batch, Batches, UserError


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
    chosen = available[: devices or len(available)]
    count = max(n for n in range(1, most + 1) if len(chosen) % n == 0)
    each = len(chosen) // count
    return [
        jax.make_mesh((each,), ('data',), axis_types=(AxisType.Auto,), devices=chosen[first : first + each])
        for first in range(0, len(chosen), each)
    ]


def accelerated(mesh: Mesh) -> bool:
    """Whether the devices are accelerators, and no CPUs."""
    return mesh.devices.flat[0].platform != 'cpu'


def check_one_process() -> None:
    """Raises a UserError where JAX, by its own rule, finds that this process is one of several."""
    # No public name says what JAX would find.
    from jax._src.clusters import ClusterEnv

    kinds = (kind for kind in ClusterEnv._cluster_types if not kind.opt_in_only_method)
    found = next((kind for kind in kinds if kind.is_env_present()), None)
    count = found.get_process_count() if found else 1
    if found and count is not None and count > 1:
        raise UserError(
            f'This is one of {count} processes ({found.__name__}), but a run is one process; start one task, such as '
            'srun --ntasks=1.'
        )


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


def replicate(tree: Any, mesh: Mesh) -> Any:
    """`tree` on every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))


def on_device(batches: Batches, mesh: Mesh, ahead: int = 2) -> Batches:
    """Batches as sharded device arrays; transfers run `ahead` batches in front of the one in use. Closes `batches`."""
    sharding = batched(mesh)

    def put(batch: Batch) -> Batch:
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)

    with closing(batches):
        waiting = [put(batch) for batch in islice(batches, ahead)]
        while waiting:
            ready = waiting.pop(0)
            waiting.extend(put(batch) for batch in islice(batches, 1))
            yield ready
