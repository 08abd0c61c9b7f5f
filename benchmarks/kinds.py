"""The kinds of measurements of `benchmarks.accelerator`: steps, epochs, seeds."""

import functools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.against import Exact, compared, in_torch
from benchmarks.measurement import Measurement, Options, facts, with_torch
from benchmarks.ours import Ours, Parts, configured
from benchmarks.plan import Entry
from benchmarks.random_batch import random_batch
from benchmarks.random_data import RandomFrames, write_files
from benchmarks.seeds import SEEDS, Several
from benchmarks.timing import Side, bandwidth, in_turns, matrix_product_rate, rounded
from mtkd_jax.data.pipeline import Split
from mtkd_jax.training import device
from mtkd_jax.training.checkpoint import Position
from mtkd_jax.training.feed import MOST, Chunked
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.resident import Residence

ROOMS = (64, 96), (16, 24, 32, 64, 64)  # size and widths
LONG = 30.0  # seconds: of a longer published epoch, so much is measured


def config_of(entry: Entry, options: Options) -> Any:
    """The config of an entry."""
    size, widths = ROOMS if entry.rooms else (options.size, options.widths)
    return configured(entry.method, size, entry.batch, entry.dtype, widths=widths)


def timed(seconds: Sequence[float]) -> dict[str, Any]:
    """Median and range."""
    return {'seconds': round(statistics.median(seconds), 6), 'range': rounded(seconds)}


def step(entry: Entry, options: Options, to: Measurement) -> None:
    """A step: ours, ours with cached teachers, and PyTorch's, each in turns with ours."""
    config = config_of(entry, options)
    batch = random_batch(config.batch_size, config.data.height, config.data.width)
    parts = Parts(config, batch.image.shape)
    rate, transfer = matrix_product_rate(config.compute_dtype), bandwidth()
    sides: dict[str, Any] = {}

    def own(what: str, cached: bool) -> None:
        side = Ours(config, batch, cached, parts)
        (found,) = in_turns([side], options.steps)
        sides[what] = side
        bound = max(side.operations / rate, side.transferred / transfer)
        to.record(
            what=what,
            **timed(found),
            bound_seconds=round(bound, 6),
            share_of_bound=round(bound / statistics.median(found), 3),
            gigaoperations=round(side.operations / 1e9, 2),
            gigabytes=round(side.transferred / 1e9, 3),
            matrix_product_gigaoperations_per_second=round(rate / 1e9, 1),
            bandwidth_gigabytes_per_second=round(transfer / 1e9, 1),
            memory_gib=round(side.memory / 2**30, 2),
            compile_seconds=round(side.compile_seconds, 1),
        )

    own('ours', False)
    if parts.plan.teachers:
        to.attempt('ours, cached', functools.partial(own, 'ours, cached', True))
    if not with_torch():
        for how in entry.against:
            to.record(what=how, skipped='PyTorch is not installed')
        return
    exact = to.attempt('comparison of losses', lambda: Exact(config, batch)) if entry.exact else None
    for how in entry.against:
        to.attempt(how, functools.partial(beside, options, config, batch, how, exact, sides, to))


def beside(
    options: Options, config: Any, batch: Any, how: str, exact: Exact | None, sides: dict[str, Any], to: Measurement
) -> None:
    """A step in PyTorch, in turns with ours."""
    other = in_torch(config, exact or sides['ours'], batch, how)
    agreement = compared(exact, other) if exact else {}
    all_sides: list[Side] = [*sides.values(), other]
    *own, seconds = in_turns(all_sides, options.steps)
    middle = statistics.median(seconds)
    ratios = [round(middle / statistics.median(found), 3) for found in own]
    to.record(
        what=how,
        **timed(seconds),
        ratio=ratios[0],
        **({'ratio_cached': ratios[1]} if len(ratios) > 1 else {}),
        ours_seconds=[round(statistics.median(found), 6) for found in own],
        memory_gib=other.facts()['other_peak_memory_gib'],
        **agreement,
    )


def epoch(entry: Entry, options: Options, to: Measurement) -> None:
    """An epoch of data that live on the device, many steps in one call."""
    config = config_of(entry, options)
    source = RandomFrames(options.images, (config.data.height, config.data.width))
    parts = Parts(config, (config.batch_size, config.data.height, config.data.width, 3))
    tasks = parts.plan.method.tasks
    split = Split(source, tasks, config.batch_size)
    residence = Residence(parts.mesh, [task.name for task in tasks])
    began = time.perf_counter()
    jax.block_until_ready(residence.arrays(split))
    placed = time.perf_counter() - began
    steps = split.steps_per_epoch

    start = Position(0, 0, steps, len(source), split.seed)
    feed = Chunked(parts.step(), Programs().compiled, split, parts.mesh, parts.frozen, start, residence)
    began = time.perf_counter()
    state, _ = advanced(feed, parts.state(), 1)
    first = time.perf_counter() - began
    state, _ = advanced(feed, state, min(MOST, steps))
    began = time.perf_counter()
    state, calls = advanced(feed, state, steps)
    to.record(
        what='ours, data on the device',
        seconds=round(time.perf_counter() - began, 4),
        steps=steps,
        calls=calls,
        placing_seconds=round(placed, 2),
        first_step_seconds=round(first, 1),
        memory_gib=round(device.peak_memory_bytes(parts.mesh) / 2**30, 2),
    )


def advanced(feed: Chunked, state: Any, steps: int) -> tuple[Any, int]:
    """The state after so many steps, whose scalars are fetched as training does, and the number of calls."""
    done = calls = 0
    while done < steps:
        state, count, scalars = feed.advance(state, steps - done)
        jax.device_get(scalars)
        done, calls = done + count, calls + 1
    jax.block_until_ready(state)
    return state, calls


def published(entry: Entry, options: Options, to: Measurement) -> None:
    """The same epoch as published PyTorch code trains it."""
    # Only here: without PyTorch the other measurements are made.
    from benchmarks.published import reading, train

    config = config_of(entry, options)
    size = (config.data.height, config.data.width)
    with tempfile.TemporaryDirectory() as folder:
        write_files(RandomFrames(options.images, size), Path(folder))
        batches, workers = reading(Path(folder), options.images, config.batch_size)
        to.record(facts=facts())
        batch = random_batch(config.batch_size, *size)
        other = in_torch(config, Start(Parts(config, batch.image.shape)), batch, 'torch')
        each, counted = train(other, batches, LONG)
        # Its processes end before their files do.
        del batches
    steps = options.images // config.batch_size
    to.record(
        what='published loop',
        seconds=round(each * steps, 4),
        steps=steps,
        steps_measured=counted,
        workers=workers,
        memory_gib=other.facts()['other_peak_memory_gib'],
    )


class Start:
    """What a step in PyTorch starts from, without a step of ours."""

    def __init__(self, parts: Parts) -> None:
        self.plan, self.frozen = parts.plan, parts.frozen
        self.variables = jax.device_get(parts.state().variables)


def seeds(entry: Entry, options: Options, to: Measurement) -> None:
    """Steps of several seeds, one after another and vmapped, in turns."""
    config = config_of(entry, options)
    batch = random_batch(config.batch_size, config.data.height, config.data.width)
    parts = Parts(config, batch.image.shape)
    apart, together = Several(parts, batch, vmapped=False), Several(parts, batch, vmapped=True)
    found = in_turns([apart, together], options.steps)
    ratio = statistics.median(found[0]) / statistics.median(found[1])
    for what, side, of_side in zip(('one after another', 'vmapped'), (apart, together), found, strict=True):
        to.record(
            what=f'{SEEDS} seeds, {what}',
            **timed([value / SEEDS for value in of_side]),
            **({'ratio': round(ratio, 3)} if side is together else {}),
            memory_gib=round(side.memory / 2**30, 2),
        )


KINDS = {'step': step, 'compiled': step, 'epoch': epoch, 'published': published, 'seeds': seeds}
