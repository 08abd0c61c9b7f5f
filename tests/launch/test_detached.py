"""launch/detached.sh: what happens to a command on a host when its connection is lost."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.launch.fakes import LAUNCH

# Says that it begins, waits until it may end, and ends with status 7.
PROGRAM = """#!/bin/bash
echo "begins $*"
while [ ! -e "$(dirname "$0")/may_end" ]; do sleep 0.05; done
echo ends
exit 7
"""


@pytest.fixture
def host(tmp_path):
    """(The folder of a host, how to call the script there.)"""
    shutil.copytree(LAUNCH, tmp_path / 'mtkd_jax' / 'launch')
    (tmp_path / 'python').write_text(PROGRAM)
    (tmp_path / 'python').chmod(0o755)

    def call(*words):
        return subprocess.Popen(
            [tmp_path / 'mtkd_jax' / 'launch' / 'detached.sh', *words],
            env={'PATH': '/usr/bin:/bin', 'PYTHON': str(tmp_path / 'python')},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    yield tmp_path, call
    (tmp_path / 'may_end').touch()


def lose(call):
    """Its connection, and all that runs on that."""
    os.killpg(call.pid, signal.SIGKILL)
    call.communicate(timeout=30)


BEGINS = 'begins -m mtkd_jax.main --workdir=a b\n'


def test_a_command_outlives_its_connection_and_keeps_its_status(host):
    folder, call = host
    first = call('1', 'main', '--workdir=a b')
    assert first.stdout.readline() == BEGINS
    lose(first)
    second = call('2', 'main', '--workdir=a b')
    assert second.stdout.readline() == BEGINS, 'followed from its beginning'
    (folder / 'may_end').touch()
    assert second.communicate(timeout=30)[0] == 'ends\n'
    assert second.returncode == 7
    # gcloud has connected again, when it had ended.
    third = call('1', 'main', '--workdir=a b')
    assert third.communicate(timeout=30)[0] == f'{BEGINS}ends\n'
    assert third.returncode == 7
    assert (folder / 'mtkd_jax' / '.run' / 'log').read_text().count('begins') == 1
    # Another attempt begins anew.
    fourth = call('3', 'main', '--workdir=c')
    assert fourth.communicate(timeout=30)[0] == 'begins -m mtkd_jax.main --workdir=c\nends\n'
    assert fourth.returncode == 7


def test_another_command_does_not_start_beside_it(host):
    _, call = host
    first = call('1', 'main', '--workdir=a b')
    assert first.stdout.readline() == BEGINS
    other = call('2', 'main', '--workdir=other')
    assert 'another command still runs here: main --workdir=a\\ b' in other.communicate(timeout=30)[1]
    assert other.returncode == 2
    lose(first)


def test_a_command_that_was_killed_is_no_success(host):
    folder, call = host
    first = call('1', 'main', '--workdir=a b')
    assert first.stdout.readline() == BEGINS
    subprocess.run(
        ['pkill', '-KILL', '--session', (folder / 'mtkd_jax' / '.run' / 'pid').read_text().strip()], check=True
    )
    assert 'the command was killed' in first.communicate(timeout=30)[1]
    assert first.returncode == 137
