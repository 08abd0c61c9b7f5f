"""Everything about speed on an accelerator, in one call that keeps to a time budget.

    python -m benchmarks.accelerator --out=DIR [--minutes=10] [--size=288x384] [--widths=64,128,256,512,512]
        [--images=795] [--steps=20] [--only=NAME,...]

Measures, in order of importance (`benchmarks/plan.py`), at the size of NYUv2 and with random data:

- `step_*` and `compiled_*`: a step of KD-MTL and of `uniform`, float32 and bfloat16, batches of 2 and 8, with and
  without cached teachers, and PyTorch's in turns with it, eager and compiled. Bfloat16 is autocast there, and it and
  what is compiled are channels last. `roofline` is the least time that the device's matrix products and its bandwidth
  allow, both measured, ÷ the time.
- `epoch_*`: data on the device, many steps in one call. `published_*`: the same epoch as published PyTorch code trains
  it: `DataLoader`, `.to(device)`, a step, `.item()` of every loss.
- `seeds_*`: seconds per step and seed of three seeds, one after another and vmapped; `÷ ours` above 1: vmapping pays.
- GiB: what XLA sets aside for the program; of PyTorch and of epochs, the largest that was in use.

Each is a process of its own with a time limit. What failed, no longer fits into the time or needs PyTorch, which is not
there, is said and stops nothing else. `accelerator.json` and `accelerator.md` in DIR are written after every record;
what a process says on its error stream is in DIR/logs. The exit status is 1 if a measurement failed. `--only` chooses
measurements by name, for what a first call had no time for; compiled programs are kept between calls, so that
`compile_seconds` is the compiler's only in the first.
"""

import functools
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from benchmarks import process
from benchmarks.ours import configured, parse_widths
from benchmarks.plan import ENTRIES, Budget, Entry
from benchmarks.results import NAME, Results
from mtkd_jax import command
from mtkd_jax.names import suggestion
from mtkd_jax.types import UserError

OUT = flags.DEFINE_string('out', None, 'The folder of the results.', allow_override=True)
MINUTES = flags.DEFINE_float('minutes', 10, 'What all measurements may take together.', allow_override=True)
SIZE = flags.DEFINE_string('size', '288x384', 'Height x width.', allow_override=True)
WIDTHS = flags.DEFINE_list(
    'widths', [], "Channels of the network's blocks; the paper's by default.", allow_override=True
)
IMAGES = flags.DEFINE_integer('images', 795, 'Training images of an epoch.', allow_override=True)
STEPS = flags.DEFINE_integer('steps', 20, 'Timed steps of each side.', allow_override=True)
ONLY = flags.DEFINE_list('only', [], 'Names of measurements; all by default.', allow_override=True)

FEWEST = 8  # images: an epoch of fewer has no steps to time

Run = Callable[[Entry, float, Callable[[str], None]], tuple[str, str]]
"""(measurement, seconds, what takes its lines) → its state and the reason: see `run_entry`."""


def chosen() -> list[Entry]:
    """The measurements that the flags name, checked."""
    entries = {entry.name: entry for entry in ENTRIES}
    for name in ONLY.value:
        if name not in entries:
            raise UserError(f'`only` names {name!r}.{suggestion(name, list(entries))} There are {", ".join(entries)}.')
    if not MINUTES.value > 0:
        raise UserError(f'`minutes` is {MINUTES.value}; give more than 0.')
    for name, number, least in (('images', IMAGES.value, FEWEST), ('steps', STEPS.value, 1)):
        if number < least:
            raise UserError(f'`{name}` is {number}; it must be at least {least}.')
    # Refuses sizes and widths before a process is started for them.
    configured('kd_mtl', command.parse_size(SIZE.value), 2, 'float32', widths=parse_widths(WIDTHS.value))
    return [entry for entry in ENTRIES if not ONLY.value or entry.name in ONLY.value]


def run_entry(logs: Path, entry: Entry, limit: float, take: Callable[[str], None]) -> tuple[str, str]:
    """Measures `entry` for no more than `limit` seconds: its state, and why unless it is `done`.

    `take` gets the lines that it prints.
    """
    values = {'size': SIZE.value, 'widths': ','.join(WIDTHS.value), 'images': IMAGES.value, 'steps': STEPS.value}
    call = [sys.executable, '-m', 'benchmarks.measure', f'--entry={entry.name}']
    call += [f'--{name}={value}' for name, value in values.items() if value]
    # Both sides share a GPU: ours must not take most of its memory at once. PyTorch's threads wait asleep on a CPU.
    environment = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false', 'OMP_WAIT_POLICY': 'passive', **os.environ}
    out, err = logs / f'{entry.name}.jsonl', logs / f'{entry.name}.err'
    status = process.run(call, environment, limit, out, err, take)
    if status is None:
        return 'late', f'ended after {limit:.0f} s'
    return ('done', '') if status == 0 else ('failed', process.reason(status, err))


def measure_all(entries: Sequence[Entry], budget: Budget, results: Results, torch: bool, run: Run) -> None:
    """Measures what fits into the budget; `torch`: whether PyTorch is there."""
    for entry in entries:
        refusal = budget.refusal(entry, torch)
        if refusal:
            results.end(entry, 'skipped', 0, refusal)
            print(f'{entry.name}: skipped, {refusal}', flush=True)
            continue
        results.begin(entry)
        limit, before = budget.limit(entry), budget.left
        state, why = run(entry, limit, functools.partial(add, results, entry))
        seconds = before - budget.left
        if state != 'failed':
            budget.took(entry, seconds)
        if state == 'late':
            # At its own limit, something is wrong with it; at the end of the budget, nothing is.
            state = 'unfinished' if limit >= before else 'failed'
        results.end(entry, state, seconds, why)
        print(f'{entry.name}: {state} in {seconds:.0f} s{why and ", "}{why}', flush=True)


def add(results: Results, entry: Entry, line: str) -> None:
    """Adds what a line of the process of `entry` says."""
    results.add(entry, json.loads(line))


def main() -> None:
    """Measures everything, prints the table."""
    began = time.monotonic()
    folder, entries = Path(command.value(OUT)), chosen()
    logs = folder / 'logs'
    logs.mkdir(parents=True, exist_ok=True)
    torch = importlib.util.find_spec('torch') is not None
    if not torch:
        print('PyTorch is not installed (pip install "mtkd_jax[torch]"): its rows are skipped.', flush=True)
    given = {'minutes': MINUTES.value, 'size': SIZE.value, 'widths': WIDTHS.value, 'images': IMAGES.value}
    results = Results(folder, {**given, 'steps': STEPS.value})
    budget = Budget(60 * MINUTES.value - (time.monotonic() - began))
    process.end_on_signal()
    measure_all(entries, budget, results, torch, functools.partial(run_entry, logs))
    print(f'\n{results.markdown()}\n{folder / NAME}.json, {folder / NAME}.md')
    if results.failed:
        sys.exit(1)


if __name__ == '__main__':
    command.start(main, errors=(process.EndedError,))
