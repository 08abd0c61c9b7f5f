"""What results depend on besides their settings."""

import subprocess

import jax

import mtkd_jax
from mtkd_jax.training import machine


def test_machine_and_versions_are_told():
    found = machine.describe()
    assert found['versions']['jax'] == jax.__version__
    assert found['versions']['mtkd_jax'] == mtkd_jax.__version__
    assert found['cores'] >= 1
    assert found['processor']


def test_a_commit_is_that_of_the_checkout(tmp_path):
    """With a mark where files differ from it; none where there is no checkout, as where the package is installed."""
    file = tmp_path / 'code.py'
    file.write_text('')
    assert machine.commit(tmp_path) is None

    def git(*arguments):
        given = ['git', '-C', str(tmp_path), '-c', 'user.name=n', '-c', 'user.email=e', *arguments]
        return subprocess.run(given, check=True, capture_output=True, text=True).stdout.strip()

    git('init')
    git('add', '.')
    git('commit', '-m', 'first')
    assert machine.commit(tmp_path) == git('rev-parse', '--short', 'HEAD')
    file.write_text('x = 1')
    assert machine.commit(tmp_path) == git('rev-parse', '--short', 'HEAD') + '+changes'
