"""Experiments one after another, or, where each group of them has devices of its own, groups at the same time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from mtkd_jax.experiment.stages import Experiment
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError, StopRequest

Train = Callable[[Experiment], None]


def trained(made: Sequence[Experiment], train: Train, stop: StopRequest) -> Iterator[Experiment]:
    """Trains all, and yields each that has come to its end.

    A loss that is not finite ends only its own experiment; the first such error is raised when all others have ended.
    Any other error ends all: those that train at the same time save, and the same call continues them.

    Args:
        made: the experiments; those with the same mesh take turns.
        train: trains one; called in a thread for each mesh, where there are several.
        stop: asks all to stop.

    Raises:
        NonFiniteLossError, StoppedError: see `Loop`.
    """
    groups = [[one for one in made if one.mesh == mesh] for mesh in dict.fromkeys(one.mesh for one in made)]
    failed: list[NonFiniteLossError] = []
    if len(groups) == 1:
        for one in made:
            if _ended(one, train, failed):
                yield one
    else:
        yield from _at_once(groups, train, failed, stop)
    if failed:
        raise failed[0]


def _ended(one: Experiment, train: Train, failed: list[NonFiniteLossError]) -> bool:
    try:
        train(one)
    except NonFiniteLossError as error:
        failed.append(error)
        return False
    return True


def _at_once(
    groups: Sequence[Sequence[Experiment]], train: Train, failed: list[NonFiniteLossError], stop: StopRequest
) -> list[Experiment]:
    def in_turn(group: Sequence[Experiment]) -> list[Experiment]:
        return [one for one in group if _ended(one, train, failed)]

    pool = ThreadPoolExecutor(len(groups), thread_name_prefix='seeds')
    # As in the loop, a signal is noted only: the threads save.
    with stop.noted():
        try:
            futures = [pool.submit(in_turn, group) for group in groups]
            _, others = wait(futures, return_when=FIRST_EXCEPTION)
            if others:
                stop.requested = True
                wait(others)
        finally:
            # Not waited for: a second Ctrl-C ends at once.
            pool.shutdown(wait=False)
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, StoppedError)):
        raise error
    return [one for future in futures for one in future.result()]
