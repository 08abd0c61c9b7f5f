"""Sections that account for a run: what ran, what it cost, how numbers were chosen, pictures, settings."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from mtkd_jax.records import COMPARED, SETTINGS, stage_folders
from mtkd_jax.reporting.progress import duration
from mtkd_jax.reporting.reported_task import ReportedTask
from mtkd_jax.reporting.tables import markdown
from mtkd_jax.types import MAIN

Stages = Sequence[Mapping[str, Any]]


def what_ran(workdir: Path, stages: Stages, known: Collection[str]) -> str:
    """A line per stage, and a caution about differences between seeds."""
    lines = [_line(stage) for stage in stages]
    finished = {stage['stage'] for stage in stages}
    begun = [folder.name for folder in stage_folders(workdir, SETTINGS)]
    lines += [f'- **{name}**: begun, not finished; it is not in the tables.' for name in begun if name not in finished]
    unknown = sorted({task for stage in stages for task in stage['tasks']} - set(known))
    if unknown:
        lines.append(f'- Not shown: {", ".join(unknown)}, which the command that wrote this report did not have.')
    return '\n\n'.join(['\n'.join(lines), *_machines(stages), _caution(stages)])


def _line(stage: Mapping[str, Any]) -> str:
    timing = stage.get('timing') or {}
    network = f'{stage.get("backbone", "a network")}, {", ".join(stage["tasks"])}'
    data = f'data `{stage.get("dataset", "unknown")}`, seed {stage.get("seed", "unknown")}'
    if stage.get('steps') is None:
        trained = 'given, not trained here'
    else:
        trained = f'{stage["epochs"]} epochs, {stage["steps"]:,} steps'
        if timing.get('train_seconds') is not None:
            trained += f' in {_time(timing["train_seconds"])}'
        if timing.get('device'):
            trained += f' on {timing["device"]}'
    return f'- **{stage["stage"]}**: {network}; {data}; {trained}.'


def _machines(stages: Stages) -> list[str]:
    """What computed the stages, where their results say it; several, if they differ."""
    by_text: dict[str, list[str]] = {}
    for stage in (stage for stage in stages if stage.get('machine')):
        by_text.setdefault(machine(stage['machine']), []).append(stage['stage'])
    if not by_text:
        return []
    told = [f'{text}.' if len(by_text) == 1 else f'{", ".join(names)}: {text}.' for text, names in by_text.items()]
    note = (
        'Another machine, or another number of cores, rounds otherwise, and training makes such differences as large '
        'as those between seeds.'
    )
    return [f'{" ".join(told)} {note}']


def machine(found: Mapping[str, Any]) -> str:
    """What computed a stage (`machine` of its results)."""
    versions = ', '.join(f'{name} {version}' for name, version in (found.get('versions') or {}).items())
    commit = f' at commit {found["commit"]}' if found.get('commit') else ''
    return (
        f'{found.get("processor", "unknown processor")}, {found.get("cores", "unknown")} cores, Python '
        f'{found.get("python", "unknown")}, {versions}{commit}'
    )


def _caution(stages: Stages) -> str:
    seeds = sorted({str(stage.get('seed', 'unknown')) for stage in stages})
    if len(seeds) > 1:
        return (
            f'The stages have different seeds ({", ".join(seeds)}) and each ran once: a difference between two rows '
            'may be the seed, and none of them is shown to be significant.'
        )
    return (
        f'One seed ({seeds[0]}) was run. How much another seed would change is not measured here, so no difference '
        'between two rows is shown to be significant.'
    )


def cost(stages: Stages) -> str:
    """Parameters, speed and memory of every stage."""
    header = [
        'stage',
        'network parameters',
        'other parameters, in training only',
        'step (ms, median)',
        'images/s',
        'peak memory',
        'training',
        'waiting for data',
        'compilation',
        'device',
        'compute',
    ]
    note = (
        'Times are those of training steps, without evaluation and compilation. Peak memory is the most that the '
        'process had used when the stage ended (an accelerator: device memory; a CPU: resident memory), so a later '
        'stage of the same process never shows less than an earlier one.'
    )
    parts = [markdown(header, [_cost(stage) for stage in stages]), note]
    if any(set(stage.get('branches') or {}) - {MAIN} for stage in stages):
        parts += [_branches(stages), BRANCHES]
    return '\n\n'.join(parts)


BRANCHES = (
    'Parameters, and floating-point operations for one image as XLA counts them before its optimisations, of what is '
    'deployed: shared layers count in every branch, and what a branch does not need is not computed.'
)


def _branches(stages: Stages) -> str:
    rows = [
        [stage['stage'], branch, f'{cost["parameters"]:,}', _operations(cost)]
        for stage in stages
        for branch, cost in (stage.get('branches') or {}).items()
    ]
    return markdown(['stage', 'deployed', 'parameters', '10⁹ operations per image'], rows)


def _operations(cost: Mapping[str, Any]) -> str:
    return '–' if cost['operations'] is None else f'{cost["operations"] / 1e9:,.2f}'


def _cost(stage: Mapping[str, Any]) -> list[str]:
    timing, parameters = stage.get('timing') or {}, stage.get('parameters') or {}
    others = {name: count for name, count in parameters.items() if name != 'network'}

    def show(name: str, text: str, scale: float = 1.0) -> str:
        value = timing.get(name)
        return '–' if value is None else text.format(value * scale)

    memory, seconds = timing.get('peak_memory_bytes'), timing.get('train_seconds')
    settings = stage.get('settings') or {}
    dtype = timing.get('compute_dtype') or settings.get('compute_dtype', '–')
    teachers = f', teachers {settings["teacher_dtype"]}' if 'teacher_dtype' in settings else ''
    return [
        stage['stage'],
        f'{parameters["network"]:,}' if 'network' in parameters else '–',
        ', '.join(f'{name} {count:,}' for name, count in others.items()) or '–',
        show('step_seconds', '{:,.1f}', 1000),
        show('images_per_second', '{:,.1f}'),
        '–' if memory is None else _bytes(memory),
        '–' if seconds is None else _time(seconds),
        show('waiting_share', '{:.0f} %', 100),
        show('compile_seconds', '{:.1f} s'),
        str(timing.get('device', '–')),
        f'{dtype}{teachers}',
    ]


def _time(seconds: float) -> str:
    if seconds < 60:
        return f'{seconds:.1f} s'
    return f'{duration(seconds)} {"min" if seconds < 3600 else "h"}'


def _bytes(count: float) -> str:
    return f'{count / 2**30:.2f} GiB' if count >= 2**30 else f'{count / 2**20:.0f} MiB'


def selection(stages: Stages) -> str:
    """Which epoch the numbers are of, and whether something was chosen on the test split."""
    notes: dict[str, list[str]] = {}
    for stage in stages:
        chosen = stage.get('selection') or {}
        text = f'`{chosen["rule"]}`: {chosen["note"]}' if chosen else 'The selection rule is not recorded.'
        notes.setdefault(text, []).append(stage['stage'])
    if len(notes) == 1:
        return next(iter(notes))
    return '\n'.join(f'- {", ".join(names)}: {text}' for text, names in notes.items())


def curves(workdir: Path) -> str:
    """The picture of all curves, where there is one."""
    return picture(workdir, 'curves') or 'No curves were drawn.'


def panels(workdir: Path, stages: Stages) -> str:
    """The picture of every stage, where there is one."""
    found = [f'**{s["stage"]}**\n\n{found}' for s in stages if (found := picture(workdir, s['stage']))]
    return '\n\n'.join(found) or 'No predictions were drawn.'


def side_by_side(workdir: Path, tasks: Sequence[ReportedTask], place: str = '') -> str:
    """The pictures of all networks side by side, a task each; `place`: from the report's folder to `workdir`."""
    found = [picture(workdir, f'{COMPARED}_{task.name}', place) for task in tasks]
    return '\n\n'.join([SIDE_BY_SIDE, *filter(None, found)]) if any(found) else ''


SIDE_BY_SIDE = (
    'The images are chosen by a rule, which stands below each picture: the best, the median and the worst of the test '
    'split for one of the networks. What holds for three images need not hold for the split; that is in the tables.'
)


def picture(workdir: Path, name: str, place: str = '') -> str:
    """A link to the picture of that name in `figures/`; '' where there is none. `place`: see `side_by_side`."""
    return f'![{name}]({place}figures/{name}.png)' if (workdir / 'figures' / f'{name}.png').is_file() else ''


def settings(stages: Stages) -> str:
    """All settings of the first stage, and of the others what differs from it."""
    first = _texts(stages[0].get('settings') or {})
    parts = [f'{stages[0]["stage"]}:\n\n{_block(first)}']
    for stage in stages[1:]:
        own = _texts(stage.get('settings') or {})
        changed = {name: value for name, value in own.items() if name not in first or first[name] != value}
        changed |= dict.fromkeys((name for name in first if name not in own), '(not set)')
        body = _block(changed) if changed else 'the same.'
        parts.append(f'{stage["stage"]}, where it differs from {stages[0]["stage"]}:\n\n{body}')
    return '\n\n'.join(parts)


def _block(flat: Mapping[str, str]) -> str:
    width = max((len(name) for name in flat), default=0)
    return '\n'.join(['```', *(f'{name:{width}} = {value}' for name, value in flat.items()), '```'])


def _texts(tree: Mapping[str, Any]) -> dict[str, str]:
    """Every setting by its dotted name, as JSON."""
    return {name: json.dumps(value, ensure_ascii=False) for name, value in flatten_dict(dict(tree), sep='.').items()}
