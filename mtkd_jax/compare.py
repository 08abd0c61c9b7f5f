"""One table of several seeds: `python -m mtkd_jax.compare --workdirs='runs/rooms/seed*'`."""

import glob
from pathlib import Path

from absl import flags

from mtkd_jax import build, command
from mtkd_jax.reporting.seeds import seeds_table
from mtkd_jax.reporting.stages import load_stages
from mtkd_jax.tasks import Task
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.run import stage_folder
from mtkd_jax.types import UserError

WORKDIRS = flags.DEFINE_list(
    'workdirs', None, 'Workdirs of one recipe with different seeds, or patterns of them, separated by commas.'
)
PROTOCOL = flags.DEFINE_enum(
    'protocol', 'accumulated', ['accumulated', 'per_image_legacy'], 'Of segmentation metrics (docs/metrics.md).'
)


def compare(patterns: list[str], protocol: str) -> str:
    """The table of all workdirs that match."""
    found = sorted({Path(path) for pattern in patterns for path in glob.glob(pattern)})
    if not found:
        raise UserError(f'`workdirs` is {",".join(patterns)}, which matches no folder.')
    tasks: dict[str, Task] = {}
    for workdir, stage in [(path, stage) for path in found for stage in load_stages(path, ())]:
        folder = stage_folder(workdir, stage['stage']) / 'model'
        if set(stage['tasks']) - set(tasks) and (folder / 'model.json').is_file():
            spec, _ = load_model(folder)
            tasks |= {name: build.build_task(name, spec) for name in spec['tasks'] if name not in tasks}
    return seeds_table(found, list(tasks.values()), protocol)


def main() -> None:
    """Prints the table."""
    print(compare(command.value(WORKDIRS), PROTOCOL.value))


if __name__ == '__main__':
    command.start(main)
