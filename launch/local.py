"""Runs several processes of one command on this machine, to try out what several hosts do.

    python launch/local.py --processes=2 --devices=2 -- main --config=smoke --workdir=runs/two

--processes=N    how many
--devices=K      simulated CPU devices of each; without it, each has what jax finds
--gpus           each has one GPU, that of its number
--patience=90    seconds that the others have to end by themselves when one has failed

SIGTERM and Ctrl-C reach all. The exit status is that of the first process that failed; each line of output begins with
its process.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO

POLL_S = 0.05


def main() -> None:
    """Starts the processes, waits for them, and exits as they did."""
    given = arguments()
    own = [environment(given, process) for process in range(given.processes)]
    sys.exit(Job(given.command, own, given.patience).wait())


def arguments() -> argparse.Namespace:
    """What was asked for; ends with status 2 and a remedy where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--processes', type=int, required=True)
    parser.add_argument('--devices', type=int, default=0)
    parser.add_argument('--gpus', action='store_true')
    parser.add_argument('--patience', type=float, default=90)
    parser.add_argument('command', nargs='*', help='after --: main and its flags')
    given = parser.parse_args()
    if given.processes < 1 or given.devices < 0:
        parser.error('give at least one process, and devices from 1 on')
    if given.devices and given.gpus:
        parser.error('--devices are simulated on the CPU; give them or --gpus')
    if not given.command:
        parser.error('no command; such as: -- main --config=smoke --workdir=runs/two')
    return given


def environment(given: argparse.Namespace, process: int) -> dict[str, str]:
    """The variables of a process."""
    variables = dict(os.environ)
    if given.devices:
        flags = f'--xla_force_host_platform_device_count={given.devices}'
        variables |= {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': f'{variables.get("XLA_FLAGS", "")} {flags}'.strip()}
    if given.gpus:
        variables['CUDA_VISIBLE_DEVICES'] = str(process)
    return variables


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(('localhost', 0))
        return found.getsockname()[1]


class Job:
    """The processes of one command, from their start to their end."""

    def __init__(self, command: Sequence[str], own: Sequence[Mapping[str, str]], patience: float) -> None:
        self._patience = patience
        place = [f'--coordinator=localhost:{free_port()}', f'--processes={len(own)}'] if len(own) > 1 else []
        self._processes = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._forward)
        for process, variables in enumerate(own):
            which = [f'--process={process}'] if place else []
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, '-m', f'mtkd_jax.{command[0]}', *command[1:], *place, *which],
                    env=variables,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,  # Ctrl-C comes from here, once.
                )
            )
        self._readers = [
            threading.Thread(target=relay, args=(process.stdout, i)) for i, process in enumerate(self._processes)
        ]
        for reader in self._readers:
            reader.start()

    def wait(self) -> int:
        """The exit status, once all have ended: 0, or that of the first that failed."""
        status, deadline = 0, float('inf')
        ended: set[int] = set()
        while len(ended) < len(self._processes):
            for i, process in enumerate(self._processes):
                if i in ended or process.poll() is None:
                    continue
                ended.add(i)
                if not process.returncode:
                    continue
                own = process.returncode if process.returncode > 0 else 128 - process.returncode
                print(f'Process {i} ended with status {own}.', file=sys.stderr, flush=True)
                if not status:
                    status, deadline = own, time.monotonic() + self._patience
            if time.monotonic() > deadline:
                deadline = float('inf')
                self._kill(ended)
            time.sleep(POLL_S)
        for reader in self._readers:
            reader.join()
        return status

    def _kill(self, ended: set[int]) -> None:
        for i, process in enumerate(self._processes):
            if i not in ended:
                print(f'Process {i} is still there {self._patience:g} s later; it is killed.', file=sys.stderr)
                process.kill()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        for process in self._processes:
            process.send_signal(number)


def relay(lines: IO[str], process: int) -> None:
    """Prints each line with the number of its process in front."""
    for line in lines:
        print(f'[{process}] {line}', end='', flush=True)


if __name__ == '__main__':
    main()
