"""Time, throughput and floating-point operations of the KD-MTL step at the paper's size.

    python benchmarks/kd_mtl_step.py --size=288x384 [--batch_size=2] [--dtype=float32] [--steps=5]

SegNet at full width, three teachers, adaptors at `mid` and `last`, random images. Prints one JSON object: the median
step time of `--steps` timed steps after one that is not, images per second, operations per step as XLA counts them, and
the share of what the same device reaches in a plain matrix product of the same type.
"""

import functools
import json
import statistics
import time

import jax
import jax.numpy as jnp
from absl import app, flags
from random_batch import random_batch

from mtkd_jax import distill, methods, models, tasks, weighting
from mtkd_jax.training import device, sharding
from mtkd_jax.training import optimizer as optimizers
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import compile_step, train_step

SIZE = flags.DEFINE_string('size', '288x384', 'Height × width.')
BATCH_SIZE = flags.DEFINE_integer('batch_size', 2, 'Images per step.')
DTYPE = flags.DEFINE_enum('dtype', 'float32', ['float32', 'bfloat16'], 'Compute type.')
STEPS = flags.DEFINE_integer('steps', 5, 'Timed steps.')
MATRIX = flags.DEFINE_integer('matrix', 2048, 'Side of the matrices whose product stands for the peak.')

TASKS = (tasks.segmentation(13), tasks.depth(), tasks.normals())
SCHEDULE = functools.partial(optimizers.steps, 1e-4, halve_at_epochs=(100.0,))
NAMES = tuple(task.name for task in TASKS)
POINTS = ('mid', 'last')


def matrix_product_rate(dtype: jnp.dtype) -> float:
    """Floating-point operations per second of a square matrix product, the best of five."""
    n = MATRIX.value
    x = jax.random.normal(jax.random.key(0), (n, n)).astype(dtype)
    product = jax.jit(jnp.matmul)
    product(x, x).block_until_ready()
    best = float('inf')
    for _ in range(5):
        began = time.perf_counter()
        product(x, x).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2 * n**3 / best


def main(argv: list[str]) -> None:
    """Builds the step, times it, prints."""
    del argv
    height, width = (int(n) for n in SIZE.value.split('x'))
    dtype = jnp.dtype(DTYPE.value)
    mesh = sharding.make_mesh(1)
    method = methods.kd_mtl.KDMTL(
        network=models.SegNet(TASKS, dtype=dtype),
        tasks=TASKS,
        adaptors=distill.Adaptors(NAMES, POINTS, dtype),
        teachers={name: models.SegNet((), dtype=dtype) for name in NAMES},
        points=POINTS,
        weights={'segmentation': 1.0, 'depth': 1.0, 'normals': 2.0},
    )
    optimizer = optimizers.make_optimizer(optimizers.adam, SCHEDULE, 397, 200 * 397, method.optimizers())
    shape = (BATCH_SIZE.value, height, width, 3)
    state = initial_state(method, weighting.uniform(), optimizer, jax.random.key(0), shape)
    trunk = models.SegNet(())
    init = jax.jit(lambda key: trunk.init(key, jnp.zeros((1, 32, 32, 3)), train=False))
    frozen = sharding.replicate({name: init(jax.random.key(i)) for i, name in enumerate(NAMES)}, mesh)
    state = sharding.replicate(state, mesh)
    batch = jax.device_put(random_batch(BATCH_SIZE.value, height, width), sharding.batched(mesh))
    began = time.perf_counter()
    step = (
        compile_step(train_step(method, weighting.uniform(), optimizer, 10), mesh).lower(state, frozen, batch).compile()
    )
    compile_seconds = time.perf_counter() - began
    operations = step.cost_analysis()['flops']
    seconds = []
    for _ in range(STEPS.value + 1):
        began = time.perf_counter()
        state, scalars = step(state, frozen, batch)
        jax.block_until_ready(scalars)
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds[1:])
    rate = matrix_product_rate(dtype)
    print(
        json.dumps(
            {
                'size': SIZE.value,
                'batch_size': BATCH_SIZE.value,
                'dtype': DTYPE.value,
                'device': device.describe(mesh),
                'jax': jax.__version__,
                'compile_seconds': round(compile_seconds, 1),
                'step_seconds': round(median, 4),
                'step_seconds_range': [round(min(seconds[1:]), 4), round(max(seconds[1:]), 4)],
                'images_per_second': round(BATCH_SIZE.value / median, 3),
                'gigaoperations_per_step': round(operations / 1e9, 1),
                'gigaoperations_per_second': round(operations / median / 1e9, 1),
                'matrix_product_gigaoperations_per_second': round(rate / 1e9, 1),
                'share_of_matrix_product': round(operations / median / rate, 3),
                'peak_memory_gib': round(device.peak_memory_bytes(mesh) / 2**30, 2),
            },
            indent=1,
        )
    )


if __name__ == '__main__':
    app.run(main)
