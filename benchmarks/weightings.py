"""Step time and memory of every weighting, beside those of `uniform`.

    python benchmarks/weightings.py [--size=96x128] [--batch_size=2] [--steps=5] [--only=mgda,pcgrad]

SegNet at full width, three tasks, random images. A step of `uniform` and one of the weighting take turns; the ratio is
that of their medians, so that a busy machine slows both. Memory is what XLA sets aside for a step's intermediate
values, beside parameters and optimiser. Prints a Markdown table; rows appear as they are measured.
"""

import functools
import statistics
import time
from typing import Any

import jax
from absl import app, flags
from random_batch import random_batch

from mtkd_jax import methods, models, tasks, weighting
from mtkd_jax.gradients import GRAMIANS
from mtkd_jax.training import device, sharding
from mtkd_jax.training import optimizer as optimizers
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import compile_step, train_step
from mtkd_jax.types import Batch
from mtkd_jax.weighting.registry import CONSTRUCTORS

SIZE = flags.DEFINE_string('size', '96x128', 'Height × width.')
BATCH_SIZE = flags.DEFINE_integer('batch_size', 2, 'Images per step.')
STEPS = flags.DEFINE_integer('steps', 5, 'Timed steps of each, after one that is not.')
ONLY = flags.DEFINE_list('only', None, 'Weightings to measure; default all.')

TASKS = (tasks.segmentation(13), tasks.depth(), tasks.normals())
SCHEDULE = functools.partial(optimizers.steps, 1e-4, halve_at_epochs=(100.0,))


class Compiled:
    """The step of one weighting, ready to run."""

    def __init__(self, made: weighting.Weighting, gramian_of: str, batch: Batch, mesh: Any) -> None:
        method = methods.Supervised(models.SegNet(TASKS), TASKS)
        optimizer = optimizers.make_optimizer(optimizers.adam, SCHEDULE, 397, 200 * 397, method.optimizers())
        state = initial_state(method, made, optimizer, jax.random.key(0), batch.image.shape)
        self._state = sharding.replicate(state, mesh)
        self._batch = jax.device_put(batch, sharding.batched(mesh))
        step = compile_step(train_step(method, made, optimizer, 1000, gramian_of), mesh)
        began = time.perf_counter()
        self._step = step.lower(self._state, {}, self._batch).compile()
        self.compile_seconds = time.perf_counter() - began

    @property
    def mebibytes(self) -> float:
        """Memory of a step's intermediate values."""
        return self._step.memory_analysis().temp_size_in_bytes / 2**20

    def seconds(self) -> float:
        """Runs one step."""
        began = time.perf_counter()
        self._state, scalars = self._step(self._state, {}, self._batch)
        jax.block_until_ready(scalars)
        return time.perf_counter() - began


def main(argv: list[str]) -> None:
    """Compiles, takes turns, prints."""
    del argv
    height, width = (int(n) for n in SIZE.value.split('x'))
    mesh, batch = sharding.make_mesh(1), random_batch(BATCH_SIZE.value, height, width)
    print(f'{device.describe(mesh)}, jax {jax.__version__}, {SIZE.value}, batch {BATCH_SIZE.value}\n')
    print('| weighting | reads | time of a step ÷ uniform | memory (MiB) | compilation (s) |')
    print('| :--- | :--- | ---: | ---: | ---: |')
    uniform = Compiled(CONSTRUCTORS['uniform'](), 'parameters', batch, mesh)
    for name in ONLY.value or CONSTRUCTORS:
        made = CONSTRUCTORS[name]()
        for gramian_of in GRAMIANS if made.needs == 'gramian' else ('parameters',):
            step = Compiled(made, gramian_of, batch, mesh)
            pairs = [(uniform.seconds(), step.seconds()) for _ in range(STEPS.value + 1)][1:]
            base, own = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
            reads = made.needs + (' of features' if gramian_of == 'features' else '')
            print(
                f'| {name} | {reads} | {own / base:.2f} | {step.mebibytes:.0f} | {step.compile_seconds:.0f} |',
                flush=True,
            )
    print(f'\nuniform: {base:.3f} s a step')


if __name__ == '__main__':
    app.run(main)
