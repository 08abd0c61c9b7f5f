"""How long a run still takes, by stages that were timed in it."""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mtkd_jax.experiment.continuing import CONTINUED
from mtkd_jax.experiment.estimates import operations
from mtkd_jax.experiment.stages import Experiment
from mtkd_jax.experiment.study import Job
from mtkd_jax.records import stage_folder
from mtkd_jax.reporting.progress import about
from mtkd_jax.training.stage import Stage

LONG = 20.0
"""Seconds that a stage must have taken before operations are counted: counting takes seconds, too."""


class Outlook:
    """How long the stages of a run take that are still to come.

    A step takes what those of a stage of the same kind took in this process; where there was none, what those of
    another kind took, times the ratio of their operations. Where one is not known, nothing is said of the run.

    Args:
        made: the experiments, whose stages begin in this order. Of those that are trained at the same time, each is
            taken to be slowed down by the others, so that together they take what their steps add up to. (A stage that
            is alone at the end, because it waits for its teachers, takes longer than that.)
    """

    def __init__(self, made: Sequence[Experiment]) -> None:
        self._jobs = [
            Job(stage_folder(one.workdir, stage.name), one, stage)
            for one in made
            for stage in one.stages
            if isinstance(stage, Stage)
        ]
        self._at_once = max(one.at_once for one in made)
        self._lock = threading.Lock()
        self._coming = list(self._jobs)
        self._left: dict[Path, int] = {}  # steps of stages that are under way, by their places
        self._seconds: dict[str, float] = {}  # kind → of a step, with its share of all else that the stage does
        self._operations: dict[str, float] = {}  # kind → of a step

    def of(self, stage: Stage) -> Callable[[int, float | None], str]:
        """For a stage that begins: (steps left, seconds of its step where they are known) → what is left in all.

        Threads may share what is returned.
        """
        now = self._job(stage)
        with self._lock:
            self._coming = [job for job in self._coming if job is not now and not job.finished]
            self._left[now.place] = _steps(now)
            # The last one to begin says it soon of itself.
            needed = [now, *self._coming] if self._coming else []
        self._count(needed)

        def left(steps: int, each: float | None) -> str:
            with self._lock:
                self._left[now.place] = steps
                if each is not None:
                    self._seconds[_kind(now)] = each
                under_way = [job for job in self._jobs if job.place in self._left]
                jobs = [*under_way, *self._coming]
                if each is not None and len(jobs) == 1:
                    return ''  # the stage says it
                found = [(self._left.get(job.place, _steps(job)), self._step(_kind(job))) for job in jobs]
            known = [count * seconds for count, seconds in found if seconds is not None]
            in_all = sum(known) / min(self._at_once, len(jobs))
            return f'{about(in_all)} left in all' if len(known) == len(found) else ''

        return left

    def end(self, stage: Stage) -> None:
        """The stage has ended, or was finished before."""
        ended = self._job(stage)
        with self._lock:
            self._coming = [job for job in self._coming if job is not ended]
            self._left.pop(ended.place, None)

    def drop(self, one: Experiment) -> None:
        """No other stage of the experiment begins."""
        with self._lock:
            self._coming = [job for job in self._coming if job.experiment is not one]

    def _job(self, stage: Stage) -> Job:
        return next(job for job in self._jobs if job.stage is stage)

    def _step(self, kind: str) -> float | None:
        """Seconds of a step of this kind."""
        if kind in self._seconds:
            return self._seconds[kind]
        both = self._seconds.keys() & self._operations.keys()
        if kind not in self._operations or not both:
            return None
        other = min(both)
        return self._seconds[other] * self._operations[kind] / self._operations[other]

    def _count(self, needed: Sequence[Job]) -> None:
        """Counts operations of the kinds that are needed and not timed, and of one that is."""
        with self._lock:
            timed = [job for job in self._jobs if self._seconds.get(_kind(job), 0.0) * _steps(job) >= LONG]
            unknown = [job for job in needed if self._step(_kind(job)) is None]
        for job in [*timed[:1], *unknown] if timed and unknown else ():
            # Not under the lock, for which the progress of others would wait.
            if _kind(job) not in self._operations and (found := operations(job, keeps=True)):
                with self._lock:
                    self._operations[_kind(job)] = found


def _kind(job: Job) -> str:
    """Equal for stages whose steps take the same time: of another seed, or single-task networks of other tasks."""
    settings = job.stage.settings
    different = {'seed', 'tasks'} if settings['method'] == 'stl' else {'seed'}
    return json.dumps({name: value for name, value in settings.items() if name not in different}, sort_keys=True)


def _steps(job: Job) -> int:
    assert isinstance(job.stage, Stage)
    before = job.stage.settings.get(CONTINUED, {}).get('epochs', 0)
    return (job.stage.cadence.epochs - before) * job.stage.data.train.steps_per_epoch
