"""Memory that was freed is used again, and objects are looked through rarely, in every command."""

import gc
import os
import platform
import subprocess
import sys

import pytest

from mtkd_jax import heap

AGAIN = 20
PROGRAM = f"""
import resource, sys, threading
from mtkd_jax import command

def use():
    kept = b'x' * (40 << 20)  # in a thread, no other has room in the same heap
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({AGAIN}):
        b'x' * (40 << 20)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / (40 << 20))

def use_in_thread():
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()

start, where = sys.argv.pop(), sys.argv.pop()
chosen = use_in_thread if where == 'thread' else use
command.start(chosen) if start == 'command' else chosen()
"""


def keeps():
    name, version = platform.libc_ver()
    return name == 'glibc' and tuple(map(int, version.split('.'))) >= (2, 35)


def times_new(*arguments, **variables):
    """How often an array's pages were new, of an array that is made `AGAIN` times."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(('MALLOC_', 'GLIBC_'))}
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, *arguments],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@pytest.mark.parametrize('where', ['main', 'thread'])
@pytest.mark.parametrize('variable', ['MALLOC_TRIM_THRESHOLD_', 'MALLOC_TOP_PAD_'])
@pytest.mark.skipif(not keeps(), reason='The C library is not glibc, or one that keeps no pieces above 32 MiB.')
def test_a_command_keeps_what_is_freed_unless_the_user_says_otherwise(where, variable):
    new = times_new(where, 'plain')
    assert times_new(where, 'command') < new / 5
    assert times_new(where, 'command', **{variable: '131072'}) > new / 2


@pytest.mark.parametrize(
    ('before', 'after'), [((700, 10, 5), (10_000, 10, 5)), ((20_000, 10, 5), (20_000, 10, 5)), ((0, 10, 5), (0, 10, 5))]
)
def test_objects_are_collected_rarely_unless_the_program_says_so_already(before, after):
    own = gc.get_threshold()
    try:
        gc.set_threshold(*before)
        heap.collect_rarely()
        assert gc.get_threshold() == after
    finally:
        gc.set_threshold(*own)


def test_where_nothing_is_collected_nothing_is_set():
    own = gc.get_threshold()
    gc.disable()
    try:
        heap.collect_rarely()
        assert gc.get_threshold() == own
    finally:
        gc.enable()


def test_commands_collect_rarely():
    program = 'import gc; from mtkd_jax import command; command.start(lambda: print(gc.get_threshold()[0]))'
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == heap.COLLECT_AFTER
