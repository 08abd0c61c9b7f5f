"""What a program loses in 8 bits: calibrated on a split of the prepared data, measured on the test split."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mtkd_jax import datasets
from mtkd_jax.accumulate import Accumulator
from mtkd_jax.data.pipeline import Split
from mtkd_jax.data.sources import Pools, Subset
from mtkd_jax.experiment.models import Opened
from mtkd_jax.exporting import programs
from mtkd_jax.exporting.programs import Output, Program
from mtkd_jax.metrics import Metric
from mtkd_jax.names import choice
from mtkd_jax.records import split_branch
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.tables import NOTHING, markdown, percent
from mtkd_jax.tasks import Task
from mtkd_jax.training.evaluate import results, statistics
from mtkd_jax.types import UserError

BATCH = 8  # images at a time, where a program takes any number
TEST = 'test'


class Data(NamedTuple):
    """The images of a quantisation.

    Attributes:
        calibration: batches of them; the last is filled up with the first images.
        test: the split that the loss is measured on.
        about: which images these are, JSON.
    """

    calibration: Split
    test: Split
    about: dict[str, Any]


def data(opened: Opened, data_dir: str | None, split: str, images: int, size: Any, batch: int | None) -> Data:
    """The data that a model folder names, checked before anything is computed.

    Raises:
        UserError: there is no such split, it is the test split, or the images have another size than the program's.
        DataNotPrepared: they are not in `data_dir`.
    """
    if images < 1:
        raise UserError(f'`calibration_images` is {images}; give at least 1.')
    if split == TEST:
        raise UserError("`split` is 'test', on which the loss is measured; calibrate on another, such as train.")
    described, tasks = opened.spec['data'], tuple(opened.tasks)
    own = described['height'], described['width']
    if size is not None and tuple(size) != own:
        raise UserError(
            f'`size` is {size[0]}x{size[1]}, but the loss in 8 bits is measured on prepared images of {own[0]}x{own[1]}'
            '; leave `size` out, or give that.'
        )
    found = datasets.named(described['dataset']).open(described, data_dir)
    choice('split', split, tuple(name for name in found.sources if name != TEST))
    source, each = Split(found.sources[split], tasks, batch or BATCH).examples, batch or BATCH
    numbers = _spread(source, min(images, len(source)))
    filled = np.resize(numbers, each * math.ceil(len(numbers) / each))
    test = Split(found.sources[TEST], tasks, each)
    about = {
        'dataset': described['dataset'],
        'calibrated_on': {'split': split, 'images': len(numbers), 'of': len(source)},
        'measured_on': {'split': TEST, 'images': len(test.examples)},
    }
    return Data(Split(Subset(source, filled), tasks, each), test, about)


def _spread(source: Any, count: int) -> np.ndarray:
    """Numbers of `count` examples, spread over all; of `Pools`, fewer where a pool has fewer than its share."""
    if isinstance(source, Pools):
        return np.unique(source.spread(count))
    return np.linspace(0, len(source) - 1, count).round().astype(np.int64)


def quantised(program: Program, found: Sequence[Output], given: Data) -> tuple[Program, dict[str, Any], str]:
    """The ONNX program in 8 bits; what that loses, as JSON; and in words."""
    # An extra, which nothing else needs.
    from mtkd_jax.exporting import int8

    made = programs.runnable(int8.quantised(program.content, _images(given.calibration)), [o.name for o in found])
    before, after = (measured(each, found, given.test) for each in (program, made))
    metrics = {name: {'float32': _number(before[name]), 'int8': _number(after[name])} for name in before}
    calibrated, tested = given.about['calibrated_on'], given.about['measured_on']
    words = (
        f'int8: {int8.HOW} on {calibrated["images"]} of the {calibrated["of"]} images of `{calibrated["split"]}`; '
        f'{len(program.content) / 1e6:.1f} MB in float32. On the {tested["images"]} images of `{TEST}`:'
    )
    shown = table(before, after, list({output.task.name: output.task for output in found}.values()))
    return made, {'how': int8.HOW, **given.about, 'metrics': metrics}, f'{words}\n\n{shown}'


def described(content: bytes, said: Mapping[str, str]) -> bytes:
    """A program of `quantised` that says `said` of itself."""
    from mtkd_jax.exporting import int8

    return int8.described(content, said)


def _images(split: Split) -> Iterator[np.ndarray]:
    return (np.asarray(batch.image) for batch in split.ordered())


def measured(program: Program, found: Sequence[Output], split: Split) -> dict[str, float]:
    """The metrics of a program's predictions on a split, named and computed as by `evaluate`."""
    tasks = {output.task.name: output.task for output in found}
    measure = {name: jax.jit(functools.partial(statistics, task)) for name, task in tasks.items()}
    sums = {(o.branch, o.task.name): Accumulator(o.task.metrics.of_batch) for o in found}
    for batch in split.ordered():
        predictions = program.call(np.asarray(batch.image))
        for output in found:
            name = output.task.name
            counted = measure[name](predictions[output.name], batch.targets[name])
            sums[output.branch, name].add(jax.device_get(counted))
    return results(sums, list(tasks.values()))


def _number(value: float) -> float | None:
    """`value` for JSON, which has no NaN: nothing was defined."""
    return value if math.isfinite(value) else None


def table(before: Mapping[str, float], after: Mapping[str, float], tasks: Sequence[Task]) -> str:
    """What every metric and loss is in float32 and in 8 bits, as Markdown; the change is + where 8 bits are better."""
    labels = Labels.of(tasks)
    branches = list(dict.fromkeys(split_branch(name)[0] for name in before))
    lines = []
    each = [(name, *split_branch(name)) for name in before]
    for name, branch, metric in sorted(each, key=lambda one: (branches.index(one[1]), labels.order(one[2]))):
        difference = after[name] - before[name]
        lines.append(
            [
                f'{branch}: {labels.with_arrow(metric)}' if branch else labels.with_arrow(metric),
                labels.number(metric, before[name]),
                labels.number(metric, after[name]),
                f'{difference:+.{labels[metric].decimals}f}' if math.isfinite(difference) else NOTHING,
                percent(_change(before[name], after[name], labels.metric(metric))),
            ]
        )
    return markdown(['metric', 'float32', 'int8', 'difference', 'change, + is better'], lines)


def _change(before: float, after: float, metric: Metric | None) -> float | None:
    """In % of `before`, as in Δm; of a loss, which is no metric, less is better."""
    direction = metric.direction if metric else -1
    return direction * 100 * (after - before) / abs(before) if before and math.isfinite(after - before) else None
