"""A prepared data set for the user: a text, and a picture of some examples of every split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.data import pipeline
from mtkd_jax.datasets import DataSet, Prepared
from mtkd_jax.datasets.base import GIVEN
from mtkd_jax.reporting.panels import prediction_panel
from mtkd_jax.tasks import Task

SHOWN = 8  # examples in a picture
REASONS = 3  # examples of what is left out, in the text


def describe(data: Prepared, tasks: Sequence[Task]) -> str:
    """Counts, ranges (in the units of `tasks`), shares of classes, and remarks on the files."""
    made = data.metadata
    height, width = made['size']
    source = made['source'][:1].upper() + made['source'][1:]
    if 'parts' in made:
        lines = [f'{source} data, {height}x{width}; resampling: {made["resampling"]}.', *_pools(made)]
        return '\n'.join([*lines, '', *made.get('notes', ())])
    normals = f'; normals: {made["normals"]}' if 'normals' in made else ''
    lines = [f'{source} data, {height}x{width}{normals}.', f'Resampling: {made["resampling"]}.']
    told = ('depth', 'test_split', *GIVEN)
    lines += [f'{key.capitalize().replace("_", " ")}: {made[key]}.' for key in told if key in made]
    if 'targets' in made:
        lines.append(f'Targets: {", ".join(made["targets"])}.')
    units = {task.name: task.unit for task in tasks if task.unit}
    for split, summary in made['splits'].items():
        lines += [*_ranges(split, summary, units), _shares(summary, data.classes)]
        excluded = made.get('excluded', {}).get(split, ())
        if excluded:
            lines.append(_excluded(excluded, summary['examples']))
    return '\n'.join([*lines, '', *made.get('notes', ())])


def _ranges(split: str, summary: Mapping[str, Any], units: Mapping[str, str]) -> list[str]:
    title, undefined = f'{split}: {summary["examples"]} examples', dict(summary['undefined_percent'])
    lines = [f'\n{title:32}{"least":>10}{"mean":>10}{"most":>10}{"undefined":>12}']
    for name, values in summary['ranges'].items():
        shown = ''.join(f'{value:10.4f}' for value in values) if values else '  nothing is defined'.ljust(30)
        missing = undefined.pop(name, None)
        share = '' if missing is None else f'{missing:10.2f} %'
        unit = f' ({units[name]})' if name in units else ''
        lines.append(f'  {name + unit:30}{shown}{share}')
    # What has classes has no range.
    return lines + [f'  {f"{name} (void)":60}{share:10.2f} %' for name, share in undefined.items()]


def _shares(summary: Mapping[str, Any], classes: Sequence[str]) -> str:
    # Stored classes that are read as void have a share, but no name.
    shares = zip(classes, summary['class_percent'][-len(classes) :], strict=True)
    return '  classes: ' + ', '.join(f'{name} {share:.1f} %' for name, share in shares)


def _pools(made: Mapping[str, Any]) -> list[str]:
    """What each task's pool of images holds, per split."""
    lines = []
    for split, summary in made['splits'].items():
        lines.append(f'\n{split}: {summary["examples"]} images, mean brightness {summary["mean_brightness"]:.4f}')
        for task, count in made['parts'][split].items():
            least, most = summary['images_per_class'][task]
            each = f'{least}' if least == most else f'{least} to {most}'
            classes = len(made['classes'][task])
            lines.append(f'  {task:16}{count:8} images of {classes} classes, {each} of each')
    return lines


def _excluded(reasons: Sequence[str], examples: int) -> str:
    share = 100 * len(reasons) / (len(reasons) + examples)
    warning = 'WARNING: ' if share > 1 else ''
    shown = ''.join(f'\n    {reason}' for reason in reasons[:REASONS])
    rest = '\n    ... all of them: `excluded` in metadata.json' if len(reasons) > REASONS else ''
    return f'  {warning}{len(reasons)} more frames ({share:.2g} %) were left out:{shown}{rest}'


def sheet_file(data: Prepared, split: str) -> Path:
    """Where the picture of a split is."""
    return data.path / f'contact_{split}.png'


def shown_tasks(data_set: DataSet, data: Mapping[str, Any], found: Prepared) -> list[Task]:
    """The targets that prepared data have, as tasks that can be drawn: the deepest depth there is gets the last colour.

    `data`: the fields of a config's `data` that `found` was prepared with.
    """
    depths = [summary.get('ranges', {}).get('depth') for summary in found.metadata['splits'].values()]
    deepest = float(f'{max((depth[2] for depth in depths if depth), default=1.0):.2g}')
    tasks = data_set.tasks({**data, 'classes': found.class_count, 'depth_maximum': deepest})
    return [tasks[name] for name in found.metadata.get('targets', data_set.task_names)]


def write_sheets(data: Prepared, tasks: Sequence[Task]) -> list[Path]:
    """Draws some examples of every split, spread over it, with the targets of `tasks`."""
    written = []
    for split, source in data.sources.items():
        count = min(SHOWN, len(source))
        if isinstance(source, pipeline.Pools):
            batch = pipeline.first_examples(source, tasks, count)
        else:
            spread = np.linspace(0, len(source) - 1, count).round().astype(int)
            batch = pipeline.first_examples(pipeline.Subset(source, spread), tasks, count)
        path = prediction_panel(
            images=np.asarray(batch.image),
            truths={name: np.asarray(target.value) for name, target in batch.targets.items()},
            masks={name: np.asarray(target.mask) for name, target in batch.targets.items()},
            predictions={},
            tasks=tasks,
            path=sheet_file(data, split),
            title=f'{split}: {count} of {len(source)} examples',
        )
        written.append(path)
    return written
