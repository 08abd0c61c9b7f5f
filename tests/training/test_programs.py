"""Programs that several stages need are compiled once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.stages import Lowered

from mtkd_jax import records, weighting
from mtkd_jax.experiment.stages import experiment
from mtkd_jax.methods import Supervised
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.training import sharding
from mtkd_jax.training.programs import ONCE, Program, Programs
from mtkd_jax.training.run import run_stage
from mtkd_jax.training.state import state_maker
from mtkd_jax.training.stop import StopRequest
from tests import recipes, small, tiny


def trained(rooms, workdir, seed, kept, **fields):
    """The numbers that the last stage of a tiny KD-MTL run recorded."""
    recipe = 'method=kd_mtl,tasks=depth,backbone=tests.shallow'
    fields = {'epochs': 2, 'log_every_steps': 1, 'diagnose_every_steps': 2, **fields}
    made = experiment(recipes.load('rooms', recipe, data__data_dir=rooms, seed=seed, **fields), workdir, lambda *_: 0)
    for stage in made.stages:
        silent = small.as_context(small.Silent())
        run_stage(stage, made.mesh, workdir, MetricWriter, lambda *_, silent=silent: silent, StopRequest(), kept)
    found = records.read_records(records.stage_folder(workdir, 'kd_mtl'))
    return [{k: v for k, v in record.items() if k not in ('seconds', 'waiting')} for record in found]


def test_another_seed_compiles_nothing_and_changes_no_number(rooms, tmp_path):
    expected = trained(rooms, tmp_path / 'alone', 1, Programs())
    kept = Programs()
    first = trained(rooms, tmp_path / 'first', 0, kept)
    # Both stages' state, step, evaluation, diagnosis and constant; what asks the teacher and keeps it.
    before, names = kept.count, []
    assert before >= 10
    assert kept.seconds > 0

    def note(event, seconds, **about):
        if event == '/jax/core/compile/backend_compile_duration':
            names.append(about.get('fun_name'))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        second = trained(rooms, tmp_path / 'second', 1, kept)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert (kept.count, names) == (before, [])
    assert second == expected != first


def test_what_looks_alike_is_not_the_same():
    """Constants, names in what goes in and comes out, types that give way, and devices."""
    numbers = np.arange(5000.0)
    kept, x = Programs(), jnp.ones(3)
    mesh = {count: small.mesh(count) for count in (1, 2)}
    everywhere = {count: sharding.replicated(of) for count, of in mesh.items()}
    functions = {
        'first': (lambda x: x['a'] + numbers[-1:], {'a': x}),
        'other constant': (lambda x: x['a'] + (numbers + 1)[-1:], {'a': x}),
        'large constant': (lambda x: x['a'] + jnp.take(numbers, 7), {'a': x}),
        'other large constant': (lambda x: x['a'] + jnp.take(numbers + 1, 7), {'a': x}),
        'other name': (lambda x: x['b'] + numbers[-1:], {'b': x}),
        'named': (lambda x: {'c': x['a'] + numbers[-1:]}, {'a': x}),
    }
    for count, (function, given) in enumerate(functions.values(), 1):
        found = kept.compiled(jax.jit(function), (given,))(given)
        jax.tree.map(np.testing.assert_array_equal, found, function(given))
        assert kept.count == count
    assert kept.compiled(jax.jit(lambda y: y['a'] + numbers[-1:]), ({'a': x},))({'a': x}).shape == (3,)
    assert kept.count == len(functions)
    for number in mesh:
        jitted = jax.jit(jnp.sin, in_shardings=everywhere[number], out_shardings=everywhere[number])
        assert len(kept.compiled(jitted, (x,))(x).devices()) == number


def test_shapes_stand_for_arrays_and_a_program_has_one_for_each():
    kept = Programs()
    everywhere = sharding.replicated(small.mesh())
    jitted = jax.jit(lambda x: x + 1, in_shardings=everywhere, out_shardings=everywhere)
    made = kept.compiled(jitted, (jax.ShapeDtypeStruct((3,), jnp.float32),))
    assert (
        kept.compiled(jax.jit(lambda y: y + 1, in_shardings=everywhere, out_shardings=everywhere), (np.ones(3, 'f'),))
        is made
    )
    program = Program(jitted, kept.compiled)
    assert [program(np.ones(n, 'f')).shape for n in (3, 4, 3, 4)] == [(3,), (4,), (3,), (4,)]
    assert kept.count == 2


class Slow:
    """Compiling waits until it may go on; then it fails where there is an error."""

    def __init__(self, monkeypatch, error=None):
        self.begun, self.go, self.times, self.error = threading.Event(), threading.Event(), 0, error
        self._compile = Lowered.compile
        monkeypatch.setattr(Lowered, 'compile', self.compiled)

    @property
    def compiled(self):
        def compiled(lowered, **options):
            self.times += 1
            self.begun.set()
            assert self.go.wait(60)
            if self.error:
                raise self.error
            return self._compile(lowered, **options)

        return compiled


def asked_twice(kept, slow, function):
    """Answers of two threads, of which the second asks while the first one's program is being compiled."""
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.compiled, jax.jit(function), (1.0,))
        assert slow.begun.wait(60)
        second = pool.submit(kept.compiled, jax.jit(function), (1.0,))
        time.sleep(0.2)
        assert not second.done()
        slow.go.set()
        return first, second


def test_who_asks_for_what_is_being_compiled_waits(monkeypatch):
    kept, slow = Programs(), Slow(monkeypatch)
    first, second = asked_twice(kept, slow, lambda x: x + 2)
    assert first.result() is second.result()
    assert (kept.count, slow.times) == (1, 1)


def test_an_error_reaches_all_who_wait_and_is_not_kept(monkeypatch):
    kept, slow = Programs(), Slow(monkeypatch, MemoryError('full'))
    for future in asked_twice(kept, slow, lambda x: x + 3):
        with pytest.raises(MemoryError, match='full'):
            future.result()
    slow.error = None
    assert kept.compiled(jax.jit(lambda x: x + 3), (1.0,))(1.0) == 4
    assert (kept.count, slow.times) == (1, 2)


def test_what_runs_once_gives_the_same_numbers():
    """A state compiled quickly, and as XLA compiles unless told otherwise (here the tests tell it)."""
    kept = Programs()
    make = state_maker(Supervised(tiny.Network(), tiny.TASKS), weighting.uniform(), optax.adam(1.0), (2, 8, 8, 3))
    key = jax.random.key(7)
    quick, slow = (kept.compiled(make, (key,), options) for options in (ONCE, {'xla_backend_optimization_level': 3}))
    assert kept.count == 2
    assert kept.compiled(make, (key,), ONCE) is quick
    jax.tree.map(np.testing.assert_array_equal, quick(key), slow(key))


def test_threads_trace_in_turns():
    """Python would share its time among them, so that none compiled before all had traced."""
    tracing, programs = threading.Lock(), Programs()

    class Traced:
        def __init__(self, scale):
            self.jitted = jax.jit(lambda x: x * scale)

        def lower(self, *args):
            assert tracing.acquire(blocking=False)
            time.sleep(0.2)
            tracing.release()
            return self.jitted.lower(*args)

    x = jnp.ones(3)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda scale: programs.compiled(Traced(scale), (x,))(x), (2.0, 3.0, 4.0)))
    np.testing.assert_array_equal(found, [[2.0] * 3, [3.0] * 3, [4.0] * 3])
