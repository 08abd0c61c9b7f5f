"""Steps of several seeds on the same batch: one after another, or vmapped into one program."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.ours import Parts
from mtkd_jax.types import Batch

SEEDS = 3


class Several:
    """A step of each seed.

    Attributes:
        memory: bytes that XLA sets aside for a call of the program, which is of one seed or of all.
    """

    def __init__(self, parts: Parts, batch: Batch, vmapped: bool) -> None:
        """Every seed has its own parameters and its own teachers."""
        states: Sequence[Any] = [parts.state(seed) for seed in range(SEEDS)]
        frozen: Sequence[Any] = [parts.frozen] + [jax.device_put(parts.teachers(seed)) for seed in range(1, SEEDS)]
        step = parts.step()
        if vmapped:
            states, frozen = [stacked(states)], [stacked(frozen)]
            step = jax.vmap(step, in_axes=(0, 0, None))
        self._states, self._frozen, self._batch = states, frozen, jax.device_put(batch)
        given = (states[0], frozen[0], self._batch)
        self._step = jax.jit(step, donate_argnums=0).lower(*given).compile()
        kept: Any = self._step.memory_analysis()
        self.memory = kept.argument_size_in_bytes + kept.temp_size_in_bytes

    def run(self) -> None:
        """See `timing.Side.run`: one step of every seed."""
        pairs = zip(self._states, self._frozen, strict=True)
        self._states = [self._step(state, frozen, self._batch)[0] for state, frozen in pairs]
        jax.block_until_ready(self._states)


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of arrays [...] as one tree of arrays [seeds ...]."""
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)
