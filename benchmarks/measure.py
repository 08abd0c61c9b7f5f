"""One measurement of `benchmarks.accelerator`, in a process of its own.

    python -m benchmarks.measure --entry=step_kd_mtl_float32_2 [--size=288x384] [--widths=64,128,256,512,512]
        [--images=795] [--steps=20]

Prints a JSON object in a line for everything that it has measured: `facts` of the machine, and `what` with `seconds`,
or with why there are none (`failed`, `skipped`). The exit status is 1 where something failed.
"""

import functools
import sys

from absl import flags

from benchmarks.kinds import KINDS
from benchmarks.measurement import Measurement, Options, facts
from benchmarks.ours import parse_widths
from benchmarks.plan import ENTRIES
from mtkd_jax import command
from mtkd_jax.training.compiled import keep_compiled

ENTRY = flags.DEFINE_enum('entry', None, [entry.name for entry in ENTRIES], 'What is measured.', allow_override=True)
SIZE = flags.DEFINE_string('size', '288x384', 'Height x width.', allow_override=True)
WIDTHS = flags.DEFINE_list(
    'widths', [], "Channels of the network's blocks; the paper's by default.", allow_override=True
)
IMAGES = flags.DEFINE_integer('images', 795, 'Training images of an epoch.', allow_override=True)
STEPS = flags.DEFINE_integer('steps', 20, 'Timed steps of each side.', allow_override=True)


def measure() -> None:
    """Measures the entry that the flags name."""
    entry = {entry.name: entry for entry in ENTRIES}[command.value(ENTRY)]
    size, widths = command.parse_size(SIZE.value), parse_widths(WIDTHS.value)
    options = Options(size, widths, IMAGES.value, STEPS.value)
    keep_compiled()
    to = Measurement()
    if entry.kind != 'published':
        to.record(facts=facts())
    to.attempt(entry.kind, functools.partial(KINDS[entry.kind], entry, options, to))
    if to.failed:
        sys.exit(1)


if __name__ == '__main__':
    command.start(measure)
