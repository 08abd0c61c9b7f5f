"""Memory that was freed is used again, in every command."""

import os
import platform
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


@pytest.mark.skipif(not keeps(), reason='The C library is not glibc, or one that keeps no pieces above 32 MiB.')
def test_a_command_keeps_what_is_freed_unless_the_user_says_otherwise():
    new = times_new()
    assert times_new('command') < new / 5
    assert times_new('command', MALLOC_TRIM_THRESHOLD_='131072') > new / 2
