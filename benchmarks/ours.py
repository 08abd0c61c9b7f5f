"""The package's training step of a recipe, on random teachers, compiled and counted."""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mtkd_jax import configs
from mtkd_jax.experiment import balance
from mtkd_jax.experiment.checks import check
from mtkd_jax.experiment.plans import plans
from mtkd_jax.experiment.teachers import AUTO, with_dtype
from mtkd_jax.training import device, optimizer, sharding
from mtkd_jax.training.state import TrainState, initial_state
from mtkd_jax.training.step import compile_step, train_step
from mtkd_jax.types import Batch, UserError

EPOCH, EPOCHS = 397, 200  # steps and epochs of NYUv2: the schedule belongs to the step


def parse_widths(values: Sequence[str], name: str = 'widths') -> tuple[int, ...]:
    """Values of the flag `name` as numbers.

    Raises:
        UserError: one is no whole number.
    """
    if not all(value.isdecimal() for value in values):
        raise UserError(f'`{name}` is {",".join(values)}; give whole numbers, such as 64,128,256,512,512.')
    return tuple(int(value) for value in values)


def configured(
    method: str,
    size: tuple[int, int],
    batch: int,
    dtype: str,
    *,
    backbone: str = '',
    widths: Sequence[int] = (),
    student_widths: Sequence[int] = (),
    points: Sequence[str] = (),
    remat: bool = False,
) -> ConfigDict:
    """The config of the recipe `nyuv2:method=METHOD` at a size (height, width), checked.

    `backbone`, `widths`, `student_widths` (of self-distillation) and `points` (the distilled features of `kd_mtl`):
    those of the recipe where they are empty.

    Raises:
        UserError: a value does not fit.
    """
    config = configs.load(f'nyuv2:method={method}' + (f',backbone={backbone}' if backbone else ''))
    config.data.height, config.data.width = size
    config.batch_size, config.compute_dtype = batch, dtype
    if widths:
        config.widths = tuple(widths)
    if student_widths:
        config.method_settings.student_widths = tuple(student_widths)
    if points:
        if 'points' not in config.method_settings:
            raise UserError(f'`points` is given, but {method} distils no features; leave it out.')
        config.method_settings.points = tuple(points)
    config.remat = remat
    check(config)
    return config


class Parts:
    """What the step of a config's last stage is made of.

    Attributes:
        plan: what the stage minimises.
        weighting: its weighting.
        mesh: one device.
        frozen: variables of its teachers, random, on the device.
    """

    def __init__(self, config: ConfigDict, shape: tuple[int, ...]) -> None:
        """`shape`: of the images, [b h w 3]."""
        planned: Any = plans(config)
        # `auto` is the network's type on any machine: what is compared with PyTorch computes in one.
        asked = config.compute_dtype if config.teacher_dtype == AUTO else config.teacher_dtype
        self.plan: Any = with_dtype(config, planned[-1], asked)
        self.mesh = sharding.make_mesh(1)
        self._config, self._shape = config, shape
        self.weighting = balance.maker(config, self.plan.balance)(EPOCH)
        chosen = functools.partial(optimizer.OPTIMIZERS[config.optimizer], **config.optimizer_settings.to_dict())
        schedule = functools.partial(
            optimizer.SCHEDULES[config.schedule], config.learning_rate, **config.schedule_settings.to_dict()
        )
        groups = self.plan.method.optimizers()
        self._updates = optimizer.make_optimizer(chosen, schedule, EPOCH, EPOCHS * EPOCH, groups)
        self._methods = {plan.name: plan.method for plan in planned}
        self.frozen = sharding.replicate(self.teachers(0), self.mesh)

    def teachers(self, seed: int) -> dict[str, Any]:
        """Variables of teachers, random, on the host; other ones for every seed."""
        count = len(self.plan.teachers)
        return {
            key: random_network(self._methods[stage], self._shape, seed * count + i)
            for i, (key, stage) in enumerate(sorted(self.plan.teachers.items()))
        }

    def state(self, seed: int = 0) -> TrainState:
        """The state before the first step, on the device."""
        made = initial_state(self.plan.method, self.weighting, self._updates, jax.random.key(seed), self._shape)
        return sharding.replicate(made, self.mesh)

    def step(self, teach: bool = True, method: Any = None, optimizer: Any = None) -> Any:
        """See `train_step`; `method`, `optimizer`: others than the recipe's."""
        config = self._config
        return train_step(
            method or self.plan.method,
            self.weighting,
            optimizer or self._updates,
            EPOCHS * EPOCH,
            balance.gramian_of(config),
            factors=None if self.plan.balance == 'none' else config.task_weights.to_dict(),
            teach=teach,
        )


class Ours:
    """The step of a config's last stage, compiled.

    Attributes:
        plan, frozen: see `Parts`.
        compile_seconds: from the function to the program.
        operations: floating-point operations of a step, as XLA counts them before it optimises.
        transferred: bytes of a step, as XLA counts them in the compiled program.
        intermediate: bytes that XLA sets aside for the intermediate values of a step.
        memory: the same for a step: state, batch and intermediate values.
    """

    def __init__(self, config: ConfigDict, batch: Batch, cached: bool = False, parts: Parts | None = None) -> None:
        """`cached`: what teachers say is given; `parts`: those of `config`, where they are there already."""
        parts = parts or Parts(config, batch.image.shape)
        self.plan, self.frozen = parts.plan, parts.frozen
        self._state = parts.state()
        self._batch = jax.device_put(batch, sharding.batched(parts.mesh))
        step, self._given = parts.step(teach=not cached), self.frozen
        if cached:
            self._given = jax.device_put(
                jax.jit(self.plan.method.teach)(self.frozen, batch.image), sharding.batched(parts.mesh)
            )
        given = (self._state, self._given, self._batch)
        self.operations = operations(step, given)
        began = time.perf_counter()
        self._step = compile_step(step, parts.mesh, teach=not cached).lower(*given).compile()
        self.compile_seconds = time.perf_counter() - began
        counted: Any = self._step.cost_analysis()
        self.transferred = counted['bytes accessed']
        kept: Any = self._step.memory_analysis()
        self.intermediate = kept.temp_size_in_bytes
        self.memory = (
            kept.argument_size_in_bytes + kept.output_size_in_bytes - kept.alias_size_in_bytes + kept.temp_size_in_bytes
        )

    @property
    def variables(self) -> Mapping[str, Any]:
        """The trained variables as they are now, on the host."""
        return jax.device_get(self._state.variables)

    def run(self) -> dict[str, jax.Array]:
        """See `Side.run`; the step's scalars."""
        self._state, scalars = self._step(self._state, self._given, self._batch)
        jax.block_until_ready((self._state, scalars))
        return scalars


def operations(function: Any, given: Any) -> float:
    """Floating-point operations of `function(*given)`, as XLA counts them before it optimises.

    Always counted by the backend for CPUs: on a GPU, XLA does not count what it leaves to libraries. Of the program for
    an accelerator (see `device.operations`), so that convolutions by tiles are counted as the plain ones.

    Raises:
        UserError: JAX is told not to use the CPU.
    """
    try:
        host = jax.devices('cpu')[0]
    except RuntimeError as error:
        raise UserError(
            'Operations are counted by the CPU backend of JAX, which JAX_PLATFORMS leaves out; add it: '
            'JAX_PLATFORMS=cuda,cpu.'
        ) from error
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), given)
    with jax.default_device(host):
        found = device.operations(jax.jit(function).trace(*shapes))
    assert found is not None  # the CPU backend counts
    return found


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
