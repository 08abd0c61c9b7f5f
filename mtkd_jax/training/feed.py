"""What feeds the steps of a stage: batches and what teachers say of them, one step or many at a time."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mtkd_jax.data.examples import Label
from mtkd_jax.data.pipeline import Split
from mtkd_jax.training import processes, resident, sharding
from mtkd_jax.training.checkpoint import Position
from mtkd_jax.training.compiled import compiler_options
from mtkd_jax.training.programs import Compile
from mtkd_jax.training.resident import Residence
from mtkd_jax.training.sharding import Layout
from mtkd_jax.training.spent import Spent
from mtkd_jax.training.state import TrainState
from mtkd_jax.training.step import Scalars, TrainStep
from mtkd_jax.training.taught import Memory
from mtkd_jax.types import Batch, Batches

MOST = 64  # steps in one call of `Chunked`
SECONDS = 5.0  # that calls may take until a request to stop is known

Given = Generator[tuple[Any, Batch], None, None]
"""For every step, what the step takes for frozen variables, and its batch."""


@runtime_checkable
class Feed(Protocol):
    """Takes a state through the steps that are left."""

    def peek(self) -> Batch:
        """The batch of the next step."""
        ...

    def advance(self, state: TrainState, most: int) -> tuple[TrainState, int, Any]:
        """Takes up to `most` steps: the state, how many they were, and their scalars, [steps] each."""
        ...

    def close(self) -> None:
        """Ends threads and processes that read ahead."""
        ...


def given_batches(
    split: Split,
    mesh: Mesh,
    frozen: Any,
    start: Position,
    end: int,
    residence: Residence | None,
    spent: Spent,
    compiled: Compile,
) -> Given:
    """Batches from `start` to the end of epoch `end` - 1.

    `frozen`: the variables, or a `Cache` of what they say; `spent`: counts the waiting for what the host reads;
    `compiled`: compiles what gathers.
    """
    if residence is None:
        # The loader reads the next epoch while one is evaluated.
        batches = sharding.on_device(spent.waiting_for(split.epochs(start.epoch, end, start.batch)), mesh)
    else:
        batches = _gathered(split, mesh, start, end, residence, compiled)
    numbers = _numbers(split, start, end)
    with closing(batches):
        for batch in batches:
            yield frozen if isinstance(frozen, Mapping) else frozen.rows(next(numbers)), batch


def _gathered(split: Split, mesh: Mesh, start: Position, end: int, residence: Residence, compiled: Compile) -> Batches:
    arrays, gather = residence.arrays(split), resident.gatherer(split.tasks, mesh, compiled)
    for index in _numbers(split, start, end):
        yield gather(arrays, index)


def _numbers(split: Split, start: Position, end: int) -> Generator[np.ndarray, None, None]:
    for epoch in range(start.epoch, end):
        yield from split.order(epoch)[start.batch if epoch == start.epoch else 0 :]


class Streamed:
    """One step at a time."""

    def __init__(self, step: Any, compiled: Compile, pairs: Given) -> None:
        self._jitted, self._compiled, self._pairs = step, compiled, pairs
        self._step: Any = None
        self._next: tuple[Any, Batch] | None = None

    def peek(self) -> Batch:
        """See `Feed.peek`."""
        return self._ready()[1]

    def advance(self, state: TrainState, most: int) -> tuple[TrainState, int, Scalars]:
        """See `Feed.advance`: one step."""
        pair, self._next = self._ready(), None
        if self._step is None:
            self._step = self._compiled(self._jitted, (state, *pair))
        state, scalars = self._step(state, *pair)
        return state, 1, scalars

    def close(self) -> None:
        """See `Feed.close`."""
        self._pairs.close()

    def _ready(self) -> tuple[Any, Batch]:
        if self._next is None:
            self._next = next(self._pairs)
        return self._next


class Chunked:
    """Many steps in one call, which gathers their batches itself: the host only says how many.

    One program serves every number of steps, so that a resumed run takes the same steps, bit for bit.
    """

    def __init__(
        self,
        step: TrainStep,
        compiled: Compile,
        split: Split,
        mesh: Mesh,
        frozen: Any,
        start: Position,
        residence: Residence,
        layout: Layout | None = None,
    ) -> None:
        self._compiled, self._split, self._mesh = compiled, split, mesh
        self._arrays = residence.arrays(split)
        self._gather = resident.gatherer(split.tasks, mesh, compiled)
        self._epoch, self._done = start.epoch, start.batch
        self._order: tuple[int, Any] | None = None
        self._frozen = frozen.arrays if isinstance(frozen, Memory) else frozen
        everywhere, batched = sharding.replicated(mesh), sharding.batched(mesh)
        lies = layout.state if layout else everywhere
        self._jitted = jax.jit(
            _many(step, tuple(Label.of(task) for task in split.tasks), mesh, frozen),
            donate_argnums=0,
            in_shardings=(
                lies,
                batched if isinstance(frozen, Memory) else None if layout else everywhere,
                batched,
                everywhere,
                everywhere,
                everywhere,
            ),
            out_shardings=(lies, everywhere),
            compiler_options=compiler_options(mesh),
        )
        self._run: Any = None
        self._each = 0.0

    def peek(self) -> Batch:
        """See `Feed.peek`."""
        return self._gather(self._arrays, np.asarray(self._numbers()[self._done]))

    def advance(self, state: TrainState, most: int) -> tuple[TrainState, int, Scalars]:
        """See `Feed.advance`: as many steps as take `SECONDS`, `MOST` of them at most."""
        order = self._numbers()
        # The first call is of one step.
        quick = max(1, int(SECONDS / processes.answered_after() / self._each)) if self._each else 1
        # The first process decides, because each measures something else.
        count = processes.from_first(lambda: min(most, len(order) - self._done, MOST, quick))
        given = (state, self._frozen, self._arrays, order, np.int32(self._done), np.int32(count))
        if self._run is None:
            self._run = self._compiled(self._jitted, given)
        began = time.monotonic()
        state, kept = self._run(*given)
        # One call at a time is under way, so that a request to stop waits for no more than that.
        jax.block_until_ready(kept)
        self._each = (time.monotonic() - began) / count
        self._done += count
        return state, count, jax.tree.map(lambda x: x[:count], kept)

    def close(self) -> None:
        """See `Feed.close`: nothing reads ahead."""

    def _numbers(self) -> Any:
        """The order of the current epoch, on the devices."""
        if self._done == self._split.steps_per_epoch:
            self._epoch, self._done = self._epoch + 1, 0
        if self._order is None or self._order[0] != self._epoch:
            order = sharding.replicate(self._split.order(self._epoch), self._mesh)
            self._order = self._epoch, order
        return self._order[1]


def _many(step: TrainStep, labels: tuple[Label, ...], mesh: Mesh, frozen: Any) -> Callable[..., Any]:
    """(state, frozen, stored arrays, order [steps b], first, count) → (state, scalars [MOST]) after `count` steps."""

    def run(state: TrainState, kept: Any, arrays: Any, order: Any, first: Any, count: Any) -> Any:
        def one(state: TrainState, i: Any) -> tuple[TrainState, Scalars]:
            index = order[first + i]
            rows = frozen.pick(kept, index) if isinstance(frozen, Memory) else kept
            batch = jax.lax.with_sharding_constraint(resident.gather(arrays, index, labels), sharding.batched(mesh))
            return step(state, rows, batch)

        shapes = jax.eval_shape(one, state, jnp.int32(0))[1]
        blank = jax.tree.map(lambda x: jnp.zeros((MOST, *x.shape), x.dtype), shapes)

        def body(i: Any, carry: tuple[TrainState, Scalars]) -> tuple[TrainState, Scalars]:
            state, scalars = one(carry[0], i)
            return state, jax.tree.map(lambda all_, x: all_.at[i].set(x), carry[1], scalars)

        return jax.lax.fori_loop(0, count, body, (state, blank))

    return run


def in_one_call(mesh: Mesh) -> bool:
    """Whether many steps go into one call: not on CPUs, where XLA runs a loop's convolutions on one core."""
    return sharding.accelerated(mesh)
