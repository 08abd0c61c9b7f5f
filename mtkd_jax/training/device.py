"""Facts about the machine: devices, memory, operations."""

import resource
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mtkd_jax import models


def describe(mesh: Mesh) -> str:
    """The devices in words, such as `NVIDIA H200 ×1`."""
    kinds = sorted({device.device_kind for device in mesh.devices.flat})
    return f'{", ".join(kinds)} ×{mesh.size}'


def peak_memory_bytes(mesh: Mesh) -> int:
    """The most memory used so far: of the fullest accelerator, or, on a CPU, of the whole process (resident)."""
    peaks = [(device.memory_stats() or {}).get('peak_bytes_in_use') for device in mesh.local_devices]
    known = [peak for peak in peaks if peak is not None]
    if known:
        return max(known)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def free_bytes(mesh: Mesh, sharers: int = 1) -> int:
    """Memory that is free on a device: on the fullest accelerator, or a CPU device's share of the host's; 0: not known.

    The host's is never exceeded by all devices of `sharers` such meshes together, because data pass through it.
    """
    share = host_free_bytes() // (len(mesh.local_devices) * sharers)
    stats = [device.memory_stats() or {} for device in mesh.local_devices]
    if all('bytes_limit' in found for found in stats):
        return min(share, *(found['bytes_limit'] - found['bytes_in_use'] for found in stats))
    return share


def host_free_bytes() -> int:
    """Memory that this process may still use on the host: of the machine, and of its control group; 0: not known."""
    file, group = Path('/proc/meminfo'), Path('/sys/fs/cgroup')
    lines = file.read_text().splitlines() if file.is_file() else []
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable')]
    limit, used = group / 'memory.max', group / 'memory.current'
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdecimal():
        free.append(int(limit.read_text()) - int(used.read_text()))
    return max(min(free, default=0), 0)


def parameter_counts(params: dict) -> dict[str, int]:
    """Trained numbers in every group (`network`, `adaptors`)."""
    return {group: sum(x.size for x in jax.tree.leaves(tree)) for group, tree in params.items()}


def inference_cost(network: nn.Module, image_shape: tuple[int, ...]) -> dict[str, float | None]:
    """`parameters` that `network` has, and floating-point `operations` for one image [h w 3].

    See `operations`.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    variables = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), image)
    traced = jax.jit(lambda v, x: models.predict(network, v, x).predictions).trace(variables, image)
    return {
        'parameters': sum(x.size for x in jax.tree.leaves(variables['params'])),
        'operations': operations(traced),
    }


def operations(traced: Any) -> float | None:
    """Floating-point operations of what `jax.jit(...).trace(...)` gave, as XLA counts them before its optimisations.

    Of the program for an accelerator: there every convolution is what it is called, on a CPU it may have another form
    (`models/convolution.py`). Of the program for this machine where the other cannot be made, because an operation has
    no form there. None where the backend does not count.
    """
    try:
        lowered = traced.lower(lowering_platforms=('tpu',))
    except NotImplementedError:
        lowered = traced.lower()
    counted: Any = lowered.cost_analysis() or {}
    return float(counted['flops']) if 'flops' in counted else None
