"""What all launchers share, and how their scripts are written."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.launch.fakes import LAUNCH, Fakes, scripts, trained


def test_scripts_pass_shellcheck():
    program = Path(sysconfig.get_path('scripts')) / 'shellcheck'
    done = subprocess.run([program, '--severity=style', *scripts()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def checkout(tmp_path):
    """A checkout of which nothing is there but the launchers; its path has spaces."""
    folder = tmp_path / 'a checkout'
    shutil.copytree(LAUNCH, folder / 'launch')
    return folder


def test_a_command_is_replaced_by_its_own_process(tmp_path, checkout):
    """Its status is the script's; PYTHON is used where it is given."""
    fakes = Fakes(tmp_path)
    assert fakes.run(checkout / 'launch/install.sh', '').returncode == 0
    fakes.tell('python', 'mtkd_jax.main', ('', 143))
    done = fakes.run(checkout / 'launch/run.sh', 'main', '--workdir=a b', cwd=tmp_path)
    assert done.returncode == 143
    assert trained(fakes) == [['main', '--workdir=a b']]
    assert fakes.run(checkout / 'launch/run.sh', 'reproduce', PYTHON='python3.12').returncode == 0
    assert fakes.calls()[-1] == ['python3.12', '-m', 'mtkd_jax.reproduce']


def test_what_is_not_installed_is_said(tmp_path, checkout):
    done = Fakes(tmp_path).run(checkout / 'launch/run.sh', 'main')
    assert done.returncode == 1
    assert 'run launch/install.sh first' in done.stderr
    done = Fakes(checkout).run(checkout / 'launch/run.sh')
    assert done.returncode == 2
    assert 'usage: launch/run.sh COMMAND FLAGS' in done.stderr


def test_the_first_python_that_is_new_enough_is_taken(tmp_path, checkout):
    fakes = Fakes(tmp_path)
    fakes.tell('python3.12', 'version_info', ('', 1))
    assert fakes.run(checkout / 'launch/install.sh', 'cuda13').returncode == 0
    assert [call[0] for call in fakes.calls() if call[1:3] == ['-m', 'venv']] == ['python3.11']
    assert fakes.calls()[-1] == ['python', '-m', 'pip', 'install', '--quiet', '--editable', '.[cuda13]']


def test_uv_brings_a_python_where_all_are_old(tmp_path, checkout):
    fakes = Fakes(tmp_path)
    fakes.tell('python3', 'uv venv', ('', 9))
    for name in ('python3.11', 'python3.12', 'python3.13', 'python3'):
        fakes.tell(name, 'version_info', ('', 1))
    done = fakes.run(checkout / 'launch/install.sh', 'tpu')
    assert done.returncode == 9, 'what uv could not do ends it'
    assert 'uv brings 3.12' in done.stderr
    assert fakes.calls('python3')[-2:] == [
        ['python3', '-m', 'pip', 'install', '--quiet', '--user', 'uv'],
        ['python3', '-m', 'uv', 'venv', '--quiet', '--seed', '--python=3.12', '.venv'],
    ]


def test_a_python_that_was_named_and_is_old_is_refused(tmp_path, checkout):
    fakes = Fakes(tmp_path)
    fakes.tell('python3.12', 'version_info', ('', 1))
    done = fakes.run(checkout / 'launch/install.sh', 'tpu', PYTHON='python3.12')
    assert done.returncode == 1
    assert 'PYTHON=python3.12 is older than Python 3.11' in done.stderr


def test_an_installation_that_fails_is_no_success(tmp_path, checkout):
    fakes = Fakes(tmp_path)
    fakes.tell('python', 'pip install', ('', 5))
    assert fakes.run(checkout / 'launch/install.sh', 'tpu').returncode == 5
