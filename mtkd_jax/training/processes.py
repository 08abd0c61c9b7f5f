"""Several processes that train together: who writes, what all are told, and on what they agree.

All run the same program on the same config. The first one alone writes, draws and prints; what it decides, the others
are told. They talk through the key-value store of `jax.distributed`, and compute together through XLA's collectives.
"""

import functools
import itertools
import pickle
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtkd_jax.training.stop import STOPPED, StoppedError, StopRequest
from mtkd_jax.types import UserError

T = TypeVar('T')

POLL_SECONDS = 0.02  # between two looks for what another process says
WAIT_MS = 500  # for what the first process says, before it is asked again
KEPT = 1000  # things that the first process has said, before the oldest is forgotten
LAG = 2  # steps after which a request to stop is known everywhere
ROOT = 'mtkd_jax'
MET, SAID = f'{ROOT}/met', f'{ROOT}/said'


def several() -> bool:
    """Whether this process trains together with others."""
    return jax.process_count() > 1


def first() -> bool:
    """Whether this is the process that writes: the only one, or the first of several."""
    return jax.process_index() == 0


def found_by_jax() -> tuple[str, int] | None:
    """What kind of cluster jax finds around this process, and the number of processes; None: it is alone."""
    # No public name says what jax would find.
    from jax._src.clusters import ClusterEnv

    kinds = (kind for kind in ClusterEnv._cluster_types if not kind.opt_in_only_method)
    kind = next((kind for kind in kinds if kind.is_env_present()), None)
    count = kind.get_process_count() if kind else None
    return (kind.__name__, count) if kind and count is not None and count > 1 else None


def check_alone(what: str) -> None:
    """Raises a UserError where this is one of several processes; `what` is what one process does."""
    found = found_by_jax()
    count = jax.process_count() if several() else found[1] if found else 1
    if count > 1:
        raise UserError(
            f'This is one of {count} processes{f" ({found[0]})" if found else ""}, but {what} is the work of one '
            'process; start one task, such as srun --ntasks=1.'
        )


def check_joined() -> None:
    """Raises a UserError where jax finds several processes, but this one has not joined them."""
    found = found_by_jax()
    if found and not several():
        raise UserError(
            f'This is one of {found[1]} processes ({found[0]}), but has not joined them: `python -m mtkd_jax.main` '
            'does; in Python call jax.distributed.initialize() first. Or start one task, such as srun --ntasks=1.'
        )


def client() -> Any:
    """The key-value store of jax.distributed."""
    # No public name gives the store.
    from jax._src.distributed import global_state

    return global_state.client


_NUMBERS: dict[str, Iterator[int]] = {MET: itertools.count(), SAID: itertools.count()}


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives in the first process, in all of them; elsewhere it is not called. It must be small.

    Raises:
        Exception: what `make` raised.
    """
    if not several():
        return make()
    number = next(_NUMBERS[SAID])
    key = f'{SAID}/{number}'
    if first():
        if number >= KEPT:
            client().key_value_delete(f'{SAID}/{number - KEPT}')
        try:
            made = make()
        except Exception as error:
            client().key_value_set_bytes(key, _sent(False, error))
            raise
        client().key_value_set_bytes(key, _sent(True, made))
        return made
    while True:
        try:
            good, value = pickle.loads(client().blocking_key_value_get_bytes(key, WAIT_MS))
        except jax.errors.JaxRuntimeError as error:
            # Here, a request to stop is heard.
            if 'DEADLINE_EXCEEDED' not in str(error):
                raise
            continue
        if good:
            return value
        raise value


def _sent(good: bool, value: Any) -> bytes:
    try:
        sent = pickle.dumps((good, value))
        pickle.loads(sent)
    except Exception as error:  # an exception may hold anything
        return pickle.dumps((False, RuntimeError(f'{type(value).__name__}: {value} ({error})')))
    return sent


def after_first(make: Callable[[], T]) -> T:
    """What `make` gives in this process, where the first process makes it first: what it makes for all is there.

    Raises:
        Exception: what `make` raised, in the first process or in this one.
    """
    made = list[T]()

    def alone() -> None:
        made.append(make())

    from_first(alone)
    return made[0] if made else make()


def meet() -> None:
    """Returns once all processes are here."""
    all_say(True)


def all_say(so: bool) -> bool:
    """Whether all processes say so; returns once all have spoken."""
    if not several():
        return so
    place = f'{MET}/{next(_NUMBERS[MET])}'
    client().key_value_set(f'{place}/{jax.process_index()}', str(so))
    while len(said := client().key_value_dir_get(place)) < jax.process_count():
        time.sleep(POLL_SECONDS)
    return all(answer == str(True) for _, answer in said)


def answered_after() -> int:
    """Questions until a request to stop is known to all; see `Agreed`."""
    return LAG + 1 if several() else 1


class Agreed:
    """Whether one of the processes was asked to stop, known to all of them after the same number of questions.

    Each question is a reduction on the devices, whose answer is read `LAG` questions later, so that no step waits.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh, self._asked = mesh, deque[Any]()
        self._known = False

    def __call__(self, requested: bool) -> bool:
        """Asks all; `requested`: whether this process was asked to stop. A single process knows it at once."""
        if not several():
            return requested
        self._asked.append(_reduced(self._mesh, requested))
        if len(self._asked) > LAG:
            self._known = self._known or bool(self._asked.popleft())
        return self._known

    def unless(self, stop: StopRequest, items: Iterable[T]) -> Generator[T, None, None]:
        """The same items; raises `StoppedError` in front of one where a stop is requested; see `StopRequest.unless`."""
        for item in items:
            if self(stop.requested):
                raise StoppedError(STOPPED)
            yield item


def _reduced(mesh: Mesh, flag: bool) -> Any:
    spread = NamedSharding(mesh, PartitionSpec('data'))
    mine = np.full(len(mesh.local_devices), flag)
    asked = jax.make_array_from_process_local_data(spread, mine)
    found = _any(mesh)(asked)
    return waited(found)


@functools.cache
def _any(mesh: Mesh) -> Any:
    return jax.jit(jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec()))


def waited(computed: T) -> T:
    """`computed`, on CPUs of several processes only once it is there.

    There, two programs with collectives that run at the same time can take each other's threads, and none ends.
    """
    if several() and jax.default_backend() == 'cpu':
        jax.block_until_ready(computed)
    return computed


def in_order(devices: Sequence[Any]) -> list[Any]:
    """Devices by process: rows of a batch that one process reads are neighbours.

    Raises:
        UserError: processes have different numbers of devices.
    """
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    counts = {len(list(group)) for _, group in itertools.groupby(ordered, lambda device: device.process_index)}
    if len(counts) > 1:
        raise UserError(f'The processes have {min(counts)} to {max(counts)} devices; give all the same number.')
    return ordered
