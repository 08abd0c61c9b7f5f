"""Kills a job of several stages again and again, and compares what it ends with, bit by bit, with a job nobody killed.

    python -m tests.soak --kills=28 [--seed=0] [--processes=1] [--folder=DIR]

The job is a recipe of `RECIPES` on rendered rooms, read by two worker processes, with a checkpoint every three steps.
Every kill is a SIGKILL (to the job and, as when a machine dies, its workers) or a SIGTERM, at a random moment; then the
same command goes on. With several processes that train together, each with one device, the kill is of one of them; the
others must end within a minute (of one that had not joined them yet, or got a SIGTERM, within five), and then all start
again. A job that ends begins anew in another folder until all kills are spent. Of every job that ended, all arrays of
every model folder, and the results of every stage but their times, must equal those of the job that was not killed.
Prints one JSON object; the exit status is 1 where something was lost.
"""

import argparse
import collections
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
RECIPES = {
    'kd_mtl': 'rooms:tasks=depth+normals',
    'sd_mtcnn': 'rooms:method=sd_mtcnn,backbone=segnet_sd,tasks=depth+normals,student_widths=4+4+4+4',
}
FIELDS = {
    'data.height': 32,
    'data.width': 64,
    'data.train_images': 24,
    'data.test_images': 8,
    'data.read_workers': 2,
    'widths': '(4,4,4,4,4)',
    'batch_size': 4,
    'eval_batch_size': 4,
    'devices': 0,
    'epochs': 3,
    'checkpoint_every_steps': 3,
    'panel_images': 1,
}
END_SECONDS = 60  # that the other processes of a job have when one is killed with SIGKILL
SAVE_SECONDS = 300  # that all have when one gets SIGTERM: perhaps to compile a step, to take it, and to save
JOIN_SECONDS = 300  # that they wait for one that was killed before it joined them
WAITING = 'waiting up to'  # what they say then
STOPPED = {signal.SIGKILL: -9, signal.SIGTERM: 143}
TIMES = ('timing', 'spent')  # entries of results that are measured


def commands(recipe: str, data_dir: Path, workdir: Path, count: int) -> list[list[str]]:
    """The job: the same command every time, for each of its processes."""
    fields = {**FIELDS, 'data.data_dir': data_dir}
    given = [f'--config.{name}={value}' for name, value in fields.items()]
    same = [sys.executable, '-m', 'mtkd_jax.main', f'--config={recipe}', f'--workdir={workdir}', *given]
    if count == 1:
        return [same]
    with socket.socket() as found:
        found.bind(('localhost', 0))
        together = [f'--coordinator=localhost:{found.getsockname()[1]}', f'--processes={count}']
    return [[*same, *together, f'--process={i}'] for i in range(count)]


def outcome(workdir: Path) -> dict[str, object]:
    """Every array of every model, and every stage's results, by name."""
    found: dict[str, object] = {}
    for file in sorted(workdir.glob('stages/*/model*/weights.npz')):
        with np.load(file) as arrays:
            found |= {f'{file.relative_to(workdir)}:{name}': arrays[name] for name in arrays.files}
    for file in sorted(workdir.glob('stages/*/results.json')):
        results = json.loads(file.read_text())
        found[str(file.relative_to(workdir))] = {k: v for k, v in results.items() if k not in TIMES}
    return found


def differences(found: dict[str, object], expected: dict[str, object]) -> list[str]:
    """Names that are missing, or whose arrays or results are not the same to the last bit."""
    return [
        name
        for name in sorted({*found, *expected})
        if name not in found or name not in expected or not _same(found[name], expected[name])
    ]


def _same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return a == b


class Soak:
    """One recipe: the outcome of a job that nobody killed, and how long it took."""

    def __init__(self, recipe: str, data_dir: Path, folder: Path, count: int = 1) -> None:
        self.recipe, self.data_dir, self.folder, self.count = recipe, data_dir, folder, count
        began = time.monotonic()
        self._run(folder / 'unbroken', None)
        self.seconds = time.monotonic() - began
        self.expected = outcome(folder / 'unbroken')
        self.killed: collections.Counter[str] = collections.Counter()
        self.jobs, self.lost = 0, list[str]()

    def job(self, kills: int, rng: random.Random) -> int:
        """Runs a job to its end, killed up to `kills` times on the way; the number of kills."""
        self.jobs += 1
        workdir = self.folder / f'job_{self.jobs}'
        for done in itertools.count():
            kind = rng.choice(list(STOPPED)) if done < kills else None
            after = rng.uniform(1, self.seconds)
            if self._run(workdir, kind, after, rng.randrange(self.count) if self.count > 1 else 0):
                differ = differences(outcome(workdir), self.expected)
                self.lost += [f'{workdir.name}: {name}' for name in differ]
                return done
            name = signal.Signals(kind).name if kind else 'none'
            self.killed[name] += 1
            print(f'{workdir}: {name}', file=sys.stderr, flush=True)
        raise AssertionError('unreachable')

    def _run(self, workdir: Path, kind: signal.Signals | None, after: float = 0.0, victim: int = 0) -> bool:
        """Starts the job, kills a process after some seconds where `kind` is given; whether it ended by itself."""
        log = self.folder / f'{workdir.name}.log'
        with log.open('a') as out:
            processes = [
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdout=out,
                    stderr=out,
                    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
                    start_new_session=True,
                )
                for command in commands(self.recipe, self.data_dir, workdir, self.count)
            ]
            before = out.tell()
            try:
                killed = self._killed(processes, kind, after, victim)
                for other in processes:
                    self._wait(other, kind if killed else None, log, before)
            except subprocess.TimeoutExpired:
                raise AssertionError(f'The job hangs; see {log}.') from None
            finally:
                # Workers of the data, and what hangs.
                for process in processes:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        status = [process.returncode for process in processes]
        stopped = killed and kind is not None and status[victim] in (STOPPED[kind], -kind)
        if any(status) and not stopped:
            raise AssertionError(f'The job ended with status {status}; see {log}.')
        return not any(status)

    def _wait(self, process: subprocess.Popen[bytes], kind: signal.Signals | None, log: Path, before: int) -> None:
        """Waits for the end of a process; what is in `log` from `before` on is of this run."""
        if kind is None or self.count == 1:
            process.wait(1200)
            return
        try:
            process.wait(END_SECONDS if kind is signal.SIGKILL else SAVE_SECONDS)
        except subprocess.TimeoutExpired:
            if WAITING not in log.read_bytes()[before:].decode():
                raise
            process.wait(JOIN_SECONDS)

    def _killed(
        self, processes: Sequence[subprocess.Popen[bytes]], kind: signal.Signals | None, after: float, victim: int
    ) -> bool:
        """Kills one of the processes unless it ends before; whether it did not."""
        if kind is None:
            return False
        try:
            processes[victim].wait(after)
        except subprocess.TimeoutExpired:
            if kind is signal.SIGKILL:
                os.killpg(processes[victim].pid, kind)
            else:
                processes[victim].send_signal(kind)
            return True
        return False


def main() -> None:
    """Spends the kills on the recipes in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=28)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--processes', type=int, default=1, help='that train together')
    parser.add_argument('--folder', type=Path, default=None, help='keeps jobs and logs; default: a temporary folder')
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(folder / 'compiled'))
        soaks = {}
        for name, recipe in RECIPES.items():
            (folder / name).mkdir(parents=True)
            soaks[name] = Soak(recipe, folder / 'data', folder / name, given.processes)
        left, names = given.kills, itertools.cycle(soaks)
        while left > 0:
            left -= soaks[next(names)].job(left, rng)
    lost = [f'{name}/{what}' for name, soak in soaks.items() for what in soak.lost]
    said = {
        'seed': given.seed,
        'processes': given.processes,
        'jobs': {name: soak.jobs for name, soak in soaks.items()},
        'kills': dict(sum((soak.killed for soak in soaks.values()), collections.Counter())),
        'arrays_compared': sum(len(soak.expected) * soak.jobs for soak in soaks.values()),
        'lost': lost,
    }
    print(json.dumps(said, indent=1))
    sys.exit(1 if lost else 0)


if __name__ == '__main__':
    main()
