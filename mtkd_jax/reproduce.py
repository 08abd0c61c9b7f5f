"""Plans, runs and writes a table of the papers: `python -m mtkd_jax.reproduce --table=kdmtl/2 --workdir=runs/kdmtl2`.

    --table=kdmtl/1 ... kdmtl/4, sdmtcnn/1 ... sdmtcnn/5
    --row=method=kd_mtl,points=last    in place of --table a row of your own, by its recipe; may be given several times
    --dataset=rooms    the table's rows on another data set; by default on its own, with the paper's protocol
                       (with --row also a config of your own, --dataset=FILE.py)
    --seeds=5          seeds 0 to 4, paired
    --search=8         the main setting of every method that has one is searched first, with so many trials
    --keep_defaults    what was searched stands beside the row of the defaults, not in its place
    --field=epochs=20  a field of all configs; may be given several times
    --dry_run          says what would be trained, and how long that takes
    --tflops=40        with --dry_run: by arithmetic, for a device that does so many 10¹² operations a second; data need
                       not be there (--images=N training images, where their papers do not say)

Stages that several rows need are trained once. What is finished is kept: the same command continues, and several
processes (or the tasks of a Slurm array) may work in one workdir at the same time. The table is `WORKDIR/table.md`, its
numbers are `WORKDIR/table.json`.
"""

import ast
import os
import signal
import sys
from typing import Any

from absl import flags

from mtkd_jax import command
from mtkd_jax.errors import UserError
from mtkd_jax.places import local
from mtkd_jax.training.stop import StoppedError, StopRequest

TABLE = flags.DEFINE_string('table', None, 'The table: kdmtl/2, sdmtcnn/5, ...')
ROWS = flags.DEFINE_multi_string(
    'row', [], 'The recipe of a row of your own, in place of --table.', allow_override=True
)
WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Where the study keeps everything; the same command continues it.', allow_override=True
)
DATASET = flags.DEFINE_string(
    'dataset', '', "The config of a data set; the table's own by default.", allow_override=True
)
SEEDS = flags.DEFINE_integer('seeds', 5, 'How many seeds, from 0.', allow_override=True)
SEARCH = flags.DEFINE_integer('search', 0, 'Trials of the search before; 0: none.', allow_override=True)
KEEP_DEFAULTS = flags.DEFINE_bool(
    'keep_defaults', False, 'Searched rows stand beside those of the defaults.', allow_override=True
)
FIELDS = flags.DEFINE_multi_string('field', [], 'NAME=VALUE, a field of all configs.', allow_override=True)
DRY_RUN = flags.DEFINE_bool(
    'dry_run', False, 'Say what would be trained, and how long that takes.', allow_override=True
)
TFLOPS = flags.DEFINE_float(
    'tflops', 0.0, "With --dry_run: the device's sustained 10¹² operations a second; 0: steps are timed here."
)
IMAGES = flags.DEFINE_integer('images', 0, 'With --tflops: training images, where the data set does not say.')


def fields(given: list[str]) -> dict[str, Any]:
    """Fields by name, from `name=value`.

    Raises:
        UserError: one is not of that form.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition('=')
        if not (name and equals):
            raise UserError(f'--field={text}: give NAME=VALUE, such as --field=epochs=20.')
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def main() -> None:
    """Plans; then says what there is to do, or does it and writes the table."""
    given = fields(FIELDS.value)
    if bool(TABLE.value) == bool(ROWS.value):
        raise UserError('Give a table of the papers, --table=kdmtl/2, or rows of your own, --row=method=kd_mtl.')
    if KEEP_DEFAULTS.value and not SEARCH.value:
        raise UserError('--keep_defaults is given without --search=N; leave it out.')
    if TFLOPS.value < 0 or IMAGES.value < 0:
        raise UserError(f'`tflops` is {TFLOPS.value:g} and `images` {IMAGES.value}; give numbers above 0.')
    if (TFLOPS.value and not DRY_RUN.value) or (IMAGES.value and not TFLOPS.value):
        raise UserError('--tflops=... goes with --dry_run, and --images=... with --tflops.')
    if SEEDS.value < 1:
        raise UserError(f'`seeds` is {SEEDS.value}; give at least 1.')
    # Here, because --help does without jax.
    from mtkd_jax.experiment import reproduction
    from mtkd_jax.experiment.estimates import Unopened, counted, measured, plan
    from mtkd_jax.experiment.reproducing import Reproduction
    from mtkd_jax.records import STAGES
    from mtkd_jax.training.compiled import keep_compiled

    wanted = (
        reproduction.own_rows(ROWS.value, command.value(DATASET))
        if ROWS.value
        else reproduction.choose(command.value(TABLE), DATASET.value)
    )
    keep_compiled()
    workdir = local(command.value(WORKDIR), 'workdir', 'rows share stages by links, which stores do not have')
    with StopRequest((signal.SIGTERM, signal.SIGINT)) as stop:
        try:
            opened = Unopened(IMAGES.value) if TFLOPS.value else None
            if opened and (workdir / STAGES).exists():
                raise UserError(
                    f'--tflops plans without the data, so what is finished in {workdir} cannot be told; leave it out, '
                    'or give another workdir.'
                )
            made = Reproduction(wanted, workdir, range(SEEDS.value), given, SEARCH.value, KEEP_DEFAULTS.value, opened)
            if DRY_RUN.value:
                rate = f'a device of {TFLOPS.value:g}·10¹² operations a second'
                estimate = (counted(TFLOPS.value), rate) if TFLOPS.value else (measured, 'this machine')
                print(plan(made.jobs, *estimate))
                return
            table, failed = made.run(stop)
        except StoppedError as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(stop.status)
        except KeyboardInterrupt:
            # The second one.
            os._exit(128 + signal.SIGINT)
    for error in failed:
        print(f'error: {error}', file=sys.stderr)
    print(f'Table: {table}')
    if failed:
        sys.exit(1)


if __name__ == '__main__':
    command.start(main)
