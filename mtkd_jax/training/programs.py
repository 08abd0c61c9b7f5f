"""The compiled programs of a process: what several stages need is compiled once, whoever asks first."""

import hashlib
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from typing import Any

import jax
from jax.sharding import Mesh
from jax.stages import Compiled, Lowered

from mtkd_jax.training import processes, sharding

Compile = Callable[[Any, Any], Any]
"""(jitted function, arguments) → the compiled function."""


ONCE: Mapping[str, Any] = {'xla_backend_optimization_level': 1}
"""Options for a program that runs once on a CPU: a third of the time to compile it, and the same numbers."""


def once(mesh: Mesh) -> Mapping[str, Any] | None:
    """Options for a program that runs once on these devices."""
    return None if sharding.accelerated(mesh) else ONCE


_TRACING = threading.RLock()
"""Held by who traces. Python lets one thread do it anyway; in turns, the first compiles while the next one traces."""


class Programs:
    """Keeps what it has compiled, for functions that lower to the same program: another seed's stage is one.

    Threads may share it; one that asks for what another is compiling waits.

    Attributes:
        count: programs compiled so far.
        seconds: what compiling them took, added up.
    """

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0
        self._lock = threading.Lock()
        self._kept: dict[Hashable, Future[Compiled]] = {}

    def compiled(self, jitted: Any, args: Any, options: Mapping[str, Any] | None = None) -> Callable[..., Any]:
        """`jitted` for arguments of the kinds of `args`, arrays or their shapes, compiled now or before.

        `options`: of XLA, such as `ONCE`.
        """
        with _TRACING:
            lowered = jitted.lower(*args)
            key = _identity(lowered), tuple(sorted((options or {}).items()))
        with self._lock:
            found = self._kept.get(key)
            future = self._kept.setdefault(key, Future())
        if found is None:
            self._compile(lowered, options, key, future)
        program = future.result()
        return (lambda *given: processes.waited(program(*given))) if processes.several() else program

    def _compile(
        self, lowered: Lowered, options: Mapping[str, Any] | None, key: Hashable, future: Future[Compiled]
    ) -> None:
        began = time.monotonic()
        try:
            program = lowered.compile(compiler_options=dict(options) if options else None)
        except BaseException as error:
            # Who waits gets the error, who asks later tries again.
            with self._lock:
                del self._kept[key]
            future.set_exception(error)
            return
        with self._lock:
            self.count += 1
            self.seconds += time.monotonic() - began
        future.set_result(program)


def _identity(lowered: Lowered) -> Hashable:
    """Equal for functions of which one may stand for the other.

    The text has operations, constants, donation and how arrays are split; neither names in trees nor which devices.
    """
    if jax.config.values.get('jax_use_simplified_jaxpr_constants'):
        # Then constants are beside the text.
        return object()
    kinds = tuple(jax.tree.leaves((lowered.args_info, lowered.out_info)))
    return hashlib.sha256(lowered.as_text().encode()).digest(), lowered.in_tree, lowered.out_tree, kinds


class Program:
    """A jitted function that gets its programs from `compiled`, one for every kind of arguments it is called with."""

    def __init__(self, jitted: Any, compiled: Compile) -> None:
        self._jitted, self._compiled = jitted, compiled
        self._found: dict[Hashable, Any] = {}

    def __call__(self, *args: Any) -> Any:
        """What the function says of these arrays."""
        leaves, tree = jax.tree.flatten(args)
        kind = tree, tuple((x.shape, x.dtype) for x in leaves)
        if kind not in self._found:
            self._found[kind] = self._compiled(self._jitted, args)
        return self._found[kind](*args)
