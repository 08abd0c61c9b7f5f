"""Curves of all stages of a run in one picture: training losses, distillation losses and metrics over epochs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mtkd_jax.metrics import PER_BATCH, without_legacy
from mtkd_jax.records import KINDS, METRICS, losses_of, read_records, split_branch, stage_folder, stage_folders
from mtkd_jax.reporting.figures import save_png
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.reported_task import ReportedTask

Records = Sequence[Mapping[str, Any]]
Line = tuple[str, str, list[float], list[float]]  # stage, branch, epochs, values
Panel = tuple[int, str, list[Line]]  # group, title, lines

COLUMNS = 4
STYLES = ('-', '--', ':', '-.')
LOG_RATIO = 30  # a diagram whose values differ by more than this factor is logarithmic
COLOURS = matplotlib.colormaps['tab10']


def draw_workdir(workdir: Path, tasks: Iterable[ReportedTask]) -> Path | None:
    """Draws `workdir/figures/curves.png` from every stage's `metrics.jsonl`; None when nothing is recorded.

    Numbers of tasks other than `tasks` are called by their names.
    """
    records = {folder.name: list(read_records(folder)) for folder in stage_folders(workdir, METRICS)}
    return draw(records, tasks, workdir / 'figures' / 'curves.png')


def draw(records: Mapping[str, Records], tasks: Iterable[ReportedTask], path: Path) -> Path | None:
    """Writes a PNG with one small diagram per loss and metric, and in each a line per stage (and branch).

    `records`: stage → records with `step`, `epoch`, `split` and numbers by name. Returns None when there are none.
    """
    rows = _rows(_panels(records, Labels.of(tasks)))
    if not rows:
        return None
    figure = Figure(figsize=(4 * COLUMNS, 2.7 * len(rows) + 0.9), layout='constrained')
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    colours = _colours(records)
    entries: dict[str, Line2D] = {}
    for row, panels in zip(axes, rows, strict=True):
        for axis, (_, title, lines) in zip(row, panels, strict=False):
            entries.update(_draw_panel(axis, title, lines, colours))
        for axis in row[len(panels) :]:
            axis.axis('off')
    names = sorted(entries, key=lambda name: (list(colours).index(name.partition(' (')[0]), name))
    handles = [entries[name] for name in names]
    # A letter of this size is about 0.095 inches wide, the sample of the line 0.7.
    across = int(4 * COLUMNS / (0.7 + 0.095 * max(map(len, names))))
    columns = max(1, min(across, len(names)))
    figure.legend(handles, names, loc='outside upper center', ncols=columns, fontsize=11)
    return save_png(figure, path, dpi=110)


def draw_losses(workdir: Path, stage: str, tasks: Iterable[ReportedTask]) -> Path | None:
    """Draws `figures/STAGE_losses.png` as figures 4 and 5 of Li & Bilen (2020); None where the stage distils nothing.

    Task losses of all tasks are in one diagram, distillation losses in another, over the epochs of training.
    """
    records = [r for r in read_records(stage_folder(workdir, stage)) if r['split'] == 'train']
    kinds = [('loss', 'task-specific loss'), ('distillation', 'distillation loss')]
    names = [task.name for task in tasks]
    if not any(f'distillation/{name}' in record for record in records for name in names):
        return None
    figure = Figure(figsize=(9, 3.4), layout='constrained')
    for axis, (kind, title) in zip(figure.subplots(1, 2), kinds, strict=True):
        for i, name in enumerate(names):
            known = [(r['epoch'], r[f'{kind}/{name}']) for r in records if f'{kind}/{name}' in r]
            axis.plot(*zip(*known, strict=True), color=COLOURS(i % COLOURS.N), label=name, linewidth=1.5)
        axis.set_title(f'{title}, training', fontsize=11)
        axis.set_xlabel('epoch')
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9)
    return save_png(figure, workdir / 'figures' / f'{losses_of(stage)}.png', dpi=110)


def _rows(panels: Sequence[Panel]) -> list[list[Panel]]:
    """At most `COLUMNS` diagrams side by side; training losses, distillation and metrics each begin a new row."""
    groups = [[panel for panel in panels if panel[0] == group] for group in sorted({panel[0] for panel in panels})]
    return [group[i : i + COLUMNS] for group in groups for i in range(0, len(group), COLUMNS)]


def _panels(records: Mapping[str, Records], labels: Labels) -> list[Panel]:
    """Every diagram: training losses, distillation, then metrics as tables order them."""
    series: dict[tuple[str, str], dict[tuple[str, str], tuple[list[float], list[float]]]] = {}
    constant = _constant_weights(records)
    for stage, of_stage in records.items():
        for record in of_stage:
            for key, value in record.items():
                branch, name = split_branch(key)
                if not _shown(name, record['split']) or _repeats(stage, key, record) or (stage, key) in constant:
                    continue
                epochs, values = series.setdefault((record['split'], name), {}).setdefault((stage, branch), ([], []))
                epochs.append(record['epoch'])
                values.append(value)
    order = {key: _order(*key, labels) for key in series}
    return [
        (order[key][0], _title(*key, labels), [(*who, *line) for who, line in series[key].items()])
        for key in sorted(series, key=order.__getitem__)
    ]


def _constant_weights(records: Mapping[str, Records]) -> set[tuple[str, str]]:
    """(stage, number) of the task weights that never change."""
    seen: dict[tuple[str, str], set[float]] = {}
    for stage, of_stage in records.items():
        for record in of_stage:
            for key, value in record.items():
                if key.startswith('weight/'):
                    seen.setdefault((stage, key), set()).add(value)
    return {where for where, values in seen.items() if len(values) == 1}


def _repeats(stage: str, key: str, record: Mapping[str, Any]) -> bool:
    """Whether a number is drawn elsewhere: a single-task network's total, a sum over branches that stand beside it."""
    if key == 'loss/total':
        return stage.startswith('stl_')
    return any(name.endswith(f'/{key}') for name in record)


def _shown(name: str, split: str) -> bool:
    """Losses, agreement, weights of training; diagnostics; metrics of evaluations. Not positions or timing."""
    if split == 'train':
        return name.startswith(('loss/', 'distillation/', 'agreement/', 'weight/'))
    # Per batch, numbers are nearly those over all pixels.
    return not name.startswith('loss/') and name not in ('step', 'epoch', 'split') and not name.endswith(PER_BATCH)


def _order(split: str, name: str, labels: Labels) -> tuple[Any, ...]:
    if split in ('train', 'diagnostics'):
        kind, _, task = name.partition('/')
        return KINDS.index(kind), name == 'loss/total', labels.place(f'loss/{task}'), name
    plain = without_legacy(name)
    return len(KINDS), plain != name, labels.place(plain), (name, split)


def _title(split: str, name: str, labels: Labels) -> str:
    where = 'training' if split == 'train' else split
    return f'{labels[name]}, {where}'


def _family(stage: str) -> str:
    """Single-task stages share a colour: no two of them are in the same diagram."""
    return 'single-task' if stage.startswith('stl_') else stage


def _colours(records: Mapping[str, Records]) -> dict[str, Any]:
    families = sorted({_family(stage) for stage in records}, key=lambda name: (name != 'single-task', name))
    return {family: COLOURS(i % COLOURS.N) for i, family in enumerate(families)}


def _draw_panel(axis: Axes, title: str, lines: Sequence[Line], colours: Mapping[str, Any]) -> dict[str, Line2D]:
    """Draws one diagram; returns its legend entries."""
    entries = {}
    for stage, branch, epochs, values in lines:
        family = _family(stage)
        style = STYLES[sorted({line[1] for line in lines}).index(branch) % len(STYLES)]
        # Few points: show where they are; a single one would otherwise be invisible.
        marker = 'o' if len(epochs) <= 30 else ''
        (drawn,) = axis.plot(epochs, values, style, color=colours[family], marker=marker, markersize=3.5, linewidth=1.5)
        entries[f'{family} ({branch})' if branch else family] = drawn
    axis.set_title(title, fontsize=10)
    axis.set_xlabel('epoch', fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlim(left=0)
    known = [value for *_, values in lines for value in values if math.isfinite(value)]
    if known and min(known) > 0 and max(known) > LOG_RATIO * min(known):
        axis.set_yscale('log')
    return entries
