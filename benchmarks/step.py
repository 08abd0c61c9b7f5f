"""Time, operations and memory of a training step, beside what the device can do and beside PyTorch.

    python -m benchmarks.step --method=kd_mtl [--backbone=segnet] [--widths=64,128,256,512,512] [--size=96x128]
        [--batch=2] [--dtype=float32] [--steps=10] [--points=mid,last]
        [--against=torch|torch_channels_last|torch_compile] [--threads=0]

The step is that of the recipe `nyuv2:method=METHOD,backbone=BACKBONE`, on random images with random weights: `kd_mtl`
with three teachers, `sd_mtcnn`, or a weighting such as `uniform` and `mgda`. A step ends when the device has finished
it. Prints one JSON object, and below it a row of a Markdown table: method, backbone, size, batch, type, device, seconds
per step, their range, 10⁹ operations, seconds at least, share of that, peak memory in GiB; with `--against` also what
was compared, its seconds, their range, and the ratio.

- Operations and bytes per step are those that XLA counts in the compiled program.
- `bound_seconds` is the larger of operations ÷ rate of a matrix product and bytes ÷ bandwidth. Both rates are measured
  on the same device, the first in the same type and precision. XLA counts bytes as if nothing stayed in a cache, so
  small steps can be faster than this bound. `share_of_bound` is the bound ÷ the median step.
- Peak memory: of the accelerator, or, on a CPU, of the process with its compiler; before PyTorch is loaded.

With `--against`, the step in PyTorch (benchmarks/torch_step.py; `kd_mtl` and `uniform` on `segnet`) starts from the
same weights, on the same batch, on the same device. Before anything is timed, both are computed once in float32 with
full precision: every loss must agree to 1e-3, and the norm of the gradient to 5e-2. Then they take turns, in five
rounds, so that other work of the machine slows both. `ratio` is PyTorch's median ÷ ours: above 1 we are faster. On a
GPU, both may use TF32 or neither, as `JAX_DEFAULT_MATMUL_PRECISION` says (JAX's default: both). On a CPU, PyTorch has
as many threads as this process may use cores, or `--threads`; `taskset -c 0` gives both sides one core. Its threads
wait asleep (`OMP_WAIT_POLICY=passive`, unless it is set): spinning, they lose most of their time where other jobs run.
"""

import functools
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from benchmarks.random_batch import random_batch
from mtkd_jax import command, configs
from mtkd_jax.experiment import balance
from mtkd_jax.experiment.checks import check as check_config
from mtkd_jax.experiment.plans import plans
from mtkd_jax.models import SegNet
from mtkd_jax.training import device, optimizer, sharding
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import compile_step, train_step
from mtkd_jax.types import Batch, UserError

AGAINST = ('torch', 'torch_channels_last', 'torch_compile')

METHOD = flags.DEFINE_string(
    'method', 'kd_mtl', 'A method or a weighting, as in a recipe: kd_mtl, sd_mtcnn, uniform, mgda.', allow_override=True
)
BACKBONE = flags.DEFINE_string('backbone', '', "The network; the method's own by default.", allow_override=True)
WIDTHS = flags.DEFINE_list(
    'widths', [], "Channels of the network's blocks; the paper's by default.", allow_override=True
)
SIZE = flags.DEFINE_string('size', '96x128', 'Height x width.', allow_override=True)
BATCH = flags.DEFINE_integer('batch', 2, 'Images per step.', allow_override=True)
DTYPE = flags.DEFINE_enum('dtype', 'float32', ['float32', 'bfloat16'], 'Compute type.', allow_override=True)
CACHED = flags.DEFINE_bool('cached', False, 'Ours reads what teachers say of the images, as with `cache_teachers`.')
THREADS = flags.DEFINE_integer('threads', 0, 'Threads of PyTorch on a CPU; 0: a thread per core.', allow_override=True)
STEPS = flags.DEFINE_integer('steps', 10, 'Timed steps of each side.', allow_override=True)
POINTS = flags.DEFINE_list('points', [], 'Distilled features of kd_mtl; all by default.', allow_override=True)
COMPARED = flags.DEFINE_enum('against', None, AGAINST, 'A step in PyTorch to compare with.', allow_override=True)

EPOCH, EPOCHS = 397, 200  # steps and epochs of NYUv2: the schedule belongs to the step
ROUNDS = 5
WARM = 2  # steps of each side that are not timed
LOSSES = 1e-3  # the largest relative difference that counts as the same; rounding grows through 26 normalised layers
GRADIENT = 5e-2  # of the norm; at full width the two layouts of PyTorch differ by 1e-2 from each other


class Side(Protocol):
    """What is timed."""

    def run(self) -> Any:
        """Makes one step, and returns when the device has finished it."""
        ...


class Ours:
    """The step of a config's last stage, compiled.

    Attributes:
        plan: what the stage minimises.
        frozen: variables of its teachers, random.
        compile_seconds: from the function to the program.
        operations, transferred: floating-point operations and bytes of a step, as XLA counts them.
    """

    def __init__(self, config: ConfigDict, batch: Batch, cached: bool = False) -> None:
        planned: Any = plans(config)
        self.plan = planned[-1]
        method, mesh = self.plan.method, sharding.make_mesh(1)
        weighting = balance.maker(config, self.plan.balance)(EPOCH)
        chosen = functools.partial(optimizer.OPTIMIZERS[config.optimizer], **config.optimizer_settings.to_dict())
        schedule = functools.partial(
            optimizer.SCHEDULES[config.schedule], config.learning_rate, **config.schedule_settings.to_dict()
        )
        updates = optimizer.make_optimizer(chosen, schedule, EPOCH, EPOCHS * EPOCH, method.optimizers())
        shape = batch.image.shape
        state = initial_state(method, weighting, updates, jax.random.key(0), shape)
        stages = {plan.name: plan.method for plan in planned}
        frozen = {
            key: random_network(stages[stage], shape, seed)
            for seed, (key, stage) in enumerate(sorted(self.plan.teachers.items()))
        }
        self._state, self.frozen = sharding.replicate(state, mesh), sharding.replicate(frozen, mesh)
        self._batch = jax.device_put(batch, sharding.batched(mesh))
        step = train_step(
            method,
            weighting,
            updates,
            EPOCHS * EPOCH,
            config.get('weighting_settings', {}).get('gramian_of', 'parameters'),
            factors=None if self.plan.balance == 'none' else config.task_weights.to_dict(),
            teach=not cached,
        )
        self._given = self.frozen
        if cached:
            self._given = jax.device_put(jax.jit(method.teach)(self.frozen, batch.image), sharding.batched(mesh))
        began = time.perf_counter()
        self._step = compile_step(step, mesh, teach=not cached).lower(self._state, self._given, self._batch).compile()
        self.compile_seconds = time.perf_counter() - began
        counted: Any = self._step.cost_analysis()
        self.operations, self.transferred = counted['flops'], counted['bytes accessed']

    @property
    def variables(self) -> Mapping[str, Any]:
        """The trained variables as they are now, on the host."""
        return jax.device_get(self._state.variables)

    def run(self) -> dict[str, jax.Array]:
        """See `Side.run`; the step's scalars."""
        self._state, scalars = self._step(self._state, self._given, self._batch)
        jax.block_until_ready((self._state, scalars))
        return scalars


def random_network(method: Any, shape: tuple[int, ...], seed: int) -> Any:
    """Variables of the network of `method` for images [b h w 3] of this shape, as if it had learned something."""
    rng = np.random.default_rng(seed)

    def fill(path: Any, leaf: Any) -> np.ndarray:
        if path[-1].key in ('scale', 'var'):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        spread = np.sqrt(2 / np.prod(leaf.shape[:-1])) if path[-1].key == 'kernel' else 0.1
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(spread)

    made = jax.eval_shape(lambda: method.network_variables(method.init(jax.random.key(0), jnp.zeros(shape))))
    return jax.tree_util.tree_map_with_path(fill, made)


def seconds(side: Side) -> float:
    """How long a step takes."""
    began = time.perf_counter()
    side.run()
    return time.perf_counter() - began


def in_turns(sides: Sequence[Side], steps: int) -> list[list[float]]:
    """The seconds of so many steps of each side, in rounds, after some that do not count."""
    for side in sides:
        for _ in range(WARM):
            side.run()
    found: list[list[float]] = [[] for _ in sides]
    for i in range(ROUNDS):
        count = steps * (i + 1) // ROUNDS - steps * i // ROUNDS
        for side, of_side in zip(sides, found, strict=True):
            of_side += [seconds(side) for _ in range(count)]
    return found


def best(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> float:
    """The least time of five that the device takes for `function(x)`."""
    compiled = jax.jit(function)
    # An accelerator works while the next calls are sent: what sending costs does not count.
    calls = 1 if jax.default_backend() == 'cpu' else 10

    def once() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            y = compiled(x)
        y.block_until_ready()
        return (time.perf_counter() - began) / calls

    once()
    return min(once() for _ in range(5))


def matrix_product_rate(dtype: Any) -> float:
    """Floating-point operations per second of a large square matrix product."""
    n = 2048 if jax.default_backend() == 'cpu' else 8192
    return 2 * n**3 / best(lambda x: x @ x, jax.random.normal(jax.random.key(0), (n, n)).astype(dtype))


def bandwidth() -> float:
    """Bytes per second, read and written, of copying a large array."""
    x = jnp.ones(2**26 if jax.default_backend() == 'cpu' else 2**28, jnp.float32)
    # With the sign changed: on a CPU, XLA gives that to all cores, and a plain copy to one.
    return 2 * x.nbytes / best(jnp.negative, x)


def matrix_precision() -> str:
    """What JAX is asked for in matrix products and convolutions."""
    setting: Any = jax.config
    return setting.jax_default_matmul_precision or 'default'


def config_of() -> ConfigDict:
    """The config that the flags describe, checked."""
    backbone = f',backbone={BACKBONE.value}' if BACKBONE.value else ''
    config = configs.load(f'nyuv2:method={METHOD.value}{backbone}')
    config.data.height, config.data.width = command.parse_size(SIZE.value)
    config.batch_size, config.compute_dtype = BATCH.value, DTYPE.value
    if WIDTHS.value:
        if not all(width.isdecimal() for width in WIDTHS.value):
            raise UserError(f'`widths` is {",".join(WIDTHS.value)}; give whole numbers, such as 64,128,256,512,512.')
        config.widths = tuple(int(width) for width in WIDTHS.value)
    if POINTS.value:
        if 'points' not in config.method_settings:
            raise UserError(f'`points` is given, but {METHOD.value} distils no features; leave it out.')
        config.method_settings.points = tuple(POINTS.value)
    check_config(config)
    if CACHED.value and 'teachers' not in config.method_settings:
        raise UserError(f'--cached is given, but {METHOD.value} has no teachers; leave it out.')
    if STEPS.value < 1:
        raise UserError(f'`steps` is {STEPS.value}; it must be at least 1.')
    if THREADS.value < 0:
        raise UserError(f'`threads` is {THREADS.value}; give a number, or 0 for a thread per core.')
    return config


def check_against(config: ConfigDict) -> None:
    """Raises a UserError where there is no PyTorch side of the step, or no PyTorch."""
    if METHOD.value not in ('kd_mtl', 'uniform') or config.backbone != SegNet.NAME:
        raise UserError(
            f'{METHOD.value} on {config.backbone} has no PyTorch side; compare kd_mtl or uniform on {SegNet.NAME}, or '
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


def other_side(config: ConfigDict, batch: Batch) -> tuple[Any, dict[str, float]]:
    """The step in PyTorch, and what the results say of it before it is timed: it is compared, and warmed up."""
    from benchmarks import torch_step

    exact = config.copy_and_resolve_references()
    exact.compute_dtype = 'float32'
    precision = matrix_precision()
    with jax.default_matmul_precision('highest'):
        ours = Ours(exact, batch)
        variables, frozen = ours.variables, jax.device_get(ours.frozen)
        scalars = {name: float(value) for name, value in ours.run().items()}
    other = torch_step.Step(
        variables,
        frozen,
        batch,
        distillation=ours.plan.settings if METHOD.value == 'kd_mtl' else None,
        widths=config.widths,
        rate=config.learning_rate,
        how=command.value(COMPARED),
        threads=THREADS.value or cores(),
        device='cpu' if jax.default_backend() == 'cpu' else 'cuda',
        half=config.compute_dtype == 'bfloat16',
        tf32=precision in ('default', 'fastest', 'tensorfloat32'),
    )
    began = time.perf_counter()
    apart = differences(scalars, other.exactly())
    other.run()
    warm_up = time.perf_counter() - began
    gradient = apart.pop('gradient_norm')
    return other, {
        'other_warm_up_seconds': round(warm_up, 1),
        'largest_loss_difference': float(f'{max(apart.values()):.2g}'),
        'gradient_norm_difference': float(f'{gradient:.2g}'),
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def rounded(values: Sequence[float]) -> list[float]:
    """The least and the largest of these seconds."""
    return [round(min(values), 6), round(max(values), 6)]


def measure() -> None:
    """Builds the step, times it, prints."""
    config = config_of()
    if COMPARED.value:
        check_against(config)
        # Both sides share an accelerator: ours must not take most of its memory at once.
        os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
        os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    batch = random_batch(config.batch_size, config.data.height, config.data.width)
    mesh = sharding.make_mesh(1)
    ours = Ours(config, batch, CACHED.value)
    ours.run()
    memory = device.peak_memory_bytes(mesh) / 2**30
    sides: list[Side] = [ours]
    if COMPARED.value:
        other, compared = other_side(config, batch)
        sides.append(other)
    own, *others = in_turns(sides, STEPS.value)
    step = statistics.median(own)
    rate, bytes_per_second = matrix_product_rate(config.compute_dtype), bandwidth()
    bound = max(ours.operations / rate, ours.transferred / bytes_per_second)
    found = {
        'method': METHOD.value,
        'cached_teachers': CACHED.value,
        'backbone': config.backbone,
        'widths': list(config.widths),
        'points': list(config.method_settings.get('points', ())),
        'size': SIZE.value,
        'batch': config.batch_size,
        'dtype': config.compute_dtype,
        'device': device.describe(mesh),
        'jax': jax.__version__,
        'jax_matmul_precision': matrix_precision(),
        'steps': STEPS.value,
        'step_seconds': round(step, 6),
        'step_seconds_range': rounded(own),
        'images_per_second': round(config.batch_size / step, 3),
        'compile_seconds': round(ours.compile_seconds, 1),
        'gigaoperations_per_step': round(ours.operations / 1e9, 3),
        'gigabytes_per_step': round(ours.transferred / 1e9, 3),
        'matrix_product_gigaoperations_per_second': round(rate / 1e9, 1),
        'bandwidth_gigabytes_per_second': round(bytes_per_second / 1e9, 1),
        'bound_seconds': round(bound, 6),
        'share_of_bound': round(bound / step, 3),
        'peak_memory_gib': round(memory, 2),
    }
    row = [
        METHOD.value,
        config.backbone,
        SIZE.value.replace('x', '×'),
        config.batch_size,
        config.compute_dtype,
        f'{step:.3g}',
        '{:.3g} to {:.3g}'.format(*rounded(own)),
        f'{ours.operations / 1e9:.4g}',
        f'{bound:.3g}',
        f'{100 * bound / step:.0f} %',
        f'{memory:.2g}',
    ]
    if others:
        median = statistics.median(others[0])
        found |= {
            'against': COMPARED.value,
            **other.facts(),
            'other_step_seconds': round(median, 6),
            'other_step_seconds_range': rounded(others[0]),
            'ratio': round(median / step, 3),
            **compared,
        }
        row += [COMPARED.value, f'{median:.3g}', '{:.3g} to {:.3g}'.format(*rounded(others[0])), f'{median / step:.2f}']
    print(json.dumps(found, indent=1))
    print('|', ' | '.join(map(str, row)), '|')


if __name__ == '__main__':
    command.start(measure)
