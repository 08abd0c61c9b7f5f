"""Evaluation: a split's metrics, by branch, streaming and independent of the batch size (papers.md C)."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from mtkd_jax.accumulate import Accumulator, ratio
from mtkd_jax.data.pipeline import Split
from mtkd_jax.models.convolution import tiles_on_cpus
from mtkd_jax.tasks import Task
from mtkd_jax.training import sharding
from mtkd_jax.training.compiled import compiler_options
from mtkd_jax.training.programs import Compile, Program, Programs
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import MAIN, Batch, Batches, Outputs, Target, Variables

FETCH = 16  # batches whose statistics are fetched from the device at once


class Evaluator:
    """Computes the metrics of `predict` on any number of splits; compiled once.

    Args:
        predict: (variables, image) → outputs in evaluation mode.
        tasks: what is evaluated.
        mesh: the devices; batches must divide over them.
        compiled: compiles it; None: programs of its own.
    """

    def __init__(
        self,
        predict: Callable[[Variables, Array], Outputs],
        tasks: Sequence[Task],
        mesh: Mesh,
        compiled: Compile | None = None,
    ) -> None:
        self._tasks = tasks

        @tiles_on_cpus()
        def measure(variables: Variables, batch: Batch) -> dict[str, dict[str, dict[str, Array]]]:
            variables = jax.lax.with_sharding_constraint(variables, sharding.replicated(mesh))
            branches = predict(variables, batch.image).predictions
            return {
                branch: {t.name: statistics(t, predictions[t.name], batch.targets[t.name]) for t in tasks}
                for branch, predictions in branches.items()
            }

        # Variables are taken from where they lie.
        given = (None, sharding.batched(mesh))
        jitted = jax.jit(
            measure,
            in_shardings=given,
            out_shardings=sharding.replicated(mesh),
            compiler_options=compiler_options(mesh),
        )
        self._measure = Program(jitted, compiled or Programs().compiled)

    def __call__(self, variables: Variables, batches: Batches) -> dict[str, float]:
        """Metrics and `loss/<task>` of `batches`, which lie on the devices, by name.

        Those of a branch other than the only one are named `branch/name`.
        """
        sums: dict[tuple[str, str], Accumulator] = {}
        measured: list[Any] = []
        for batch in batches:
            measured.append(self._measure(variables, batch))
            # Fetched rarely, because that waits for the device; in time, because batches that wait need memory.
            if len(measured) == FETCH:
                self._add(sums, measured)
                measured.clear()
        self._add(sums, measured)
        return results(sums, self._tasks)

    def _add(self, sums: dict[tuple[str, str], Accumulator], measured: list[Any]) -> None:
        of_batch = {task.name: task.metrics.of_batch for task in self._tasks}
        for of_branches in jax.device_get(measured):
            for branch, by_task in of_branches.items():
                for task, stats in by_task.items():
                    sums.setdefault((branch, task), Accumulator(of_batch[task])).add(stats)


def statistics(task: Task, prediction: Array, target: Target) -> dict[str, Array]:
    """The task's statistics, and its loss summed per example, so that the loss is batch-size-invariant as well."""
    per_example = jax.vmap(lambda p, y, m: task.loss(p[None], y[None], m[None]))
    defined = jnp.any(target.mask, axis=(1, 2, 3))
    return {
        **task.metrics.measure(prediction, *target),
        'loss': per_example(prediction, *target),
        'examples': jnp.sum(defined),
    }


def results(sums: Mapping[tuple[str, str], Accumulator], tasks: Sequence[Task]) -> dict[str, float]:
    """Named results from accumulated statistics keyed by (branch, task)."""
    named: dict[str, float] = {}
    by_name = {task.name: task for task in tasks}
    for (branch, task), accumulator in sums.items():
        prefix = '' if branch == MAIN else f'{branch}/'
        found = accumulator.totals()
        if 'loss' in found:
            named[f'{prefix}loss/{task}'] = ratio(found['loss'], found['examples'])
        named.update({prefix + name: value for name, value in by_name[task].metrics.compute(found).items()})
    return named


def score_arrays(task: Task, prediction: np.ndarray, target: np.ndarray, batch_size: int = 8) -> dict[str, float]:
    """Metrics of predictions from any framework; [n h w c] each, target in the stored conventions (papers.md E).

    The arithmetic is float32, whatever the arrays are stored as.
    """
    accumulator = Accumulator(task.metrics.of_batch)
    measure = jax.jit(task.metrics.measure)
    for i in range(0, len(target), batch_size):
        value = target[i : i + batch_size].astype(task.value_dtype)
        predicted = prediction[i : i + batch_size].astype(np.float32)
        accumulator.add(measure(predicted, value, task.validity(value)))
    return task.metrics.compute(accumulator.totals())


def constant_baselines(
    tasks: Sequence[Task], train: Iterable[Batch], test: Iterable[Batch], compiled: Compile
) -> dict[str, dict[str, Any]]:
    """For every task, how well its constant predictor, taken from the training set, does on the test set."""
    fitted: dict[str, Any] = {}
    for batch in train:
        for task in tasks:
            for value, mask in zip(*batch.targets[task.name], strict=True):
                term = task.constant.statistic(value, mask)
                fitted[task.name] = fitted[task.name] + term if task.name in fitted else term
    constants = {task.name: task.constant.value(fitted[task.name]) for task in tasks}
    sums = {task.name: Accumulator(task.metrics.of_batch) for task in tasks}
    measures = {task.name: Program(jax.jit(task.metrics.measure), compiled) for task in tasks}
    for batch in test:
        for task in tasks:
            target = batch.targets[task.name]
            shape = (*target.mask.shape[:3], task.channels)
            prediction = np.broadcast_to(constants[task.name], shape)
            sums[task.name].add(measures[task.name](prediction, *target))
    return {
        task.name: {
            'predictor': task.constant.describes,
            task.constant.metric: task.metrics.compute(sums[task.name].totals())[task.constant.metric],
        }
        for task in tasks
    }


class Constants:
    """`constant_baselines` of splits, computed when they are first asked for; the stages of a run share them.

    Args:
        tasks: all that anybody asks for.
        train, test: the splits, with their targets.
    """

    def __init__(self, tasks: Sequence[Task], train: Split, test: Split) -> None:
        self._tasks, self._train, self._test, self._lock = tuple(tasks), train, test, threading.Lock()
        self._found: dict[str, dict[str, Any]] = {}

    def of(self, tasks: Sequence[Task], compiled: Compile, stop: StopRequest) -> dict[str, dict[str, Any]]:
        """Those of `tasks`, by name; a StoppedError where a stop is requested meanwhile."""
        with self._lock:
            if not self._found:
                train, test = (stop.unless(split.whole.ordered()) for split in (self._train, self._test))
                self._found = constant_baselines(self._tasks, train, test, compiled)
        return {task.name: self._found[task.name] for task in tasks}
