"""One table of any runs: `python -m mtkd_jax.compare --workdirs='runs/rooms/seed*,runs/other'`.

A row is a network with its settings; runs that differ in nothing but their seed are one row, mean ± standard deviation.

    --baseline='kd_mtl, points last'    paired differences to that row
    --rank                              mean ranks, and which rows the seeds tell apart
    --format=latex --out=table.tex      markdown, csv, latex or json; csv and json have every digit and every seed
    --pictures=DIR                      predictions and errors of all networks side by side, a picture for each task
    --networks=traditional_kd,kd_mtl    only these stages in the pictures, in this order
"""

import sys
from pathlib import Path

from absl import flags

from mtkd_jax import command
from mtkd_jax.errors import UserError
from mtkd_jax.files import write_text
from mtkd_jax.places import local

WORKDIRS = flags.DEFINE_list(
    'workdirs', None, 'Workdirs of any runs, or patterns of them, separated by commas.', allow_override=True
)
PROTOCOL = flags.DEFINE_enum(
    'protocol', 'accumulated', ['accumulated', 'legacy'], "Ours, or the papers' (docs/metrics.md).", allow_override=True
)
BASELINE = flags.DEFINE_string(
    'baseline', None, 'The row that the others are compared with, seed by seed.', allow_override=True
)
RANK = flags.DEFINE_bool('rank', False, 'Rank all rows by Δm, seed by seed.', allow_override=True)
FORMAT = flags.DEFINE_enum(
    'format', 'markdown', ['markdown', 'csv', 'latex', 'json'], 'How the table is written.', allow_override=True
)
OUT = flags.DEFINE_string('out', None, 'A file for the table; without it the table is printed.', allow_override=True)
PICTURES = flags.DEFINE_string(
    'pictures', None, 'A folder for pictures of the networks side by side.', allow_override=True
)
NETWORKS = flags.DEFINE_list(
    'networks',
    [],
    'Stages that the pictures show, in this order; single-task: those together; none given: all.',
    allow_override=True,
)
DATA_DIR = flags.DEFINE_string(
    'data_dir',
    None,
    'Where prepared data lie, for the pictures; default $TFDS_DATA_DIR or ~/tensorflow_datasets.',
    allow_override=True,
)
ALLOW_MODULES = flags.DEFINE_bool(
    'allow_modules',
    False,
    "Import a Python module that a model folder names (somebody's own backbone or data set), which runs its code.",
    allow_override=True,
)


def compare(
    patterns: list[str],
    protocol: str = 'accumulated',
    allow_modules: bool = False,
    baseline: str | None = None,
    rank: bool = False,
    form: str = 'markdown',
) -> str:
    """The table of all workdirs that match, as `form`; of a run of several seeds, of the workdirs of its seeds.

    Raises:
        UserError: nothing matches, there is no such row or format, or what is asked for cannot be said.
    """
    # Here, because --help does without jax and what imports it.
    from mtkd_jax.experiment.models import tasks_of_stage
    from mtkd_jax.experiment.results import workdirs
    from mtkd_jax.names import choice
    from mtkd_jax.records import STAGES, seed_folders
    from mtkd_jax.reporting.compared import compared
    from mtkd_jax.reporting.contrasts import against, ranking
    from mtkd_jax.reporting.formats import FORMATS, Page
    from mtkd_jax.reporting.rows import stages_by_folder
    from mtkd_jax.tasks import Task

    write = FORMATS[choice('format', form, FORMATS)]
    found: list[Path] = []
    for given in workdirs(patterns):
        seeds = seed_folders(given)
        found += [*([given] if (given / STAGES).is_dir() or not seeds else []), *seeds]
    tasks: dict[str, Task] = {}
    for folder, stage in [item for path in found for item in stages_by_folder(path, ()).items()]:
        if set(stage['tasks']) - set(tasks):
            tasks = {task.name: task for task in tasks_of_stage(folder, stage, allow_modules)} | tasks
    rows = compared(found, list(tasks.values()), protocol)
    return write(Page(rows, against(rows, baseline) if baseline else None, ranking(rows) if rank else None))


def main() -> None:
    """Prints the table, or writes it."""
    patterns = command.value(WORKDIRS)
    out = local(OUT.value, 'out', 'tables are written to files') if OUT.value else None
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise UserError(f'`out` is {str(out)!r}, which can be no file; give one in a folder that exists.')
    if NETWORKS.value and not PICTURES.value:
        raise UserError('`networks` chooses what pictures show; give --pictures=DIR, too.')
    pictures = local(PICTURES.value, 'pictures', 'they are written to files') if PICTURES.value else None
    if pictures is not None and pictures.exists() and not pictures.is_dir():
        raise UserError(f'`pictures` is {str(pictures)!r}, which is no folder; give another.')
    text = compare(patterns, PROTOCOL.value, ALLOW_MODULES.value, BASELINE.value, RANK.value, FORMAT.value)
    if out is None:
        print(text)
    else:
        write_text(out, text + '\n')
    if pictures is not None:
        from mtkd_jax.experiment.comparing import workdirs_compared  # here, because --help does without
        from mtkd_jax.experiment.results import workdirs

        drawn = workdirs_compared(workdirs(patterns), NETWORKS.value, pictures, DATA_DIR.value, ALLOW_MODULES.value)
        # The table may be read from standard output by a program.
        print(*drawn, sep='\n', file=sys.stderr)


if __name__ == '__main__':
    command.start(main)
