"""What a process of `benchmarks.accelerator` prints: lines of JSON, also of what fails."""

import importlib.metadata
import importlib.util
import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from benchmarks.timing import cores, matrix_precision, tf32
from mtkd_jax.training import device, sharding


@dataclass(frozen=True)
class Options:
    """What the flags say: (height, width), the widths (none: the paper's), training images, timed steps."""

    size: tuple[int, int]
    widths: tuple[int, ...]
    images: int
    steps: int


class Measurement:
    """Prints what was measured, and remembers whether something failed."""

    def __init__(self) -> None:
        self.failed = False

    def record(self, **fields: Any) -> None:
        """A line."""
        print(json.dumps(fields), flush=True)

    def attempt(self, what: str, function: Callable[[], Any]) -> Any:
        """`function()`; None where it fails, which is recorded, and keeps nothing else from being measured."""
        try:
            return function()
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or ['no message']
            self.record(what=what, failed=f'{type(error).__name__}: {lines[0][:300]}')
            self.failed = True
            return None


def with_torch() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec('torch') is not None


def facts() -> dict[str, Any]:
    """Of the machine and of its software; `*_tf32`: whether that side may use TF32, null where there is none."""
    allowed = tf32() if jax.default_backend() == 'gpu' else None
    versions = {name: importlib.metadata.version(name) for name in ('jax', 'jaxlib', 'flax', 'mtkd_jax')}
    if with_torch():
        versions['torch'] = importlib.metadata.version('torch')
    return {
        'device': device.describe(sharding.make_mesh(1)),
        'cores': cores(),
        'versions': versions,
        'jax_matmul_precision': matrix_precision(),
        'jax_tf32': allowed,
        'torch_tf32': allowed if with_torch() else None,
    }
