"""What is installed from a wheel: configs, tables and assets are in it, and it runs from anywhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """A wheel of this checkout; built from a copy, because building leaves files behind."""
    folder = tmp_path_factory.mktemp('wheel')
    for name in ('mtkd_jax', 'configs', 'pyproject.toml', 'setup.py', 'README.md', 'LICENSE'):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / 'source' / name, symlinks=True)
        else:
            (folder / 'source').mkdir(exist_ok=True)
            shutil.copy(source, folder / 'source' / name)
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', str(folder), './source']
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (found,) = folder.glob('*.whl')
    return found


def test_everything_that_is_read_is_in_it(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = [
        file.relative_to(ROOT)
        for pattern in ('*.py', '*.csv', '*.json', 'py.typed')
        for file in (ROOT / 'mtkd_jax').rglob(pattern)
    ]
    expected += [Path('mtkd_jax') / file.relative_to(ROOT) for file in (ROOT / 'configs').glob('*.py')]
    assert not {str(file) for file in expected} - inside


def test_it_runs_from_an_empty_directory(wheel, tmp_path):
    installed, empty = tmp_path / 'installed', tmp_path / 'empty'
    empty.mkdir()
    command = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', str(installed), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)

    def show(cwd):
        return subprocess.run(
            [sys.executable, '-m', 'mtkd_jax.main', '--config=rooms', '--show'],
            cwd=cwd,
            env={**os.environ, 'PYTHONPATH': str(installed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    changed = installed / 'mtkd_jax/configs/rooms.py'
    changed.write_text(changed.read_text().replace('c.epochs = 6', 'c.epochs = 55'))
    assert 'epochs = 55' in show(empty)
    # Beside a checkout, the checkout's own.
    assert 'epochs = 6' in show(ROOT)
