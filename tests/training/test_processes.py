"""Two processes with two devices each train what one process with four does; they stop, fail and continue together.

With SGD: a bias before a normalisation has no gradient but rounding, which Adam makes steps of.
"""

import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from mtkd_jax.experiment.run import run
from mtkd_jax.records import read_records
from mtkd_jax.training import joining, processes
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import UserError
from tests.recipes import load
from tests.several import ended, free_port, start

S = 'tasks=depth+normals,backbone=tests.shallow,optimizer=sgd'
WIDE = {'widths': (64, 4, 4, 4, 4), 'fsdp': True}
JOBS = {
    'gramian': (f'method=mgda,{S}', WIDE),
    'gradients': (f'method=pcgrad,{S}', {}),
    'losses': (f'method=dwa,{S}', {'epochs': 3, 'selection': 'lowest_training_loss'}),
    'features': (f'method=mgda,gramian_of=features,{S}', {}),
    'bam': (f'method=bam,{S}', {'data__placement': 'host'}),
    'no_distillation': ('method=no_distillation,backbone=segnet_sd,tasks=depth,optimizer=sgd', {}),
    'traditional_kd': ('method=traditional_kd,backbone=segnet_sd,tasks=depth,optimizer=sgd', {}),
    'self_distillation': ('method=sd_mtcnn,backbone=segnet_sd,tasks=depth,optimizer=sgd', {}),
}


@pytest.fixture(scope='module')
def together(rooms, tmp_path_factory):
    folder = tmp_path_factory.mktemp('together')
    jobs = {name: (recipe, {**fields, 'data__data_dir': rooms}) for name, (recipe, fields) in JOBS.items()}
    started = start(folder, jobs)
    yield started, folder
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize('name', JOBS)
def test_two_processes_train_what_one_does(rooms, tmp_path, together, name):
    """The same losses, metrics and weights, up to rounding: batches are the same, row by row."""
    recipe, fields = JOBS[name]
    run(load('rooms', recipe, **fields, data__data_dir=rooms, devices=4), tmp_path)
    status, said = ended(*together)
    assert status == [0, 0], said
    theirs = together[1] / name
    stages = sorted(path.relative_to(tmp_path) for path in tmp_path.glob('**/stages/*'))
    assert stages
    for stage in stages:
        ours = list(read_records(tmp_path / stage))
        found = list(read_records(theirs / stage))
        assert [(r['step'], r['split']) for r in found] == [(r['step'], r['split']) for r in ours]
        for mine, other in zip(ours, found, strict=True):
            assert set(mine) == set(other)
            for key in set(mine) - {'split', 'seconds', 'waiting'}:
                # Rounding decides ties in pooling.
                tolerance = 1e-3 if key == 'gradient_norm' else 1e-5
                assert other[key] == pytest.approx(mine[key], rel=tolerance, abs=1e-5), (stage, mine['step'], key)
        assert load_model(theirs / stage / 'model')[0] == load_model(tmp_path / stage / 'model')[0]
        assert (theirs / stage / 'results.json').is_file()
    assert (theirs / 'report.md').is_file()
    assert said[1].count('stage') == 0


SAVED = {'epochs': 12, 'checkpoint_every_steps': 1, 'evaluate_every_epochs': 12, **WIDE}


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_stops_and_kills_of_one_process_lose_nothing(rooms, tmp_path):
    """SIGTERM to one: both save the same step. SIGKILL of one: the other ends, too. Both continue, or one alone."""
    fields = {**SAVED, 'data__data_dir': rooms}
    recipe = f'method=kd_mtl,{S}'.replace('+normals', '')
    job = {'run': (recipe, fields)}
    (tmp_path / 'whole').mkdir()
    assert ended(start(tmp_path / 'whole', job), tmp_path / 'whole')[0] == [0, 0]
    folder = tmp_path / 'parts'
    folder.mkdir()
    stage = folder / 'run' / 'stages' / 'kd_mtl'
    for number, who, after in ((signal.SIGTERM, 1, 2), (signal.SIGKILL, 0, 8), (signal.SIGKILL, 1, 14)):
        started = start(folder, job)
        until(
            lambda after=after: any(
                int(p.name) >= after for p in stage.glob('checkpoints/[0-9]*') if p.name.isdecimal()
            )
        )
        began = time.monotonic()
        started[who].send_signal(number)
        if number == signal.SIGTERM:
            time.sleep(0.5)
            started[who].send_signal(number)
        status, said = ended(started, folder, 90)
        assert time.monotonic() - began < 60
        assert status[who] == (143 if number == signal.SIGTERM else -9)
        assert status[1 - who] == (143 if number == signal.SIGTERM else -signal.SIGABRT if who == 0 else 1), said
        if number == signal.SIGTERM:
            assert ''.join(said).count('the state is saved') == 1
            shutil.copytree(folder / 'run', tmp_path / 'alone')
        elif who:
            assert 'process 1 has given no sign of life' in said[0]
        else:
            assert 'leader' in said[1]
    # Each of the two reads other files; neither may go on from a step that the other cannot read.
    newest = max(int(step.name) for step in (stage / 'checkpoints').iterdir() if step.name.isdecimal())
    # The largest file holds arrays; others may be read by nobody.
    files = (stage / 'checkpoints' / str(newest) / 'state').glob('**/d/*')
    max(files, key=lambda file: file.stat().st_size).write_bytes(b'')
    status, said = ended(start(folder, job), folder)
    assert status == [0, 0], said
    assert f'checkpoint {newest} is damaged' in said[0]
    run(load('rooms', recipe, **{**fields, 'fsdp': False}, devices=1), tmp_path / 'alone')
    for name in ('stl_depth', 'kd_mtl'):
        whole, parts, alone = (
            load_model(place / 'stages' / name / 'model')[1]
            for place in (tmp_path / 'whole' / 'run', folder / 'run', tmp_path / 'alone')
        )
        jax.tree.map(np.testing.assert_array_equal, parts, whole)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone, whole)


# Process 0 or 1 works until a file is there, is stopped before, or dies; the other has done its work.
WORKING = """
import os, signal, sys, time
from mtkd_jax.training import joining
address, me, working, done = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
tell = joining._Watch._tell
def slowly(watch, status, why):
    told = tell(watch, status, why)
    if status == 1:
        time.sleep(1.5 * joining.BEAT_SECONDS)  # so that the watching thread sees it
    return told
joining._Watch._tell = slowly
with joining.StopRequest() as stop, joining.joined(stop, address, 2, int(me)):
    print('joined', flush=True)
    while me == working and not os.path.exists(done):
        time.sleep(0.05)
"""


@pytest.mark.parametrize(
    ('number', 'working', 'who', 'status'),
    [(signal.SIGTERM, working, who, [143, 143]) for working in range(2) for who in range(2)]
    + [
        (signal.SIGKILL, 1, 1, [1, -signal.SIGKILL]),
        (signal.SIGKILL, 0, 0, [-signal.SIGKILL, -signal.SIGABRT]),
        (signal.SIGINT, 0, 1, [1, 1]),  # of a process that does not take it: a way out without a word
        (signal.SIGINT, 1, 0, [1, 1]),
        (0, 0, 0, [0, 0]),  # no signal
        (0, 1, 1, [0, 0]),
    ],
)
def test_a_process_that_has_done_its_work_ends_as_the_other_does(tmp_path, number, working, who, status):
    """As the others wait for the first one that draws: none returns before all have done their work."""
    words = [sys.executable, '-c', WORKING, f'localhost:{free_port()}']
    started = [
        subprocess.Popen(
            [*words, str(i), str(working), tmp_path / 'done'],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        assert [process.stdout.readline() for process in started] == ['joined\n', 'joined\n']
        time.sleep(1)  # at least as long as the other takes to finish
        assert [process.poll() for process in started] == [None, None]
        began = time.monotonic()
        if number:
            started[who].send_signal(number)
        else:
            (tmp_path / 'done').touch()
        said = [process.communicate(timeout=60)[1] for process in started]
        assert time.monotonic() - began < 60
        assert [process.returncode for process in started] == status, said
        text = ''.join(said)
        # jax says so where the first process is gone.
        assert ('detected fatal errors' in text) == (-signal.SIGABRT in status)
        assert text.count('given no sign of life') == (status == [1, -signal.SIGKILL])
        # The other one says so, and not the one that failed.
        assert text.count('so this one ends, too') <= 1
        assert number != signal.SIGINT or 'so this one ends, too' not in said[who]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_an_error_of_one_process_ends_the_other_and_is_named_once(rooms, tmp_path):
    started = start(tmp_path, {'wrong': (S, {'data__data_dir': rooms, 'batch_size': 6})})
    status, said = ended(started, tmp_path, 120)
    assert status == [1, 1]
    assert '`batch_size` is 6, which does not divide over 4 devices' in said[0]
    assert 'Traceback' not in said[1]


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (('localhost:1', 2, None), '--process is missing'),
        (('', 2, 0), '--coordinator is missing'),
        (('localhost:1', 2, 2), '--process is 2 of --processes=2; give 0 to 1'),
        (('localhost', 2, 0), "--coordinator is 'localhost'; give HOST:PORT"),
    ],
)
def test_flags_that_do_not_fit_are_refused(given, message):
    with pytest.raises(UserError, match=message), StopRequest() as stop, joining.joined(stop, *given):
        pass


def test_a_process_that_waits_in_vain_says_so_and_ends():
    code = (
        'from mtkd_jax.training import joining\n'
        'joining.SAID_SECONDS, joining.JOIN_SECONDS = 0.1, 1.5\n'
        f'with joining.StopRequest() as stop, joining.joined(stop, "localhost:{free_port()}", 2, 0): pass'
    )
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    waiting, ended = found.stderr.splitlines()
    assert waiting == 'waiting up to 2 s for the other processes'
    assert 'did not find each other' in ended
    assert 'reach the first one at localhost:' in ended


def test_a_process_alone_needs_nothing():
    with StopRequest() as stop, joining.joined(stop):
        assert processes.first()
        assert not processes.several()
        assert processes.from_first(lambda: 3) == processes.after_first(lambda: 3) == 3
        processes.meet()
