"""Wheels and source distributions: configs, tables and assets are in them, and what is installed runs from anywhere."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import mtkd_jax

ROOT = Path(__file__).parents[1]
PARTS = ('.ci', 'benchmarks', 'configs', 'docs', 'examples', 'launch', 'mtkd_jax', 'tests')
FILES = [
    file for file in ROOT.iterdir() if file.suffix in ('.md', '.toml', '.cff', '.py', '.in') or file.name == 'LICENSE'
]
LEFT = ('__pycache__', '_build', 'generated')  # folders that building and running leave


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """What a source distribution of this checkout holds, unpacked; built from a copy: building leaves files behind."""
    folder = tmp_path_factory.mktemp('source')
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / 'checkout' / part, symlinks=True, ignore=shutil.ignore_patterns(*LEFT))
    for file in FILES:
        shutil.copy(file, folder / 'checkout')
    (folder / 'checkout/docs/generated').mkdir()
    (folder / 'checkout/docs/generated/left.rst').touch()
    command = [sys.executable, '-m', 'build', '--sdist', '--outdir', str(folder), 'checkout']
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (found,) = folder.glob('*.tar.gz')
    with tarfile.open(found) as packed:
        # Python 3.11 has filters since 3.11.4.
        packed.extractall(folder, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    return folder / found.name.removesuffix('.tar.gz')


@pytest.fixture(scope='module')
def wheel(source):
    """A wheel that is built from the source distribution."""
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', '.', f'./{source.name}']
    subprocess.run(command, cwd=source.parent, check=True, capture_output=True)
    (found,) = source.parent.glob('*.whl')
    return found


def test_the_source_has_all_that_a_checkout_has(source):
    """So tests run from it, too."""
    files = [file for part in PARTS for file in (ROOT / part).rglob('*') if file.is_file()]
    kept = [*FILES, *(file for file in files if not {*file.parts} & {*LEFT})]
    assert len(kept) > 500
    assert not [file for file in kept if not (source / file.relative_to(ROOT)).is_file()]


def test_what_building_the_documentation_leaves_is_not_in_the_source(source):
    assert not (source / 'docs/generated').exists()


def test_the_version_is_said_in_one_place(wheel):
    with zipfile.ZipFile(wheel) as inside:
        (metadata,) = (name for name in inside.namelist() if name.endswith('.dist-info/METADATA'))
        said = Parser().parsestr(inside.read(metadata).decode())
    cited = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert said['Version'] == mtkd_jax.__version__ == cited['version']
    assert said['Author'] == 'mtkd_jax contributors' == cited['authors'][0]['name']
    extras = ('cuda12', 'cuda13', 'tpu', 'raw', 'torch', 'onnx', 'tensorboard', 'wandb', 'test')
    assert not {*extras} - {*said.get_all('Provides-Extra')}


def test_everything_that_is_read_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as packed:
        inside = set(packed.namelist())
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
