"""The stages of experiments: one after another, or at the same time where devices or cores are left for it."""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

from mtkd_jax.experiment.stages import Experiment
from mtkd_jax.records import MODEL, stage_folder
from mtkd_jax.training import processes
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.stop import STOPPED, NonFiniteLossError, StoppedError, StopRequest
from mtkd_jax.types import UserError

Train = Callable[[Experiment, Stage | GivenTeacher], None]

POLL_SECONDS = 0.2  # between two looks at whether a stop was requested, of who waits


def _nothing(one: Experiment, stage: Stage | GivenTeacher) -> None:
    pass


def trained(
    made: Sequence[Experiment],
    train: Train,
    stop: StopRequest,
    prepare: Train = _nothing,
    show: Train = _nothing,
    calm: Callable[[Experiment, Stage | GivenTeacher], bool] = lambda one, stage: True,
) -> Iterator[Experiment]:
    """Trains all stages, and yields each experiment when it has come to its end.

    Stages begin in order, each when its teachers are trained. A loss that is not finite ends only its own experiment;
    stages of that which are under way come to their end. It is said at once, and raised when all others have ended. Any
    other error ends all: those that train at the same time save, and the same call continues them.

    Args:
        made: the experiments; those with the same mesh train `at_once` stages at the same time.
        train: trains a stage; called in threads, where several train at the same time.
        stop: asks all to stop.
        prepare: does for a stage what can be done before its teachers are trained; called once for each name. The stage
            may begin meanwhile.
        show: does for a trained stage what can be done before its experiment has come to its end; called at most once,
            for one stage of a group at a time, beside the last ones that are trained.
        calm: whether a stage that is being trained leaves time for `show`; asked often.

    A thread that has nothing to train calls `prepare` and `show`, if there is one; an error in them ends all.

    Raises:
        NonFiniteLossError, StoppedError: see `Loop`; of several losses that are not finite the first, the others in its
            notes.
    """
    groups = [[one for one in made if one.mesh == mesh] for mesh in dict.fromkeys(one.mesh for one in made)]
    failed: list[NonFiniteLossError] = []
    workers = []
    for group in groups:
        workers += [_Turns(group, train, failed, len(made) > 1, stop, prepare, show, calm).work] * group[0].at_once
    yield from workers[0]() if len(workers) == 1 else _at_once(workers, len(made), stop)
    if failed:
        for other in failed[1:]:
            failed[0].add_note(str(other))
        raise failed[0]


class _Job(NamedTuple):
    one: Experiment
    stage: Stage | GivenTeacher

    def needs(self, other: '_Job') -> bool:
        """Whether the other one trains a teacher of this one."""
        taught: Mapping[str, object] = {} if isinstance(self.stage, GivenTeacher) else self.stage.teachers
        return other.one is self.one and stage_folder(self.one.workdir, other.stage.name) / MODEL in taught.values()


class _Turns:
    """The stages of a group of experiments: whoever is free trains the next one whose teachers are there."""

    def __init__(
        self,
        group: Sequence[Experiment],
        train: Train,
        failed: list[NonFiniteLossError],
        several: bool,
        stop: StopRequest,
        prepare: Train,
        show: Train,
        calm: Callable[[Experiment, Stage | GivenTeacher], bool],
    ) -> None:
        self._train, self._failed, self._several, self._stop = train, failed, several, stop
        self._prepare, self._prepared = prepare, set[str]()
        self._show, self._calm, self._unseen, self._showing = show, calm, list[_Job](), False
        self._waiting = [_Job(one, stage) for one in group for stage in one.stages]
        self._under_way: list[_Job] = []
        self._broken: list[Experiment] = []
        self._changed = threading.Condition()

    def work(self) -> Iterator[Experiment]:
        """Trains stages until none is left to begin; yields an experiment whose last one ends here."""
        while (job := self._taken()) is not None:
            try:
                self._train(*job)
            except NonFiniteLossError as error:
                self._break(job, error)
            else:
                if self._ended(job):
                    yield job.one

    def _taken(self) -> _Job | None:
        while True:
            with self._changed:
                if self._waiting and self._stop.requested:
                    raise StoppedError(STOPPED)
                for job in self._waiting:
                    if not any(job.needs(other) for other in (*self._waiting, *self._under_way)):
                        self._waiting.remove(job)
                        self._under_way.append(job)
                        return job
                if self._waiting and not self._under_way:
                    names = ', '.join(job.stage.name for job in self._waiting)
                    raise UserError(f'The stages {names} wait for one another; a teacher must be trained before.')
                if not self._waiting and not self._has_to_show():
                    return None
                spare = self._spare()
                if spare is None:
                    self._changed.wait(POLL_SECONDS)
                    continue
            spare()

    def _spare(self) -> Callable[[], None] | None:
        """What a thread that has nothing to train can do now."""
        # Those of other seeds take the same programs.
        coming = [job for job in self._waiting if job.stage.name not in self._prepared]
        if coming:
            self._prepared.add(coming[0].stage.name)
            return functools.partial(self._prepare, *coming[0])
        if self._has_to_show() and all(self._calm(*job) for job in self._under_way):
            self._showing, job = True, self._unseen.pop(0)
            return functools.partial(self._shown, job)
        return None

    def _has_to_show(self) -> bool:
        # As long as others wait, time is short; where nothing trains any more, the report does it.
        last = bool(self._unseen and self._under_way) and not self._waiting
        return last and not self._showing and not self._stop.requested

    def _shown(self, job: _Job) -> None:
        try:
            self._show(*job)
        finally:
            with self._changed:
                self._showing = False
                self._changed.notify_all()

    def _ended(self, job: _Job) -> bool:
        """Whether the experiment has come to its end with this stage."""
        with self._changed:
            self._under_way.remove(job)
            self._changed.notify_all()
            left = any(other.one is job.one for other in (*self._waiting, *self._under_way))
            if left:
                self._unseen.append(job)
            else:
                self._unseen = [other for other in self._unseen if other.one is not job.one]
            return not left and not any(one is job.one for one in self._broken)

    def _break(self, job: _Job, error: NonFiniteLossError) -> None:
        with self._changed:
            self._under_way.remove(job)
            self._waiting = [other for other in self._waiting if other.one is not job.one]
            self._broken.append(job.one)
            self._failed.append(error)
            self._changed.notify_all()
            beside = bool(self._under_way)
        if (self._several or beside) and processes.first():
            others = 'The other seeds go on.' if self._several else 'Stages that are under way come to their end.'
            print(f'{error} {others}', file=sys.stderr, flush=True)


def _taken_from(ended: 'SimpleQueue[Experiment | None]') -> Experiment | None:
    """The next one; looks up now and then.

    Python's handler of a signal runs in the main thread, which sleeps on where another thread has got the signal, or
    where it came just before.
    """
    while True:
        with contextlib.suppress(Empty):
            return ended.get(timeout=POLL_SECONDS)


def _at_once(
    workers: Sequence[Callable[[], Iterator[Experiment]]], count: int, stop: StopRequest
) -> Iterator[Experiment]:
    """Each worker in a thread of its own; the last of `count` experiments is yielded when all threads have ended."""
    ended: SimpleQueue[Experiment | None] = SimpleQueue()
    errors: list[BaseException] = []
    last: list[Experiment] = []

    def run(worker: Callable[[], Iterator[Experiment]]) -> None:
        try:
            for one in worker():
                ended.put(one)
        except BaseException as error:
            errors.append(error)
            stop.requested = True
        finally:
            ended.put(None)

    # As in the loop, a signal is noted only: the threads save.
    with stop.noted():
        try:
            for worker in workers:
                threading.Thread(target=run, args=(worker,), name='stages').start()
            left = len(workers)
            while left:
                one = _taken_from(ended)
                count -= one is not None
                if one is None:
                    left -= 1
                elif count:
                    yield one
                else:
                    last.append(one)
        except BaseException:
            # An interrupt, or an error of who reports: the threads save and end. Nobody waits for them here, so that a
            # second Ctrl-C in `main` ends at once.
            stop.requested = True
            raise
    errors.sort(key=lambda error: isinstance(error, StoppedError))
    if errors:
        for other in errors[1:]:
            # Two may have waited for one program.
            if other is not errors[0] and not isinstance(other, StoppedError):
                errors[0].add_note(f'{type(other).__name__}: {other}')
        raise errors[0]
    yield from last
