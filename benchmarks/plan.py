"""What `benchmarks.accelerator` measures, in order of importance, and what of it fits into the time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PATIENCE = 3.0  # a measurement that takes so many times what was expected is ended


@dataclass(frozen=True)
class Entry:
    """One measurement, a process of its own.

    Attributes:
        kind: what is measured, a function of `benchmarks/kinds.py`.
        seconds: what it is expected to take on a large GPU, compiling included. A guess: nobody has measured it.
        against: PyTorch's steps, see `benchmarks.step`.
        exact: the losses of both sides are compared first.
        rooms: at the size and widths of `configs/rooms.py`, whatever the flags say.
    """

    kind: str
    seconds: float
    method: str = 'kd_mtl'
    dtype: str = 'float32'
    batch: int = 2
    against: Sequence[str] = ()
    exact: bool = False
    rooms: bool = False

    @property
    def name(self) -> str:
        """Such as `step_kd_mtl_float32_2`."""
        return '_'.join([self.kind, *(['rooms'] if self.rooms else []), self.method, self.dtype, str(self.batch)])

    @property
    def needs_torch(self) -> bool:
        """Whether nothing of it can be measured without PyTorch."""
        return self.kind == 'published'


EAGER = {'float32': 'torch', 'bfloat16': 'torch_channels_last'}
"""Eager PyTorch as it is published, and as its users make it fast: autocast needs channels last."""


def _step(method: str, dtype: str, batch: int, seconds: float, exact: bool = False) -> Entry:
    return Entry('step', seconds, method, dtype, batch, (EAGER[dtype],), exact)


def _compiled(method: str, dtype: str, batch: int, seconds: float) -> Entry:
    """Apart from the eager step: `torch.compile` takes longest, and fails most."""
    return Entry('compiled', seconds, method, dtype, batch, ('torch_compile',))


ENTRIES = (
    _step('kd_mtl', 'float32', 2, 120, exact=True),
    Entry('published', 60),
    Entry('epoch', 70),
    _step('kd_mtl', 'bfloat16', 2, 90),
    _compiled('kd_mtl', 'bfloat16', 2, 110),
    Entry('seeds', 60, batch=4, rooms=True),
    _step('kd_mtl', 'bfloat16', 8, 90),
    _compiled('kd_mtl', 'bfloat16', 8, 110),
    _step('kd_mtl', 'float32', 8, 100),
    _step('uniform', 'float32', 2, 80, exact=True),
    _step('uniform', 'bfloat16', 2, 60),
    _compiled('kd_mtl', 'float32', 2, 110),
    Entry('epoch', 70, dtype='bfloat16'),
    Entry('seeds', 90),
    Entry('seeds', 40, method='uniform', batch=4, rooms=True),
    _compiled('kd_mtl', 'float32', 8, 110),
    _compiled('uniform', 'bfloat16', 2, 80),
    _compiled('uniform', 'float32', 2, 80),
    _step('uniform', 'bfloat16', 8, 60),
    _step('uniform', 'float32', 8, 60),
    _compiled('uniform', 'bfloat16', 8, 80),
    _compiled('uniform', 'float32', 8, 80),
)


class Budget:
    """The time that all measurements may take together, from now on.

    What is left to measure is expected to take as much longer, or less long, as what was measured did.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._expected = self._taken = 0.0

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - self._clock()

    def needed(self, entry: Entry) -> float:
        """Seconds that `entry` is expected to take here."""
        return entry.seconds * (self._taken / self._expected if self._expected else 1.0)

    def limit(self, entry: Entry) -> float:
        """Seconds after which `entry` is ended."""
        return min(self.left, PATIENCE * max(entry.seconds, self.needed(entry)))

    def took(self, entry: Entry, seconds: float) -> None:
        """`entry` is measured."""
        self._expected += entry.seconds
        self._taken += seconds

    def refusal(self, entry: Entry, torch: bool) -> str:
        """Why `entry` is not measured; empty: it is. `torch`: whether PyTorch is there."""
        if entry.needs_torch and not torch:
            return 'PyTorch is not installed'
        needed, left = self.needed(entry), max(self.left, 0)
        return f'takes about {needed:.0f} s, and {left:.0f} s are left' if left < needed else ''
