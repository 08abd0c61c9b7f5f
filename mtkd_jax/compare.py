"""One table of several seeds: `python -m mtkd_jax.compare --workdirs='runs/rooms/seed*'`."""

from absl import flags

from mtkd_jax import command

WORKDIRS = flags.DEFINE_list(
    'workdirs', None, 'Workdirs of one recipe with different seeds, or patterns of them, separated by commas.'
)
PROTOCOL = flags.DEFINE_enum(
    'protocol', 'accumulated', ['accumulated', 'legacy'], "Ours, or the papers' (docs/metrics.md)."
)

ALLOW_MODULES = flags.DEFINE_bool(
    'allow_modules',
    False,
    "Import a Python module that a model folder names (somebody's own backbone or data set), which runs its code.",
    allow_override=True,
)


def compare(patterns: list[str], protocol: str, allow_modules: bool = False) -> str:
    """The table of all workdirs that match."""
    # Here, because --help does without jax and what imports it.
    from mtkd_jax.experiment.models import build_tasks, check_modules
    from mtkd_jax.experiment.results import workdirs
    from mtkd_jax.records import MODEL, stage_folder
    from mtkd_jax.reporting.rows import load_stages
    from mtkd_jax.reporting.seeds import seeds_table
    from mtkd_jax.tasks import Task
    from mtkd_jax.training.folder import load_model

    found = workdirs(patterns)
    tasks: dict[str, Task] = {}
    for workdir, stage in [(path, stage) for path in found for stage in load_stages(path, ())]:
        folder = stage_folder(workdir, stage['stage']) / MODEL
        if set(stage['tasks']) - set(tasks) and (folder / 'model.json').is_file():
            spec, _ = load_model(folder)
            check_modules(spec, folder, allow_modules)
            tasks = {task.name: task for task in build_tasks(spec)} | tasks
    return seeds_table(found, list(tasks.values()), protocol)


def main() -> None:
    """Prints the table."""
    print(compare(command.value(WORKDIRS), PROTOCOL.value, ALLOW_MODULES.value))


if __name__ == '__main__':
    command.start(main)
