"""launch/local.py with a package in place of this one, which says how it was started."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.launch.fakes import LAUNCH

# Process 1 fails if it is told to; the others wait for a signal if they are told to, and one is deaf. Short sleeps: a
# signal that arrives just before a sleep is handled after it.
MAIN = """
import os, signal, sys, time
flags = dict(word.partition('=')[::2] for word in sys.argv[1:])
process = flags.get('--process', '0')
print('args', sys.argv[1:], os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ.get('XLA_FLAGS'), flush=True)
def stop(number, frame):
    if flags.get('--deaf') != process:
        sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
print('ready', flush=True)
if process == '1' and '--fail' in flags:
    sys.exit(int(flags['--fail']))
for _ in range(600 if '--wait' in flags else 0):
    time.sleep(0.1)
"""


@pytest.fixture
def start(tmp_path):
    package = tmp_path / 'mtkd_jax'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'main.py').write_text(MAIN)
    environment = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'XLA_FLAGS')}
    jobs = []

    def starting(*words):
        job = subprocess.Popen(
            [sys.executable, LAUNCH / 'local.py', *words],
            cwd=tmp_path,
            env={**environment, 'PYTHONPATH': str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        jobs.append(job)
        return job

    yield starting
    for job in jobs:  # One that hangs has failed its test, and must not fail others.
        job.kill()
        job.communicate()


def test_processes_are_told_of_each_other(start):
    out, err = (job := start('--processes=2', '--gpus', '--', 'main', '--workdir=a b')).communicate(timeout=30)
    assert job.returncode == 0, err
    said = sorted(line for line in out.splitlines() if 'args' in line)
    port = said[0].partition('localhost:')[2].partition("'")[0]
    for i in range(2):
        words = ['--workdir=a b', f'--coordinator=localhost:{port}', '--processes=2', f'--process={i}']
        assert said[i] == f'[{i}] args {words} {i} None'


def test_one_process_needs_nothing(start):
    out, _ = start('--processes=1', '--devices=3', '--', 'main').communicate(timeout=30)
    assert out.splitlines()[0] == '[0] args [] None --xla_force_host_platform_device_count=3'


def wait_until_ready(job, processes):
    seen = [job.stdout.readline() for _ in range(2 * processes)]
    assert sum('ready' in line for line in seen) == processes, seen


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_reach_all(start, number, status):
    job = start('--processes=2', '--', 'main', '--wait')
    wait_until_ready(job, 2)
    job.send_signal(number)
    job.communicate(timeout=30)
    assert job.returncode == status


def test_the_first_failure_is_the_status_and_ends_the_others(start):
    began = time.monotonic()
    job = start('--processes=2', '--patience=0.3', '--', 'main', '--wait', '--fail=5', '--deaf=0')
    _, err = job.communicate(timeout=30)
    assert job.returncode == 5
    assert 'Process 1 ended with status 5.' in err
    assert 'Process 0 is still there 0.3 s later; it is killed.' in err
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (('--processes=2',), 'no command; such as: -- main'),
        (('--processes=0', '--', 'main'), 'give at least one process'),
        (('--processes=2', '--devices=2', '--gpus', '--', 'main'), 'give them or --gpus'),
        (('--', 'main'), 'the following arguments are required: --processes'),
    ],
)
def test_what_is_missing_is_named(start, words, said):
    job = start(*words)
    _, err = job.communicate(timeout=30)
    assert job.returncode == 2
    assert said in err
