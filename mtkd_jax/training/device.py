"""What the machine says about itself."""

import resource
import sys

import jax
from jax.sharding import Mesh


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


def parameter_counts(params: dict) -> dict[str, int]:
    """Trained numbers in every group (`network`, `adaptors`)."""
    return {group: sum(x.size for x in jax.tree.leaves(tree)) for group, tree in params.items()}
