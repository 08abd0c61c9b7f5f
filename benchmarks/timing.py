"""How long something takes, taking turns, and what the device can do at most."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

ROUNDS = 5
WARM = 2  # steps of each side that are not timed


class Side(Protocol):
    """What is timed."""

    def run(self) -> Any:
        """Makes one step, and returns when the device has finished it."""
        ...


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


def rounded(values: Sequence[float]) -> list[float]:
    """The least and the largest of these seconds."""
    return [round(min(values), 6), round(max(values), 6)]


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


def tf32() -> bool:
    """Whether JAX may use TF32 in float32 on a GPU: then PyTorch may, too."""
    return matrix_precision() in ('default', 'fastest', 'tensorfloat32')


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
