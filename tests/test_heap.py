"""Memory that was freed is used again, in every command."""

import ctypes
import os
import subprocess
import sys

import pytest

AGAIN = 20
PROGRAM = f"""
import resource, sys
from mtkd_jax import command

def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({AGAIN}):
        b'x' * (40 << 20)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / (40 << 20))

if sys.argv.pop() == 'command':
    command.start(use)
else:
    use()
"""


def times_new(*arguments, **variables):
    """How often an array's pages were new, of an array that is made `AGAIN` times."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith('MALLOC_')}
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, *arguments],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'), reason='The C library is not glibc.')
def test_a_command_keeps_what_is_freed_unless_the_user_says_otherwise():
    assert times_new() > AGAIN - 1
    assert times_new('command') < 2
    assert times_new('command', MALLOC_TRIM_THRESHOLD_='131072') > AGAIN - 1
