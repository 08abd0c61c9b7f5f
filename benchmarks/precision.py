"""What types and rematerialisation change: results over seeds, time and memory of one job.

    python -m benchmarks.precision --seeds=0,1,2 --out=runs/precision [--recipe=rooms]
        [--fields='--config.epochs=1 --config.widths=(4,4,4,4,4)'] [--variants=float32,teachers,bfloat16,remat]

Trains the recipe by `python -m mtkd_jax.main`, once for every seed and variant, in turns, in OUT/VARIANT/seedN; a run
that was stopped continues, and what is finished is not trained again. `remat` runs with the first seed only: its
results are those of `float32` up to rounding, and how far they are apart is printed.

Prints one Markdown table, a row for every variant and network: metrics, mean ± sample deviation over the seeds; the
median of their seconds a step (single-task networks: of all of them); how long the first seed compiled, which found no
program of another run; and, of the last stage, the memory that XLA sets aside for a step's intermediate values.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from benchmarks.ours import Ours
from benchmarks.random_batch import random_batch
from mtkd_jax import command, configs, records
from mtkd_jax.experiment.plans import plans, tasks_of
from mtkd_jax.reporting.rows import load_stages
from mtkd_jax.reporting.seeds import seeds_rows
from mtkd_jax.reporting.tables import markdown
from mtkd_jax.tasks import Task
from mtkd_jax.types import UserError

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    'float32': {'compute_dtype': 'float32', 'teacher_dtype': 'float32'},
    'teachers': {'compute_dtype': 'float32', 'teacher_dtype': 'bfloat16'},
    'bfloat16': {'compute_dtype': 'bfloat16', 'teacher_dtype': 'bfloat16'},
    'remat': {'compute_dtype': 'float32', 'teacher_dtype': 'float32', 'remat': True},
}
ONCE = ('remat',)
"""Variants that run with the first seed only."""

SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds, separated by commas.')
OUT = flags.DEFINE_string('out', None, 'The folder of all runs.')
RECIPE = flags.DEFINE_string('recipe', 'rooms', 'What is trained, as --config takes it: three tasks of dense images.')
FIELDS = flags.DEFINE_string('fields', '', 'Further flags of every run, separated by spaces: --config.epochs=1')
CHOSEN = flags.DEFINE_list('variants', list(VARIANTS), f'Of {", ".join(VARIANTS)}.')


def place(variant: str, seed: str) -> Path:
    """The workdir of a run."""
    return Path(command.value(OUT)) / variant / f'seed{seed}'


def train(variant: str, seed: str) -> None:
    """Runs what is not finished.

    Raises:
        UserError: the run failed.
    """
    workdir = place(variant, seed)
    # One stage at a time, or no step is timed alone.
    changes = {**VARIANTS[variant], 'seed': seed, 'stages_at_once': 1}
    given = [f'--config.{name}={value}' for name, value in changes.items()]
    print(f'{workdir} ...', file=sys.stderr, flush=True)
    what = [f'--config={RECIPE.value}', f'--workdir={workdir}', *given, *FIELDS.value.split()]
    done = subprocess.run(
        [sys.executable, '-m', 'mtkd_jax.main', *what],
        # Of its own for every variant, so that the first seed compiles.
        env={**os.environ, 'JAX_COMPILATION_CACHE_DIR': str((workdir.parent / 'compiled').absolute())},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise UserError(f'The run in {workdir} ended with status {done.returncode}; see above.')


def config_of(workdir: Path) -> ConfigDict:
    """The config that a run wrote."""
    config = configs.load(RECIPE.value)
    stored = flatten_dict(json.loads((workdir / 'config.json').read_text()), sep='.')
    config.update_from_flattened_dict({k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()})
    return config


def intermediate_bytes(workdir: Path) -> tuple[str, int]:
    """(the last stage of a run, memory of the intermediate values of its step)."""
    config = config_of(workdir)
    name = plans(config)[-1].name
    kept = records.read_choices(records.stage_folder(workdir, name)).get('cache_teachers', 'off')
    batch = random_batch(config.batch_size, config.data.height, config.data.width)
    return name, Ours(config, batch, cached=kept != 'off').intermediate


def timing(workdirs: Sequence[Path], title: str, name: str) -> list[float]:
    """An entry of `timing` of all stages that the row `title` stands for, by workdir."""
    found = [stage for workdir in workdirs for stage in load_stages(workdir, ())]
    named = [
        s for s in found if title.partition(' (')[0] in (s['stage'], 'single-task' if s['method'] == 'stl' else '')
    ]
    return [stage['timing'][name] for stage in named if stage['timing'].get(name) is not None]


def rows_of(
    variant: str, workdirs: Sequence[Path], tasks: Sequence[Task], memory: Mapping[str, int]
) -> tuple[list[str], list[list[str]]]:
    """(heads, rows) of a variant; `memory`: bytes by stage."""
    found = seeds_rows(workdirs, tasks)
    body = []
    for title, *cells in found.body:
        steps, compiling = timing(workdirs, title, 'step_seconds'), timing(workdirs[:1], title, 'compile_seconds')
        own = memory.get(title.partition(' (')[0])
        body.append(
            [
                f'{variant}: {title}',
                *cells,
                f'{1000 * statistics.median(steps):.1f}' if steps else '–',
                f'{sum(compiling):.1f}' if compiling else '–',
                '–' if own is None else f'{own / 2**20:.1f}',
            ]
        )
    heads = [*found.heads, 'step (ms)', 'compilation (s)', 'intermediate values (MiB)']
    return heads, body


def apart(first: Path, second: Path) -> str:
    """How far two runs of one seed are apart, in words."""
    results = [{s['stage']: s['results'] for s in load_stages(path, ())} for path in (first, second)]
    found = {
        f'{stage}/{name}': abs(value - results[1][stage][name]) / max(abs(value), 1e-12)
        for stage, metrics in results[0].items()
        for name, value in metrics.items()
    }
    worst = max(found, key=lambda name: found[name])
    return f'{second} differs from {first} by at most {100 * found[worst]:.2g} % of a result ({worst}).'


def main() -> None:
    """Trains in turns, then prints."""
    unknown = [name for name in CHOSEN.value if name not in VARIANTS]
    if unknown or not CHOSEN.value:
        raise UserError(f'`variants` is {",".join(CHOSEN.value)}; give some of {", ".join(VARIANTS)}.')
    seeds = SEEDS.value
    if not seeds or not all(seed.isdecimal() for seed in seeds):
        raise UserError(f'`seeds` is {",".join(seeds)}; give whole numbers, such as 0,1,2.')
    runs = {variant: seeds[:1] if variant in ONCE else seeds for variant in CHOSEN.value}
    for seed in seeds:
        for variant, of_variant in runs.items():
            if seed in of_variant:
                train(variant, seed)
    body: list[list[str]] = []
    heads: list[str] = []
    for variant, of_variant in runs.items():
        workdirs = [place(variant, seed) for seed in of_variant]
        tasks = tasks_of(config_of(workdirs[0]))
        heads, own = rows_of(variant, workdirs, tasks, dict([intermediate_bytes(workdirs[0])]))
        body += own
    print(markdown(heads, body))
    if {'float32', 'remat'} <= set(runs):
        print('\n' + apart(place('float32', seeds[0]), place('remat', seeds[0])))


if __name__ == '__main__':
    command.start(main)
