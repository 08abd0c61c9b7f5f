"""What a prepared data set holds, for a person: a text, and a picture of some examples of every split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtkd_jax.data import pipeline
from mtkd_jax.data.builders import Prepared, describe_parts
from mtkd_jax.reporting.panels import prediction_panel
from mtkd_jax.tasks import Task

SHOWN = 8  # examples in a picture
REASONS = 3  # examples of what is left out, in the text


def describe(data: Prepared) -> str:
    """Counts, ranges, shares of classes, and what a user should know of the files."""
    made = data.metadata
    height, width = made['size']
    source = made['source'][:1].upper() + made['source'][1:]
    if 'parts' in made:
        lines = [f'{source} data, {height}x{width}; resampling: {made["resampling"]}.', *describe_parts(made)]
        return '\n'.join([*lines, '', *made.get('notes', ())])
    normals = f'; normals: {made["normals"]}' if 'normals' in made else ''
    lines = [f'{source} data, {height}x{width}{normals}.', f'Resampling: {made["resampling"]}.']
    lines += [f'{key.capitalize().replace("_", " ")}: {made[key]}.' for key in ('depth', 'test_split') if key in made]
    if 'targets' in made:
        lines.append(f'Targets: {", ".join(made["targets"])}.')
    units = {'depth': '' if made.get('depth', '').startswith('inverse') else ' (m)'}
    for split, summary in made['splits'].items():
        title = f'{split}: {summary["examples"]} examples'
        lines.append(f'\n{title:32}{"least":>10}{"mean":>10}{"most":>10}{"undefined":>12}')
        for name, values in summary['ranges'].items():
            shown = ''.join(f'{value:10.4f}' for value in values) if values else '  nothing is defined'.ljust(30)
            missing = summary['undefined_percent'].get(name)
            share = '' if missing is None else f'{missing:10.2f} %'
            lines.append(f'  {name + units.get(name, ""):30}{shown}{share}')
        lines.append(f'  {"segmentation (void)":60}{summary["undefined_percent"]["segmentation"]:10.2f} %')
        # Stored classes that are read as void have a share, but no name.
        shares = zip(data.classes, summary['class_percent'][-len(data.classes) :], strict=True)
        lines.append('  classes: ' + ', '.join(f'{name} {share:.1f} %' for name, share in shares))
        excluded = made.get('excluded', {}).get(split, ())
        if excluded:
            lines.append(_excluded(excluded, summary['examples']))
    return '\n'.join([*lines, '', *made.get('notes', ())])


def _excluded(reasons: Sequence[str], examples: int) -> str:
    share = 100 * len(reasons) / (len(reasons) + examples)
    warning = 'WARNING: ' if share > 1 else ''
    shown = ''.join(f'\n    {reason}' for reason in reasons[:REASONS])
    rest = '\n    ... all of them: `excluded` in metadata.json' if len(reasons) > REASONS else ''
    return f'  {warning}{len(reasons)} more frames ({share:.2g} %) were left out:{shown}{rest}'


def sheet_file(data: Prepared, split: str) -> Path:
    """Where the picture of a split is."""
    return data.path / f'contact_{split}.png'


def write_sheets(data: Prepared, tasks: Sequence[Task]) -> list[Path]:
    """Draws some examples of every split, spread over it, with the targets of `tasks`."""
    written = []
    for split, source in data.sources.items():
        count = min(SHOWN, len(source))
        if isinstance(source, pipeline.Parts):
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
