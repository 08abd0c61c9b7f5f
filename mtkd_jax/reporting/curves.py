"""Curves of all stages of a run in one picture: losses, distillation losses and metrics over epochs.

Of several seeds, lines are means, with bands.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mtkd_jax.metrics import PER_BATCH, without_legacy
from mtkd_jax.records import KINDS, METRICS, RATE, losses_of, read_records, split_branch, stage_folder, stage_folders
from mtkd_jax.reporting.figures import save_png
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.reported_task import ReportedTask

Records = Sequence[Mapping[str, Any]]


class Line(NamedTuple):
    """A line of a diagram: `values` over `epochs`; of several seeds their mean, and the band from `low` to `high`."""

    stage: str
    branch: str
    epochs: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class Panel(NamedTuple):
    """A diagram. Those of a `group` stand together; those of the same `name` side by side, on one scale."""

    group: int
    name: str
    title: str
    lines: Sequence[Line]


COLUMNS = 4
STYLES = ('-', '--', ':', '-.')  # of branches
LOG_RATIO = 30  # a diagram whose values differ by more than this factor is logarithmic
MARKS = 10  # on a line, about
# Of networks. The colours are those that Okabe and Ito chose for all kinds of colour vision, with grey for their
# yellow; as there are seven markers, the pair is another for each of 56 networks.
COLOURS = ('#0072b2', '#e69f00', '#009e73', '#d55e00', '#cc79a7', '#56b4e9', '#000000', '#8c8c8c')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')


def draw_workdir(workdir: Path, tasks: Iterable[ReportedTask]) -> Path | None:
    """Draws `workdir/figures/curves.png` from every stage's `metrics.jsonl`; None when nothing is recorded.

    Numbers of tasks other than `tasks` are called by their names.
    """
    return draw(_read(workdir), tasks, _file(workdir))


def draw_seeds(workdir: Path, seeds: Sequence[Path], tasks: Iterable[ReportedTask]) -> Path | None:
    """Draws `workdir/figures/curves.png` of runs in `seeds`, two at least, that differ in their seed only.

    Lines are means over all seeds, with a band of ± one sample standard deviation; of two seeds the band is from the
    lower to the higher. Lines and epochs that a seed does not have are left out. None when nothing is left.
    """
    labels = Labels.of(tasks)
    each = [_panels(_read(seed), labels) for seed in seeds]
    band = 'from the lower to the higher' if len(seeds) == 2 else 'of ± one standard deviation'
    return _draw(_means(each), _file(workdir), f'mean of {len(seeds)} seeds, with a band {band}')


def draw(records: Mapping[str, Records], tasks: Iterable[ReportedTask], path: Path) -> Path | None:
    """Writes a PNG with one small diagram per loss and metric, and in each a line per stage (and branch).

    `records`: stage → records with `step`, `epoch`, `split` and numbers by name. Returns None when there are none.
    """
    return _draw(_panels(records, Labels.of(tasks)), path)


def _file(workdir: Path) -> Path:
    return workdir / 'figures' / 'curves.png'


def _read(workdir: Path) -> dict[str, Records]:
    return {folder.name: list(read_records(folder)) for folder in stage_folders(workdir, METRICS)}


def _draw(panels: Sequence[Panel], path: Path, note: str = '') -> Path | None:
    rows = _rows(panels)
    if not rows:
        return None
    figure = Figure(figsize=(4 * COLUMNS, 2.7 * len(rows) + 0.9), layout='constrained')
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    families = _families(panels)
    entries: dict[str, Line2D] = {}
    for row, of_row in zip(axes, rows, strict=True):
        for axis, panel in zip(row, of_row, strict=False):
            entries.update(_draw_panel(axis, panel, families))
        for (one, panel), (other, following) in itertools.pairwise(zip(row, of_row, strict=False)):
            if panel.name == following.name:
                _on_one_scale(one, other)
        for axis in row[len(of_row) :]:
            axis.axis('off')
    names = sorted(entries, key=lambda name: (families.index(name.partition(' (')[0]), name))
    handles = [entries[name] for name in names]
    # A letter of this size is about 0.095 inches wide, the sample of the line 0.7.
    across = int(4 * COLUMNS / (0.7 + 0.095 * max(map(len, names))))
    columns = max(1, min(across, len(names)))
    figure.legend(handles, names, loc='outside upper center', ncols=columns, fontsize=11, title=note or None)
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
            axis.plot(*zip(*known, strict=True), label=name, **_look(i, len(known)))
        axis.set_title(f'{title}, training', fontsize=11)
        axis.set_xlabel('epoch')
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9)
    return save_png(figure, workdir / 'figures' / f'{losses_of(stage)}.png', dpi=110)


def _rows(panels: Sequence[Panel]) -> list[list[Panel]]:
    """At most `COLUMNS` diagrams side by side; training losses, distillation and metrics each begin a new row."""
    groups = [[panel for panel in panels if panel.group == group] for group in sorted({p.group for p in panels})]
    return [group[i : i + COLUMNS] for group in groups for i in range(0, len(group), COLUMNS)]


def _panels(records: Mapping[str, Records], labels: Labels) -> list[Panel]:
    """Every diagram: losses, of training and of evaluations, distillation, then metrics as tables order them."""
    series: dict[tuple[str, str], dict[tuple[str, str], tuple[list[float], list[float]]]] = {}
    constant = _constant_weights(records)
    for stage, of_stage in records.items():
        for record in of_stage:
            for key, value in record.items():
                branch, name = split_branch(key)
                if (
                    not _shown(name, record['split'], labels)
                    or _repeats(stage, key, record)
                    or (stage, key) in constant
                ):
                    continue
                epochs, values = series.setdefault((record['split'], name), {}).setdefault((stage, branch), ([], []))
                epochs.append(record['epoch'])
                values.append(value)
    order = {key: _order(*key, labels) for key in series}
    return [
        Panel(order[key][0], key[1], _title(*key, labels), [Line(*who, *line) for who, line in series[key].items()])
        for key in sorted(series, key=order.__getitem__)
    ]


def _means(each: Sequence[Sequence[Panel]]) -> list[Panel]:
    """The same diagrams of all seeds in one: lines that all of them have."""
    by_place = [{(panel.title, *line[:2]): line for panel in of for line in panel.lines} for of in each]
    found = []
    for panel in each[0]:
        places = [(panel.title, *line[:2]) for line in panel.lines]
        lines = [_mean([of[place] for of in by_place]) for place in places if all(place in of for of in by_place)]
        if lines := [line for line in lines if line.epochs]:
            found.append(panel._replace(lines=lines))
    return found


def _mean(lines: Sequence[Line]) -> Line:
    """Over the epochs that all of them have."""
    by_epoch = [dict(zip(line.epochs, line.values, strict=True)) for line in lines]
    epochs = [epoch for epoch in lines[0].epochs if all(epoch in of for of in by_epoch)]
    values = np.array([[of[epoch] for epoch in epochs] for of in by_epoch])
    mean = values.mean(axis=0)
    if len(lines) == 2:
        low, high = values.min(axis=0), values.max(axis=0)
    else:
        spread = values.std(axis=0, ddof=1)
        low, high = mean - spread, mean + spread
    return lines[0]._replace(epochs=epochs, values=mean.tolist(), low=low.tolist(), high=high.tolist())


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
    return any(name.endswith(f'/{key}') for name in record) and record['split'] == 'train'


def _shown(name: str, split: str, labels: Labels) -> bool:
    """Losses; agreement, weights and rate of training; diagnostics; metrics of evaluations. Not positions or timing."""
    if split == 'train':
        return name == RATE or name.startswith(('loss/', 'distillation/', 'agreement/', 'weight/'))
    metric = labels.metric(name)
    # Per batch, numbers are nearly those over all pixels.
    return name not in ('step', 'epoch', 'split') and not name.endswith(PER_BATCH) and not (metric and metric.section)


def _order(split: str, name: str, labels: Labels) -> tuple[Any, ...]:
    if name == RATE:
        return 0, True, len(labels.named) + 1  # after the total
    kind, _, task = name.partition('/')
    if kind in KINDS:
        return KINDS.index(kind), name == 'loss/total', labels.place(f'loss/{task}'), name, split != 'train', split
    plain = without_legacy(name)
    return len(KINDS), plain != name, labels.place(plain), name, split


def _title(split: str, name: str, labels: Labels) -> str:
    metric = labels.metric(name)
    arrow = '' if metric is None else f' {labels.arrow(metric.direction)}'
    where = 'training' if split == 'train' else split
    return str(labels[name]) if name == RATE else f'{labels[name]}{arrow}, {where}'


def _family(stage: str) -> str:
    """Single-task stages share a colour: no two of them are in the same diagram."""
    return 'single-task' if stage.startswith('stl_') else stage


def _families(panels: Sequence[Panel]) -> list[str]:
    names = {_family(line.stage) for panel in panels for line in panel.lines}
    return sorted(names, key=lambda name: (name != 'single-task', name))


def _look(i: int, points: int) -> dict[str, Any]:
    """Of the i-th network or task: colour, and a marker on some of its points, others than those of the next."""
    every = max(1, points // MARKS)
    return {
        'color': COLOURS[i % len(COLOURS)],
        'marker': MARKERS[i % len(MARKERS)],
        'markevery': (2 * i % every, every),
        'markersize': 4,
        'linewidth': 1.5,
    }


def _draw_panel(axis: Axes, panel: Panel, families: Sequence[str]) -> dict[str, Line2D]:
    """Draws one diagram; returns its legend entries."""
    entries = {}
    known = [value for line in panel.lines for value in line.values if math.isfinite(value)]
    logarithmic = bool(known) and min(known) > 0 and max(known) > LOG_RATIO * min(known)
    branches = sorted({line.branch for line in panel.lines})
    for line in panel.lines:
        family = _family(line.stage)
        style = STYLES[branches.index(line.branch) % len(STYLES)]
        look = _look(families.index(family), len(line.epochs))
        (drawn,) = axis.plot(line.epochs, line.values, linestyle=style, **look)
        if line.low:
            # A logarithmic diagram ends where a band that reaches 0 does not.
            low = np.maximum(line.low, min(known) / 2) if logarithmic else line.low
            axis.fill_between(line.epochs, low, line.high, color=look['color'], alpha=0.2, linewidth=0)
        entries[f'{family} ({line.branch})' if line.branch else family] = drawn
    axis.set_title(panel.title, fontsize=10)
    axis.set_xlabel('epoch', fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlim(left=0)
    if logarithmic:
        axis.set_yscale('log')
    return entries


def _on_one_scale(one: Axes, other: Axes) -> None:
    """Gives two diagrams the same values up and down, so that heights can be compared, where their scales allow it."""
    if 'log' in (one.get_yscale(), other.get_yscale()):
        if min(one.dataLim.y0, other.dataLim.y0) <= 0:
            return
        one.set_yscale('log')
        other.set_yscale('log')
    other.sharey(one)
    one.autoscale(axis='y')
