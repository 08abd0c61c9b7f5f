"""One process writes in a folder; another waits for it, and says for whom."""

import errno
import fcntl
import os
import shutil
import time

import pytest

from mtkd_jax.training.lock import LOCK, locked
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError


def test_who_waits_says_for_whom_and_can_be_stopped(tmp_path, capsys, monkeypatch):
    waiting = StopRequest()
    monkeypatch.setattr(time, 'sleep', lambda seconds: setattr(waiting, 'requested', True))
    with (
        locked(tmp_path, StopRequest()),
        pytest.raises(StoppedError, match=r'before the lock of .* was free'),
        locked(tmp_path, waiting),
    ):
        pass
    assert f'is in use by process {os.getpid()} on ' in capsys.readouterr().err


def test_a_folder_that_was_made_again_has_another_lock(tmp_path, monkeypatch):
    """Who waited for the lock of the one that was removed takes that of the new one."""
    folder, waiting = tmp_path / 'stage', StopRequest()
    with locked(folder, StopRequest()):
        monkeypatch.setattr(time, 'sleep', lambda seconds: shutil.rmtree(folder, ignore_errors=True))
        with locked(folder, waiting):
            assert (folder / LOCK).read_text().startswith('process')


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def fails(*about):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', fails)
    with (
        pytest.raises(UserError, match=r'lock cannot be locked \(No locks available\); choose'),
        locked(tmp_path, StopRequest()),
    ):
        pass
