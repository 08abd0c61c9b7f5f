"""The examples: short files that run as they are and learn something."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / 'examples').glob('*.py'))
LOSSES = re.compile(r'(\S+) -> (\S+)$')  # lines `what: first -> last`


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize('file', EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_short_and_every_loss_it_prints_falls(file):
    assert len(file.read_text().splitlines()) < 40
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-W', 'error', str(file)],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    losses = [(float(found[1]), float(found[2])) for line in done.stdout.splitlines() if (found := LOSSES.search(line))]
    assert losses, done.stdout
    assert all(last < first for first, last in losses), done.stdout
