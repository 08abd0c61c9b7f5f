"""One process writes in a folder; another waits for it, and says for whom."""

import errno
import fcntl
import os

import pytest

from mtkd_jax.training.lock import LOCK, locked
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError


def test_who_waits_says_for_whom_and_can_be_stopped(tmp_path, capsys):
    waiting = StopRequest()
    waiting.requested = True
    with (
        locked(tmp_path, StopRequest()),
        pytest.raises(StoppedError, match='while waiting for'),
        locked(tmp_path, waiting),
    ):
        pass
    assert f'is in use by process {os.getpid()} on ' in capsys.readouterr().err
    with locked(tmp_path, waiting):
        assert (tmp_path / LOCK).is_file()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def fails(*about):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', fails)
    with (
        pytest.raises(UserError, match=r'lock cannot be locked \(No locks available\); choose'),
        locked(tmp_path, StopRequest()),
    ):
        pass
