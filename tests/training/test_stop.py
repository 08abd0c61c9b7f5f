"""Signals end a run in order; several processes do not begin one."""

import os
import signal

import pytest

from mtkd_jax.training.processes import check_alone, check_joined
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_where_the_loop_saves_and_ends_the_rest(number, status):
    with StopRequest((signal.SIGTERM, signal.SIGINT)) as stop:
        with stop.noted():
            os.kill(os.getpid(), number)
            assert stop.requested
        assert stop.status == status
    with StopRequest((signal.SIGTERM, signal.SIGINT)), pytest.raises(StoppedError, match='same command'):
        os.kill(os.getpid(), number)


def test_a_second_interrupt_ends_at_once():
    with StopRequest((signal.SIGINT,)) as stop, stop.noted():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_library_call_leaves_ctrl_c_as_it_is():
    # A shell starts what runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest(), pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_several_processes_are_refused_and_an_allocation_is_none(monkeypatch):
    monkeypatch.setenv('SLURM_JOB_ID', '1')
    monkeypatch.setenv('SLURM_NTASKS', '2')
    check_alone('a plan')
    for name in ('SLURM_STEP_NODELIST', 'SLURM_PROCID', 'SLURM_LOCALID'):
        monkeypatch.setenv(name, '0')
    with pytest.raises(UserError, match=r'one of 2 processes .* a plan is the work of one process.*--ntasks=1'):
        check_alone('a plan')
    with pytest.raises(UserError, match=r'one of 2 processes .*has not joined them'):
        check_joined()
