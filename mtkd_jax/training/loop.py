"""The loop: epochs of steps with logging, evaluation and checkpoints, until the last step or a request to stop."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mtkd_jax import records
from mtkd_jax.data.augment import augmentation
from mtkd_jax.data.pipeline import Split
from mtkd_jax.places import remove_folder
from mtkd_jax.records import AVERAGES, BEST, CHECKPOINTS, split_branch
from mtkd_jax.training import machine, processes, sharding
from mtkd_jax.training.best import keep_best, keep_lowest
from mtkd_jax.training.caching import cache_of
from mtkd_jax.training.checkpoint import Checkpointer, Position
from mtkd_jax.training.diagnostics import diagnosis
from mtkd_jax.training.evaluate import Evaluator
from mtkd_jax.training.feed import Chunked, Feed, Streamed, given_batches
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.outlets import Progress, Silent, Writer
from mtkd_jax.training.processes import Agreed
from mtkd_jax.training.programs import Program, Programs, once
from mtkd_jax.training.selection import validation_score
from mtkd_jax.training.sharding import Layout
from mtkd_jax.training.spent import Spent
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.state import TrainState, state_maker
from mtkd_jax.training.step import compile_step, train_step
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError, StopRequest
from mtkd_jax.training.taught import Cache, Disk, Memory
from mtkd_jax.types import Batch, Batches, UserError, Variables


def _layout(make: Callable[..., TrainState], mesh: Mesh) -> Layout:
    return Layout(mesh, sharding.of_leaves(jax.eval_shape(make, jax.random.key(0)), mesh, fsdp=True))


def of_average(name: str) -> str:
    """The name of a result of the moving averages: `ema/miou`, of a branch `ema_student/miou`."""
    branch, metric = split_branch(name)
    return f'{AVERAGES}_{branch}/{metric}' if branch else f'{AVERAGES}/{metric}'


class Loop:
    """Trains one stage in `folder`, from its newest checkpoint if it has one.

    Args:
        stage: what to train.
        mesh: the devices.
        folder: keeps `checkpoints/`, and `best/` where the selection rule chooses one epoch; a rule that reads training
            losses finds them in the stage's records there.
        stop: when it is requested, the loop saves and raises `StoppedError`.
        programs: those of the run; None: its own.

    Attributes:
        spent: where the time of the stage goes; it begins here.
        machine: what the stage is computed with.
        compiled: compiles for the stage; see `Programs.compiled`.
        make_state: key → the first state, jitted.
        make_step: (whether the step asks the teachers) → the step.
    """

    def __init__(
        self, stage: Stage, mesh: Mesh, folder: Path, stop: StopRequest, programs: Programs | None = None
    ) -> None:
        self.stage, self.mesh, self.folder, self.stop = stage, mesh, folder, stop
        self.spent = Spent()
        self.machine = machine.describe()
        self.compiled = self.spent.during('compiling', (programs or Programs()).compiled)
        self.train = stage.data.train
        optimizer = stage.optimizer(self.train.steps_per_epoch, self.total_steps)
        self._rate = stage.rate(self.train.steps_per_epoch, self.total_steps) if stage.rate else None
        weighting = stage.weighting(self.train.steps_per_epoch)
        augment = augmentation(stage.augment, stage.method.tasks, self.train.seed)
        make = functools.partial(
            state_maker, stage.method, weighting, optimizer, self.train.image_shape, bool(stage.ema_decay)
        )
        self._layout = _layout(make(), mesh) if stage.fsdp else None
        self._lies = self._layout.state if self._layout else sharding.replicated(mesh)
        self.make_state = make(self._lies)
        self.make_step = functools.partial(
            train_step,
            stage.method,
            weighting,
            optimizer,
            self.total_steps,
            stage.gramian_of,
            augment,
            stage.factors,
            stage.ema_decay,
            stage.accumulate_steps,
            layout=self._layout,
        )
        self._diagnose = Program(diagnosis(stage.method, mesh, augment), self.compiled)
        # Those of the data: the method's may have losses that weight classes.
        tasks: Any = stage.data.test.tasks
        self._evaluator = Evaluator(stage.method.predict, tasks, mesh, self.compiled)
        self._agreed = Agreed(mesh)
        self._pending: list[tuple[int, Any]] = []  # (step before, scalars [steps])
        self._logged = 0.0, 0.0  # seconds of training, and of waiting in it, that records account for

    @property
    def total_steps(self) -> int:
        """Updates in the whole stage."""
        return self.stage.cadence.epochs * self.train.steps_per_epoch

    def __call__(
        self,
        make_writer: Callable[[int], AbstractContextManager[Writer]],
        make_progress: Callable[[int], AbstractContextManager[Progress]],
    ) -> TrainState:
        """Trains to the end and returns the last state; `make_*` are told the step that training starts from."""
        with self.stop.noted(), Checkpointer(self.folder / CHECKPOINTS) as self._checkpoints:
            state, position = self._start()
            start = int(state.step)
            silent = contextlib.nullcontext(Silent())
            writer, progress = (make_writer(start), make_progress(start)) if processes.first() else (silent, silent)
            with writer as self._writer, progress as self._progress:
                if start:
                    self._progress.message(f'{self.stage.name}: continuing from the checkpoint of step {start}')
                with closing(self._feed(position)) as feed:
                    for epoch in range(position.epoch, self.stage.cadence.epochs):
                        first = position.batch if epoch == position.epoch else 0
                        with self.spent.on('training'):
                            state = self._epoch(state, feed, epoch, first)
                        if self.stage.cadence.selection.chosen_by == 'training':
                            with self.spent.on('saving'):
                                keep_lowest(self.stage, self.folder, state.variables, epoch)
                        if self.stage.cadence.evaluates(epoch):
                            with self.spent.on('evaluating'):
                                self._evaluate(state, epoch)
                with self.spent.on('saving'):
                    self._checkpoints.wait()
                if self._agreed(self.stop.requested):
                    # Noted too late for a batch to look at it: what is left would take long, too.
                    self._stopped(self.total_steps)
        return state

    def _start(self) -> tuple[TrainState, Position]:
        key = jax.random.key(self.stage.seed)
        state = self.compiled(self.make_state, (key,), once(self.mesh))(key)
        restored = self._checkpoints.restore(state)
        here = self._position(0)
        if restored is None:
            # What an earlier training kept as its best, this one has not reached.
            if processes.first() and (self.folder / BEST).exists():
                remove_folder(self.folder / BEST)
            return state, here
        state, position = restored
        data = (position.steps_per_epoch, position.examples, position.seed)
        if data != here[2:]:
            raise UserError(
                f'{self.folder} was trained on other data (steps per epoch, examples, seed): {data}, now '
                f'{tuple(here[2:])}. Continue with the same data and batch size, or choose another --workdir.'
            )
        return state, position

    def _position(self, step: int) -> Position:
        """Where `step` stands; the end of an epoch counts to that epoch, because its evaluation is still to come."""
        per_epoch = self.train.steps_per_epoch
        epoch = max(step - 1, 0) // per_epoch
        return Position(epoch, step - epoch * per_epoch, per_epoch, len(self.train.source), self.train.seed)

    def _epoch(self, state: TrainState, feed: Feed, epoch: int, first: int) -> TrainState:
        """Batches `first`, ... of an epoch; saves where it ends, and before where the cadence or a stop asks."""
        cadence, per_epoch = self.stage.cadence, self.train.steps_per_epoch
        step, end = epoch * per_epoch + first, (epoch + 1) * per_epoch
        while step < end:
            if cadence.diagnose_every_steps and step % cadence.diagnose_every_steps == 0:
                self._write_diagnosis(state, feed.peek(), step)
            state, taken, scalars = feed.advance(state, min(cadence.until_next(step), end - step))
            self._pending.append((step, scalars))
            step += taken
            due = cadence.checkpoint_every_steps and step % cadence.checkpoint_every_steps == 0
            # Read once: a signal may come at any time.
            stopping = self._agreed(self.stop.requested)
            saves = due or stopping or (step == end and cadence.saves(epoch))
            if step == end or saves or step % cadence.log_every_steps == 0:
                self._log()
            if saves:
                # Only after `_log` has found every loss up to here finite.
                with self.spent.on('saving'):
                    self._checkpoints.save(state, self._position(step))
            if stopping:
                self._stopped(step)
        return state

    def _feed(self, start: Position) -> Feed:
        """All steps that are left."""
        stage, mesh, end = self.stage, self.mesh, self.stage.cadence.epochs
        left = start.epoch < end - 1 or start.batch < self.train.steps_per_epoch
        with self.spent.on('teachers'):
            variables = {name: load_model(path)[1] for name, path in stage.teachers.items()}
            frozen = sharding.put(variables, sharding.of_leaves(variables, mesh, stage.fsdp))
            cache = self._cache(frozen, start) if left else None
        self._variables = frozen if stage.cadence.diagnose_every_steps else {}
        placement = 'host' if stage.residence is None else 'device'
        kept = {Memory: 'memory', Disk: 'disk'}.get(type(cache), 'off')
        if left and processes.first():
            records.write_choices(self.folder, {'placement': placement, 'cache_teachers': kept})
        given = frozen if cache is None else cache
        step, residence = self.make_step(teach=cache is None), stage.residence
        if left:
            self._place(self.train)
        if left and residence is not None and stage.steps_in_one_call and isinstance(cache, Memory | None):
            return Chunked(step, self.compiled, self.train, mesh, given, start, residence, self._layout)
        jitted = compile_step(step, mesh, cache is None, self._layout)
        pairs = given_batches(self.train, mesh, given, start, end, residence, self.spent, self.compiled)
        return Streamed(jitted, self.compiled, pairs)

    def _cache(self, frozen: Variables, start: Position) -> Cache | None:
        """What the teachers say of every image, where it is worth keeping: None elsewhere."""
        step = start.epoch * self.train.steps_per_epoch + start.batch
        asked = dataclasses.replace(self.train, batch_size=self.train.train_batch_size)
        return cache_of(
            self.stage,
            frozen,
            asked,
            lambda: self._unless_stopped(self._ordered(asked), step),
            self.mesh,
            self.compiled,
            self.folder,
            lambda text: self._progress.message(text),
        )

    def _ordered(self, split: Split) -> Batches:
        """The batches of `Split.ordered`, on the devices."""
        self._place(split)
        if self.stage.residence is not None:
            return self.stage.residence.ordered(split, self.compiled)
        return sharding.on_device(split.ordered(), self.mesh)

    def _place(self, split: Split) -> None:
        """Puts data that live on the devices there, unless they are there already."""
        if self.stage.residence is not None:
            with self.spent.on('reading'):
                jax.block_until_ready(self.stage.residence.arrays(split))

    def _write_diagnosis(self, state: TrainState, batch: Batch, step: int) -> None:
        # What is still under way is training.
        jax.block_until_ready(state)
        with self.spent.on('diagnosing'):
            values = jax.device_get(self._diagnose(state, self._variables, batch))
        found = {name: float(value) for name, value in values.items()}
        epoch = step / self.train.steps_per_epoch
        self._writer.write({'step': step, 'epoch': epoch, 'split': 'diagnostics', **found})

    def _log(self) -> None:
        """Writes the mean of the scalars since the last call; raises when one of them is not finite."""
        if not self._pending:
            return
        steps, values = [], []
        for before, scalars in jax.device_get(self._pending):
            columns = {name: np.atleast_1d(column) for name, column in scalars.items()}
            for i in range(len(next(iter(columns.values())))):
                steps.append(before + i + 1)
                values.append({name: column[i] for name, column in columns.items()})
        self._pending.clear()
        for step, scalars in zip(steps, values, strict=True):
            self._check_finite(step, scalars)
        spent, waited = self.spent.of('training', 'waiting'), self.spent.of('waiting')
        seconds, share = spent - self._logged[0], (waited - self._logged[1]) / max(spent - self._logged[0], 1e-9)
        self._logged = spent, waited
        means = {name: float(np.mean([v[name] for v in values])) for name in values[0]}
        # Of the last step: a mean over a boundary would be a rate that no step had.
        rate = {records.RATE: float(self._rate(steps[-1] - 1))} if self._rate else {}
        self._writer.write(
            {
                'step': steps[-1],
                'epoch': steps[-1] / self.train.steps_per_epoch,
                'split': 'train',
                'steps': len(steps),
                'seconds': seconds,
                'waiting': share,
                **rate,
                **means,
            }
        )
        images = len(steps) * self.train.train_batch_size
        self._progress.update(steps[-1], means, images / max(seconds, 1e-9))

    def _check_finite(self, step: int, scalars: dict[str, Any]) -> None:
        bad = [name for name, value in scalars.items() if not np.isfinite(value)]
        if not bad:
            return
        self._checkpoints.wait()
        # Shapes only: a second state may not fit beside the one that is there.
        shapes = jax.eval_shape(self.make_state, jax.random.key(self.stage.seed))
        lies = self._lies if self._layout else jax.tree.map(lambda _: self._lies, shapes)
        shapes = jax.tree.map(lambda x, lie: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=lie), shapes, lies)
        latest = self._checkpoints.last_good(shapes)
        good = 'there is none yet' if latest is None else f'step {latest} in {self.folder / CHECKPOINTS}'
        culprit, remedy = self._blame(bad)
        raise NonFiniteLossError(
            f'Stage {self.stage.name}: {", ".join(f"{name} = {scalars[name]}" for name in bad)} at step {step} '
            f'({culprit}). Last good checkpoint: {good}. {remedy}'
        )

    def _blame(self, bad: list[str]) -> tuple[str, str]:
        """Where non-finite scalars come from, and what to do: a task, the weighting of finite losses, the gradient."""
        weighed = [name for name in bad if name.startswith(('weight/', 'weighting/'))]
        known = {task.name for task in self.stage.method.tasks}
        tasks = sorted(known & {part for name in bad if name not in weighed for part in name.split('/')})
        if tasks:
            return f'task: {", ".join(tasks)}', 'Check the data of that task, or lower `learning_rate`.'
        if weighed:
            name = self.stage.settings.get('weighting', '')
            return f'weighting{name and f": {name}"}', 'Choose another weighting, or lower `learning_rate`.'
        return 'task: none; only the gradient', 'Lower `learning_rate`.'

    def _stopped(self, step: int) -> None:
        self._checkpoints.wait()
        raise StoppedError(
            f'Stage {self.stage.name}: stopped on request at step {step} of {self.total_steps}; the state is saved. '
            'Run the same command to continue.'
        )

    def _evaluate(self, state: TrainState, epoch: int) -> None:
        step = (epoch + 1) * self.train.steps_per_epoch
        variables, data = state.variables, self.stage.data
        splits = {'test': data.test} if data.validation is None else {'validation': data.validation}
        for name, split in splits.items():
            results = self._evaluator(variables, self._unless_stopped(self._ordered(split), step))
            averaged = {}
            if state.ema:
                found = self._evaluator(state.ema, self._unless_stopped(self._ordered(split), step))
                averaged = {of_average(key): value for key, value in found.items()}
            self._writer.write({'step': step, 'epoch': epoch + 1, 'split': name, **results, **averaged})
            if self.stage.cadence.selection.chosen_by == 'validation':
                with self.spent.on('saving'):
                    keep_best(self.stage, self.folder, variables, validation_score(results), step)

    def _unless_stopped(self, batches: Batches, step: int) -> Batches:
        """The state is saved where an epoch ends, so an evaluation can be aborted and repeated."""
        with closing(batches):
            for batch in batches:
                if self._agreed(self.stop.requested):
                    self._stopped(step)
                yield batch

    def evaluate_test(self, variables: Variables) -> dict[str, float]:
        """Metrics of `variables` on the test split."""
        # Training is over, so there is nothing left to save before a stop.
        with self.spent.on('evaluating'), closing(self._ordered(self.stage.data.test)) as batches:
            return self._evaluator(variables, self._agreed.unless(self.stop, batches))
