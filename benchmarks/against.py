"""The other side of a comparison: the same step in PyTorch, from the same weights, which must have the same losses."""

import copy
import importlib.util
import time
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from benchmarks.ours import Ours
from benchmarks.timing import cores, tf32
from mtkd_jax.models import SegNet
from mtkd_jax.types import Batch, UserError

AGAINST = ('torch', 'torch_channels_last', 'torch_compile')

LOSSES = 1e-3  # the largest relative difference that counts as the same; rounding grows through 26 normalised layers
GRADIENT = 5e-2  # of the norm; at full width the two layouts of PyTorch differ by 1e-2 from each other


def check_against(method: str, backbone: str) -> None:
    """Raises a UserError where there is no PyTorch side of the step, or no PyTorch."""
    if method not in ('kd_mtl', 'uniform') or backbone != SegNet.NAME:
        raise UserError(
            f'{method} on {backbone} has no PyTorch side; compare kd_mtl or uniform on {SegNet.NAME}, or '
            'leave --against out.'
        )
    if not importlib.util.find_spec('torch'):
        raise UserError('--against needs PyTorch: pip install "mtkd_jax[torch]".')


def differences(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Relative differences of losses and of `gradient_norm`, which are named alike on both sides.

    Raises:
        UserError: one is too large.
    """
    found = {name: abs(theirs[name] - ours[name]) / max(abs(ours[name]), 1e-12) for name in theirs}
    for name, difference in found.items():
        if not difference <= (GRADIENT if name == 'gradient_norm' else LOSSES):
            raise UserError(
                f'The two sides do not compute the same: `{name}` is {ours[name]:.8g} here and {theirs[name]:.8g} in '
                'PyTorch, so their times cannot be compared.'
            )
    return found


class Exact:
    """One step of ours in float32 with full precision: where both sides start from, and what they must agree on.

    Attributes:
        plan: see `Parts`.
        variables, frozen: of the network and of its teachers, on the host.
        scalars: of the step.
    """

    def __init__(self, config: ConfigDict, batch: Batch) -> None:
        exact = copy.deepcopy(config)
        exact.compute_dtype = 'float32'
        with jax.default_matmul_precision('highest'):
            ours = Ours(exact, batch)
            self.plan, self.variables, self.frozen = ours.plan, ours.variables, jax.device_get(ours.frozen)
            self.scalars = {name: float(value) for name, value in ours.run().items()}


def in_torch(config: ConfigDict, start: Any, batch: Batch, how: str, threads: int = 0) -> Any:
    """The step in PyTorch, of the variables, teachers and plan of `start`, on the same device.

    `how`: one of `AGAINST`; `threads`: of PyTorch on a CPU, 0 for a thread per core.
    """
    from benchmarks import torch_step

    return torch_step.Step(
        start.variables,
        start.frozen,
        batch,
        distillation=start.plan.settings if start.plan.teachers else None,
        widths=config.widths,
        rate=config.learning_rate,
        how=how,
        threads=threads or cores(),
        device='cpu' if jax.default_backend() == 'cpu' else 'cuda',
        half=config.compute_dtype == 'bfloat16',
        tf32=tf32(),
    )


def compared(exact: Exact, other: Any) -> dict[str, float]:
    """What the results say of a PyTorch side before it is timed: it is compared, and warmed up."""
    began = time.perf_counter()
    apart = differences(exact.scalars, other.exactly())
    other.run()
    warm_up = time.perf_counter() - began
    gradient = apart.pop('gradient_norm')
    return {
        'other_warm_up_seconds': round(warm_up, 1),
        'largest_loss_difference': float(f'{max(apart.values()):.2g}'),
        'gradient_norm_difference': float(f'{gradient:.2g}'),
    }
