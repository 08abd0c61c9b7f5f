"""Does the number of devices change a gradient? That of the first step, on 1, 2, 4 and 8 simulated devices.

    python -m benchmarks.devices [--methods=uniform,kd_mtl,sd_mtcnn,mgda] [--devices=1,2,4,8] [--size=32x32] [--batch=8]
        [--widths=4,4,4,4,4] [--points=mid,last]

The step is that of the recipe `nyuv2:method=METHOD` on random images, with random teachers, on a CPU that JAX takes for
several devices. It is computed twice, all of it in float32 and all of it in float64. Prints one JSON object, and below
it a row of a Markdown table for each method.

- `float32`, `float64`: ‖g_n − g_1‖ / ‖g_1‖ over all parameters, by the number n of devices. Devices sum in another
  order; if nothing else differs, float64 makes the difference smaller by the ratio of the roundings, 5·10⁸.
- `rounding`: ‖g_n − g‖ / ‖g‖ of float32's g_n and float64's g.
- `decided`: how many ReLUs and maxima of pooling float32 decides otherwise than float64 in a forward pass compiled by
  itself (benchmarks/decisions.py), of `decisions`. Each moves the gradient, however near the two values were.
- `losses`: the largest relative difference of a loss, by type.
- `sensitivity`: on one device in float64, ‖g(θ') − g(θ)‖ / ‖g(θ)‖ with every parameter changed at random by at most the
  share in front, of which 6e-8 is the rounding of float32. Where the gradient is smooth, it is proportional to that.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from absl import flags
from jax.flatten_util import ravel_pytree

from benchmarks.decisions import Decisions, decisions, otherwise
from benchmarks.ours import Parts, configured, parse_widths
from benchmarks.random_batch import random_batch
from mtkd_jax import command
from mtkd_jax.methods import Method
from mtkd_jax.training import sharding
from mtkd_jax.training.state import TrainState, initial_state
from mtkd_jax.training.step import TrainStep, compile_step
from mtkd_jax.types import Batch, UserError
from mtkd_jax.weighting import Weighting

METHODS = flags.DEFINE_list(
    'methods', ['uniform', 'kd_mtl', 'sd_mtcnn', 'mgda'], 'Methods or weightings, as in a recipe.', allow_override=True
)
DEVICES = flags.DEFINE_list('devices', ['1', '2', '4', '8'], 'How many; the first is compared with.')
SIZE = flags.DEFINE_string('size', '32x32', 'Height x width.', allow_override=True)
BATCH = flags.DEFINE_integer('batch', 8, 'Images per step, of all devices together.', allow_override=True)
WIDTHS = flags.DEFINE_list('widths', ['4'] * 5, "Channels of the network's blocks.", allow_override=True)
POINTS = flags.DEFINE_list('points', [], 'Distilled features of kd_mtl; all by default.', allow_override=True)

KEPT = optax.trace(decay=0.0)
"""An optimiser whose state is the gradient."""
CHANGES = (6e-8, 6e-10, 6e-12)


def as_type(tree: Any, dtype: str) -> Any:
    """The floating-point arrays of `tree` in another type, on the host."""

    def cast(x: Any) -> np.ndarray:
        array = np.asarray(x)
        return array.astype(dtype) if np.issubdtype(array.dtype, np.floating) else array

    return jax.tree.map(cast, jax.device_get(tree))


def in_any_type(method: Any) -> Any:
    """`method`, its networks computing in the type of their variables and images."""
    parts = [name for name in ('network', 'adaptors') if hasattr(method, name)]
    own = {name: getattr(method, name).clone(dtype=None) for name in parts}
    return dataclasses.replace(method, **own).teachers_in(None)


class Gradient:
    """The gradient of a step as a function of its state, compiled for so many devices.

    All is computed in the type of state, frozen variables and batch: float64 needs `jax.enable_x64(True)`.
    """

    def __init__(self, step: TrainStep, devices: int, state: TrainState, frozen: Any, batch: Batch) -> None:
        """`step`: with the optimiser `KEPT`."""
        mesh = sharding.make_mesh(devices)
        self._place = lambda tree: sharding.replicate(tree, mesh)
        self._given = self._place(frozen), jax.device_put(batch, sharding.batched(mesh))
        self._step = compile_step(step, mesh).lower(self._place(state), *self._given).compile()

    def __call__(self, state: TrainState) -> tuple[np.ndarray, dict[str, float]]:
        """(the gradient as one vector, the losses) at `state`, which lies on the host."""
        after, scalars = self._step(self._place(state), *self._given)
        losses = {name: float(x) for name, x in scalars.items() if name.startswith(('loss', 'distillation'))}
        return np.asarray(ravel_pytree(after.opt_state.trace)[0]), losses


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """‖found − expected‖ / ‖expected‖, in float64."""
    return float(np.linalg.norm(found.astype(float) - expected) / np.linalg.norm(expected.astype(float)))


def changed(state: TrainState, share: float) -> TrainState:
    """`state`, every parameter times 1 ± `share` at most."""
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: x * (1 + share * rng.uniform(-1, 1, x.shape)), state.params)
    return state._replace(params=params)


def compare(
    method: Method, weighting: Weighting, step: TrainStep, frozen: Any, batch: Batch, devices: Sequence[int]
) -> dict[str, Any]:
    """What the head of this file explains, for one method; `method`, `step`: computing in any type."""
    start = jax.device_get(initial_state(method, weighting, KEPT, jax.random.key(0), batch.image.shape))
    gradients: dict[str, list[np.ndarray]] = {}
    losses: dict[str, list[dict[str, float]]] = {}
    decided: dict[str, list[Decisions]] = {}
    for dtype in ('float32', 'float64'):
        with jax.enable_x64(dtype == 'float64'):
            state, *given = (as_type(tree, dtype) for tree in (start, frozen, batch))
            steps = [Gradient(step, count, state, *given) for count in devices]
            gradients[dtype], losses[dtype] = zip(*(gradient(state) for gradient in steps), strict=True)
            network = method.network, method.network_variables(state.variables), given[-1].image
            decided[dtype] = [decisions(*network, count) for count in (devices if dtype == 'float32' else devices[:1])]
            if dtype == 'float64':
                moved = {share: steps[0](changed(state, share))[0] for share in CHANGES}
    exact, places = gradients['float64'][0], decided['float64'][0]
    found = {
        dtype: {str(n): apart(g, of_type[0]) for n, g in zip(devices[1:], of_type[1:], strict=True)}
        for dtype, of_type in gradients.items()
    }
    return {
        **found,
        'rounding': {str(n): apart(g, exact) for n, g in zip(devices, gradients['float32'], strict=True)},
        'decided': {str(n): otherwise(own, places) for n, own in zip(devices, decided['float32'], strict=True)},
        'decisions': sum(of_layer.size for of_layer in places.values()),
        'losses': {dtype: max(relative(own, of_type[0]) for own in of_type) for dtype, of_type in losses.items()},
        'sensitivity': {f'{share:.0e}': apart(gradient, exact) for share, gradient in moved.items()},
    }


def relative(found: Mapping[str, float], expected: Mapping[str, float]) -> float:
    """The largest difference of a loss, relative to it."""
    return max(abs(found[name] - value) / abs(value) for name, value in expected.items() if value)


def row(name: str, found: Mapping[str, Any]) -> str:
    """Of the table: float32 by the number of devices, what it decides otherwise, float64's largest, sensitivities."""
    cells = [f'{value:.0e}' for value in found['float32'].values()]
    cells += [' / '.join(map(str, found['decided'].values())), f'{max(found["float64"].values()):.0e}']
    return f'| {name} | ' + ' | '.join([*cells, *(f'{value:.0e}' for value in found['sensitivity'].values())]) + ' |'


def measure() -> None:
    """Compares, prints."""
    counts = parse_counts(DEVICES.value)
    jax.config.update('jax_platforms', 'cpu')
    jax.config.update('jax_num_cpu_devices', max(counts))
    found = {}
    for name in METHODS.value:
        height, width = command.parse_size(SIZE.value)
        sizes = {'widths': parse_widths(WIDTHS.value), 'points': POINTS.value}
        config = configured(name, (height, width), BATCH.value, 'float32', **sizes)
        for count in counts:
            sharding.check_batch_size('batch', BATCH.value, sharding.make_mesh(count))
        batch = random_batch(BATCH.value, height, width)
        parts = Parts(config, batch.image.shape)
        method = in_any_type(parts.plan.method)
        step = parts.step(method=method, optimizer=KEPT)
        found[name] = compare(method, parts.weighting, step, parts.frozen, batch, counts)
    facts = {'jax': jax.__version__, 'size': SIZE.value, 'batch': BATCH.value, 'widths': WIDTHS.value}
    print(json.dumps({**facts, 'methods': found}, indent=1))
    for name, values in found.items():
        print(row(name, values))


def parse_counts(values: Sequence[str]) -> list[int]:
    """Values of the flag `devices` as numbers.

    Raises:
        UserError: one is no whole number above 0, or there are not two.
    """
    if len(values) < 2 or not all(value.isdecimal() and int(value) for value in values):
        raise UserError(f'`devices` is {",".join(values)}; give two numbers or more, such as 1,4.')
    return [int(value) for value in values]


if __name__ == '__main__':
    command.start(measure)
