"""Experiments one after another, or, where each group of them has devices of its own, groups at the same time."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

from mtkd_jax.experiment.stages import Experiment
from mtkd_jax.training import processes
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError, StopRequest

Train = Callable[[Experiment], None]


def trained(made: Sequence[Experiment], train: Train, stop: StopRequest) -> Iterator[Experiment]:
    """Trains all, and yields each when it has come to its end.

    A loss that is not finite ends only its own experiment. It is said at once, and raised when all others have ended.
    Any other error ends all: those that train at the same time save, and the same call continues them.

    Args:
        made: the experiments; those with the same mesh take turns.
        train: trains one; called in a thread for each mesh, where there are several.
        stop: asks all to stop.

    Raises:
        NonFiniteLossError, StoppedError: see `Loop`; of several losses that are not finite the first, the others in its
            notes.
    """
    groups = [[one for one in made if one.mesh == mesh] for mesh in dict.fromkeys(one.mesh for one in made)]
    failed: list[NonFiniteLossError] = []
    in_turn = (_in_turn(group, train, failed, len(made) > 1) for group in groups)
    yield from next(in_turn) if len(groups) == 1 else _at_once(list(in_turn), stop)
    if failed:
        for other in failed[1:]:
            failed[0].add_note(str(other))
        raise failed[0]


def _in_turn(
    group: Sequence[Experiment], train: Train, failed: list[NonFiniteLossError], several: bool
) -> Iterator[Experiment]:
    for one in group:
        try:
            train(one)
        except NonFiniteLossError as error:
            failed.append(error)
            if several and processes.first():
                print(f'{error} The other seeds go on.', file=sys.stderr, flush=True)
            continue
        yield one


def _at_once(groups: Sequence[Iterator[Experiment]], stop: StopRequest) -> Iterator[Experiment]:
    """Each group in a thread of its own."""
    ended: SimpleQueue[Experiment | None] = SimpleQueue()
    errors: list[BaseException] = []

    def run(group: Iterator[Experiment]) -> None:
        try:
            for one in group:
                ended.put(one)
        except BaseException as error:
            errors.append(error)
            stop.requested = True
        finally:
            ended.put(None)

    # As in the loop, a signal is noted only: the threads save.
    with stop.noted():
        try:
            for group in groups:
                threading.Thread(target=run, args=(group,), name='seeds').start()
            left = len(groups)
            while left:
                one = ended.get()
                if one is None:
                    left -= 1
                else:
                    yield one
        except BaseException:
            # An interrupt, or an error of who reports: the threads save and end. Nobody waits for them here, so that a
            # second Ctrl-C in `main` ends at once.
            stop.requested = True
            raise
    for error in sorted(errors, key=lambda error: isinstance(error, StoppedError)):
        raise error
