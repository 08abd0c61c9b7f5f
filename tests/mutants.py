"""Breaks the science of the package in small ways, one at a time, and counts which of them the tests notice.

    python -m tests.mutants [--only=NAME,...] [--list]

A mutant of `tests.mutations` replaces one text of one file; the tests named beside it should fail then. They run on a
copy of the package in a temporary folder, first without a mutant; the checkout is never touched. Prints a line for
each mutant, and the score; the exit status is 1 where one survives.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutations import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]
COPIED = ('mtkd_jax', 'configs', 'benchmarks', 'launch', 'tests', 'pyproject.toml')
SECONDS = 900  # that the tests of one mutant may take
PASSED, FAILED = 0, 1  # pytest's exit statuses; others say that the tests did not run


class Copy:
    """The package and its tests in `folder`, where files can be changed and tests be run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._changes = folder, 0
        for name in COPIED:
            place = ROOT / name
            if place.is_dir():
                ignored = shutil.ignore_patterns('__pycache__', '.*')
                shutil.copytree(place, folder / name, symlinks=True, ignore=ignored)
            else:
                shutil.copy(place, folder / name)

    def write(self, file: str, text: str) -> None:
        """Replaces a file's text."""
        place = self.folder / file
        place.write_text(text)
        # Compiled files are known by the second in which their source was written: every change needs its own.
        self._changes += 1
        changed = time.time() + self._changes
        os.utime(place, (changed, changed))

    def run(self, tests: Sequence[str]) -> tuple[int, str]:
        """(pytest's exit status, what it printed) of some tests, up to the first that fails."""
        paths = {'PYTHONPATH': str(self.folder), 'JAX_COMPILATION_CACHE_DIR': str(self.folder / 'compiled')}
        done = subprocess.run(
            [sys.executable, '-m', 'pytest', '-q', '-x', '-n', '0', '-p', 'no:cacheprovider', *tests],
            cwd=self.folder,
            env={**os.environ, **paths},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
        )
        return done.returncode, done.stdout


def mutated(name: str, mutant: Mutant) -> str:
    """The text of the mutant's file, changed.

    Raises:
        SystemExit: the old text is not there exactly once; names the mutant.
    """
    text = (ROOT / mutant.file).read_text()
    if text.count(mutant.old) != 1:
        sys.exit(
            f'{name}: its old text occurs {text.count(mutant.old)} times in {mutant.file}; mend tests/mutations.py.'
        )
    return text.replace(mutant.old, mutant.new)


def killed(copy: Copy, name: str, mutant: Mutant, text: str) -> bool:
    """Whether the mutant's tests fail.

    Raises:
        SystemExit: they cannot be run.
    """
    copy.write(mutant.file, text)
    status, printed = copy.run(mutant.tests)
    copy.write(mutant.file, (ROOT / mutant.file).read_text())
    if status not in (PASSED, FAILED):
        sys.exit(f'{printed}\n{name}: its tests did not run; mend tests/mutations.py.')
    return status == FAILED


def main() -> None:
    """Runs the chosen mutants, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', default=','.join(MUTANTS), help='names of mutants, with commas between')
    parser.add_argument('--list', action='store_true', help='only print their names, files and tests')
    given = parser.parse_args()
    names = given.only.split(',')
    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        sys.exit(f'There is no mutant {", ".join(unknown)}; --list names them.')
    chosen = {name: MUTANTS[name] for name in names}
    if given.list:
        for name, mutant in chosen.items():
            print(f'{name:40} {mutant.file:40} {" ".join(mutant.tests)}')
        return
    texts = {name: mutated(name, mutant) for name, mutant in chosen.items()}
    with tempfile.TemporaryDirectory(prefix='mtkd_jax_mutants_') as folder:
        copy = Copy(Path(folder))
        status, printed = copy.run(sorted({test for mutant in chosen.values() for test in mutant.tests}))
        if status != PASSED:
            sys.exit(f'{printed}\nThe tests do not pass without a mutant.')
        survived = []
        for name, mutant in chosen.items():
            began, dead = time.monotonic(), killed(copy, name, mutant, texts[name])
            survived += [] if dead else [name]
            print(f'{name:40} {"killed" if dead else "SURVIVED":10} {time.monotonic() - began:5.0f} s', flush=True)
    print(
        f'{len(chosen) - len(survived)} of {len(chosen)} killed' + (f'; alive: {", ".join(survived)}' * bool(survived))
    )
    sys.exit(1 if survived else 0)


if __name__ == '__main__':
    main()
