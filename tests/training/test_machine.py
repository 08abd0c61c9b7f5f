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


def test_a_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    """With a mark where files differ from it; none where the package is installed."""
    package = tmp_path / 'mtkd_jax'
    package.mkdir()
    (package / '__init__.py').write_text('')
    monkeypatch.setattr(mtkd_jax, '__file__', str(package / '__init__.py'))
    assert machine.commit() is None

    def git(*arguments):
        given = ['git', '-C', str(tmp_path), '-c', 'user.name=n', '-c', 'user.email=e', *arguments]
        return subprocess.run(given, check=True, capture_output=True, text=True).stdout.strip()

    git('init')
    git('add', '.')
    git('commit', '-m', 'first')
    assert machine.commit() == git('rev-parse', '--short', 'HEAD')
    (package / '__init__.py').write_text('x = 1')
    assert machine.commit() == git('rev-parse', '--short', 'HEAD') + '+changes'
