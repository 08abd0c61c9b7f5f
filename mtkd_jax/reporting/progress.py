"""The progress of a stage: a live line on a terminal, an occasional plain line elsewhere (a file, a batch log)."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

import rich.progress as bars
from rich.console import Console
from rich.table import Column

SECONDS = 10.0
ROUNDING = 2e-3  # of a total: the mean of products is not quite the product of means


class Lines:
    """The live lines of a terminal, of stages that are trained at the same time. A line stays when its stage ends."""

    def __init__(self) -> None:
        self._bar: bars.Progress | None = None
        self._count, self._lock, self._stack = 0, threading.Lock(), ExitStack()

    def begin(self, console: Console) -> bars.Progress:
        """What shows the lines, one more from now on."""
        with self._lock:
            if self._bar is None:
                self._bar = self._stack.enter_context(_bar(console))
                self._stack.enter_context(_logging_above_the_line())
            self._count += 1
            return self._bar

    def end(self, line: bars.TaskID) -> None:
        """The line changes no more: it goes above those that do."""
        with self._lock:
            self._count -= 1
            if self._bar is None or not self._count:
                self._bar = None
                self._stack.close()
                return
            self._bar.console.print(self._bar.make_tasks_table([task for task in self._bar.tasks if task.id == line]))
            self._bar.remove_task(line)


class Progress:
    """Shows a stage's progress on stdout. Use as a context manager.

    Args:
        title: the stage's name.
        total_steps: updates in the whole stage.
        start_step: updates that an earlier run has done already.
        steps_per_epoch: with it the epoch is shown, and plain output has a line where each one ends.
        every_seconds: plain output has at most one line in this many seconds, besides those of ending epochs.
        unit: what a step is called.
        before: shown until the first step is done.
        lines: those of a terminal, where several are shown at the same time; None: this one alone.
        in_all: (steps left, seconds of a step with its share of all else, or None) → what is said of the whole run.
        first: called when the first steps are done.
    """

    def __init__(
        self,
        title: str,
        total_steps: int,
        start_step: int = 0,
        steps_per_epoch: int | None = None,
        every_seconds: float = SECONDS,
        unit: str = 'step',
        before: str = 'compiling',
        lines: Lines | None = None,
        in_all: Callable[[int, float | None], str] | None = None,
        first: Callable[[], None] | None = None,
    ) -> None:
        self._title, self._total, self._step, self._per_epoch = title, total_steps, start_step, steps_per_epoch
        self._every_seconds, self._unit, self._before = every_seconds, unit, before
        self._in_all, self._began = in_all or (lambda left, each: ''), time.monotonic()
        self._first = first
        self._clock: tuple[int, float] | None = None
        self._printed = -float('inf')
        self._console = Console(highlight=False)
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._bar: bars.Progress | None = None
        self._lines = lines or Lines()

    def __enter__(self) -> 'Progress':
        in_all = self._in_all(self._total - self._step, None)
        if not self._live and in_all:
            _print(f'{self._title}: {in_all}')
        if self._live:
            self._bar = self._lines.begin(self._console)
            self._task = self._bar.add_task(
                self._title,
                total=self._total,
                completed=self._step,
                epoch='',
                losses='',
                speed=self._before,
                left=in_all,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._lines.end(self._task)
            self._bar = None

    def update(self, step: int, losses: dict[str, float] | None, images_per_second: float | None) -> None:
        """`step` updates are done. Of `losses`, those named `loss/...` are shown."""
        now = time.monotonic()
        if self._clock is None:
            # Counted from the first call: what comes before it is mostly compilation.
            self._clock = step, now
            if self._first is not None:
                self._first()
        self._step = step
        speed = (
            '' if images_per_second is None else f'{images_per_second:,.{0 if images_per_second >= 100 else 1}f} img/s'
        )
        epoch, shown, left = self._epoch(), loss_text(losses or {}), self._left(now)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, epoch=epoch, losses=shown, speed=speed, left=left)
        elif self._ends_epoch() or now - self._printed >= self._every_seconds:
            self._printed = now
            share = f'{step:,}/{self._total:,} ({100 * step // max(self._total, 1)}%)'
            parts = [epoch, f'{self._unit} {share}', shown, speed, left]
            _print(f'{self._title}: {", ".join(part for part in parts if part)}')

    def message(self, text: str) -> None:
        """A line that stays, above the live line."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, soft_wrap=True)
        else:
            _print(text)

    def _ends_epoch(self) -> bool:
        return self._step == self._total or bool(self._per_epoch and self._step % self._per_epoch == 0)

    def _epoch(self) -> str:
        if not self._per_epoch:
            return ''
        # The last step of an epoch still belongs to it.
        return f'epoch {max(self._step - 1, 0) // self._per_epoch + 1}/{self._total // self._per_epoch}'

    def _left(self, now: float) -> str:
        first, began = self._clock or (self._step, now)
        left, each = self._total - self._step, None
        if self._step > first:
            each = (now - began) / (self._step - first)
        own = '' if each is None else f'{duration(each * left)} left'
        # What came before the first call is shared by all steps.
        in_all = self._in_all(left, None if each is None else each + (began - self._began) / self._total)
        return ', '.join(part for part in (own if left else 'done', in_all) if part)


class SplitProgress:
    """Shows one progress line per split. Use as a context manager.

    Args:
        doing: what is done with them.
    """

    def __init__(self, doing: str = 'rendering') -> None:
        self._doing, self._split = doing, ''
        self._stack = ExitStack()

    @property
    def began(self) -> bool:
        """Whether anything was written."""
        return bool(self._split)

    def __enter__(self) -> 'SplitProgress':
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stack.close()

    def __call__(self, split: str, done: int, total: int) -> None:
        """`done` of the split's `total` examples are written; the first call for a split says where it begins."""
        if split != self._split:
            self._split = split
            self._stack.close()
            self._shown = self._stack.enter_context(
                Progress(f'{self._doing} {split}', total, unit='example', before='')
            )
        self._shown.update(done, None, None)


def loss_text(losses: dict[str, float]) -> str:
    """`loss 2.5 = depth 0.5 + 2 x normals 0.6 + distillation 0.8`: what the total is made of.

    Where the weighting has no weights (its direction is no sum of losses), the tasks' losses stand in brackets.
    """
    tasks = {name.removeprefix('loss/'): value for name, value in losses.items() if name.startswith('loss/')}
    total = tasks.pop('total', None)
    if total is None:
        each = ', '.join(f'{name} {value:.3f}' for name, value in tasks.items())
        return each and f'loss {each}'
    weights = {name: losses.get(f'weight/{name}', 1.0) for name in tasks}
    left = total - sum(weights[name] * value for name, value in tasks.items())
    distils = any(name.startswith('distillation/') for name in losses)
    adds_up = abs(left) < ROUNDING * max(abs(total), 1.0)
    if not (adds_up or distils):
        return f'loss {total:.3f} ({", ".join(f"{name} {value:.3f}" for name, value in tasks.items())})'
    parts = [f'{"" if weights[name] == 1 else f"{weights[name]:.3g} x "}{name} {v:.3f}' for name, v in tasks.items()]
    # What the labels' share changes (annealing) is in it, too.
    parts += [] if adds_up else [f'distillation {left:.3f}']
    return f'loss {total:.3f}' if len(parts) == 1 else f'loss {total:.3f} = {" + ".join(parts)}'


def duration(seconds: float) -> str:
    """`0:42`, `12:05` or `3:02:10`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{rest:02d}' if hours else f'{minutes}:{rest:02d}'


def about(seconds: float) -> str:
    """`about 40 s`, `about 6 min` or `about 3.2 h`: an estimate."""
    if seconds < 55:
        return f'about {max(round(seconds, -1), 10):.0f} s'
    return f'about {seconds / 60:.0f} min' if seconds < 6000 else f'about {seconds / 3600:.1f} h'


def _print(text: str) -> None:
    # In one piece: other threads may write, too.
    sys.stdout.write(f'{text}\n')
    sys.stdout.flush()


def _bar(console: Console) -> bars.Progress:
    def text(field: str, column: Column | None = None) -> bars.TextColumn:
        return bars.TextColumn(f'{{{field}}}', markup=False, table_column=column or Column(no_wrap=True))

    return bars.Progress(
        text('task.description'),
        text('task.fields[epoch]'),
        bars.BarColumn(bar_width=20),
        bars.MofNCompleteColumn(),
        text('task.fields[speed]'),
        text('task.fields[left]'),
        # Last and elastic: on a narrow terminal the single losses are cut first.
        text('task.fields[losses]', Column(ratio=1, no_wrap=True, overflow='ellipsis')),
        console=console,
        expand=True,
        refresh_per_second=4,
    )


@contextmanager
def _logging_above_the_line() -> Iterator[None]:
    """Log handlers that hold on to the real stderr would write into the live line: they get the redirected one."""
    changed = []
    for handler in logging.root.handlers:
        # absl's handler wraps the one that has the stream.
        inner = getattr(handler, 'python_handler', handler)
        if isinstance(inner, logging.StreamHandler) and inner.stream in (sys.__stderr__, sys.__stdout__):
            changed.append((inner, inner.setStream(sys.stderr)))
    try:
        yield
    finally:
        for handler, stream in changed:
            if stream is not None:
                handler.setStream(stream)
