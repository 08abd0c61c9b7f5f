"""Several processes that train together, for tests: `start` starts them, `ended` waits for them.

Each is `python -m tests.several ADDRESS COUNT INDEX FOLDER JOBS`. JOBS is JSON: name → [recipe, fields]; each is run in
FOLDER/NAME. Processes share the machine, with two devices each.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEVICES = 2


def free_port():
    with socket.socket() as found:
        found.bind(('localhost', 0))
        return found.getsockname()[1]


def start(folder, jobs):
    """Two processes that run `jobs` in `folder`."""
    address, started = f'localhost:{free_port()}', []
    for index in range(2):
        command = [sys.executable, '-m', 'tests.several', address, '2', str(index), str(folder), json.dumps(jobs)]
        with (folder / f'log{index}').open('w') as log:
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT))
    return started


def logs(folder):
    return [(folder / f'log{index}').read_text() for index in range(2)]


def ended(started, folder, seconds=600):
    found = [process.wait(seconds) for process in started]
    return found, logs(folder)


def main(address: str, count: str, index: str, folder: str, jobs: str) -> None:
    """Runs the jobs one after the other."""
    import jax

    from mtkd_jax.experiment.run import run
    from mtkd_jax.training.joining import joined
    from mtkd_jax.training.stop import StopRequest
    from tests.recipes import load

    jax.config.update('jax_platforms', 'cpu')
    with StopRequest() as stop, joined(stop, address, int(count), int(index)):
        for name, (recipe, fields) in json.loads(jobs).items():
            run(load('rooms', recipe, **fields, devices=0), Path(folder) / name, stop)


if __name__ == '__main__':
    os.environ['XLA_FLAGS'] = f'--xla_force_host_platform_device_count={DEVICES} --xla_backend_optimization_level=0'
    main(*sys.argv[1:])
