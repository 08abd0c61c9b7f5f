"""Workdirs in object stores: what is written there is whole, held by one process, and comes back as it was."""

import importlib.util
import json
import threading
import time

import numpy as np
import pytest

from mtkd_jax import files, places
from mtkd_jax.places import place
from mtkd_jax.records import RecordWriter, read_records
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.training import lease, objects
from mtkd_jax.training.checkpoint import Checkpointer
from mtkd_jax.training.folder import load_model, save_model
from mtkd_jax.training.lease import Lease
from mtkd_jax.training.lock import locked
from mtkd_jax.training.stop import StoppedError, StopRequest
from mtkd_jax.types import UserError
from tests import small, stores
from tests.training.test_checkpoint import position, restored_step, saved, state

BOTH = ('s3', 'gs')


@pytest.fixture(scope='module', params=BOTH)
def store(request):
    """Makes an unused folder of a store."""
    request.getfixturevalue({'s3': 's3', 'gs': 'gcs'}[request.param])
    return lambda: stores.fresh(request.param)


@pytest.fixture
def quick(monkeypatch):
    """Leases of half a second."""
    for name, seconds in (('LEASE', 0.6), ('RENEW', 0.1), ('POLL', 0.05), ('SETTLE', 0.3)):
        monkeypatch.setattr(lease, f'{name}_SECONDS', seconds)


def test_a_folder_of_a_store_is_a_path(store):
    folder = store()
    beside = folder.parent / f'{folder.name}0' / 'file'
    beside.write_bytes(b'')
    assert not folder.exists()
    (folder / 'a' / 'b[1]*').write_text('é')
    assert (folder.is_dir(), folder.is_file(), (folder / 'a' / 'b[1]*').is_file()) == (True, False, True)
    assert [path.name for path in folder.iterdir()] == ['a']
    assert list(folder.glob('*/b?1*')) == [folder / 'a' / 'b[1]*']
    assert (folder / 'a' / 'b[1]*').open().read() == 'é'
    assert (folder / 'a' / 'b[1]*').stat().st_size == 2
    assert abs((folder / 'a' / 'b[1]*').stat().st_mtime_ns / 1e9 - time.time()) < 600
    assert places.matches(str(folder.parent / '*')) != []
    assert str(folder / 'a') == f'{folder}/a'
    places.remove_folder(folder)
    assert not folder.exists()
    assert beside.is_file()
    with pytest.raises(FileNotFoundError):
        files.read_json(folder / 'none', '')
    with pytest.raises(UserError, match=r'none does not exist. Check the path.'):
        files.read_npz(folder / 'none')
    with pytest.raises(UserError, match=r'cannot be written: there is no such bucket; make it'):
        files.write_text(place(f'{str(folder)[:5]}none/file'), '')


def test_records_and_models_are_written_whole_and_read_again(store):
    folder = store()
    with MetricWriter(folder) as writer:
        for step in (1, 2, 3):
            writer.write({'step': step, 'epoch': 0, 'split': 'train', 'loss': 0.5})
            assert len(list(read_records(folder))) == step
    assert len(list((folder / 'tensorboard').iterdir())) == 1
    again = RecordWriter(folder, resume_step=2)
    again.append({'step': 2, 'epoch': 0, 'split': 'train', 'loss': 0.25})
    assert [(record['step'], record['loss']) for record in read_records(folder)] == [(1, 0.5), (2, 0.25)]
    variables = small.teacher_variables(0)
    spec = {'data': {}, 'backbone': 'x', 'tasks': [], 'compute_dtype': 'float32', 'network': {}}
    save_model(folder / 'model', spec, variables)
    found = load_model(folder / 'model')[1]
    np.testing.assert_equal(found, {name: dict(tree) for name, tree in variables.items()})


def test_checkpoints_come_back_and_what_is_not_whole_does_not(store):
    folder = store()
    # What its name would match as a pattern.
    other = folder.with_name(folder.name.replace('[x]*?', 'x..')) / '2' / objects.COMMIT
    other.write_bytes(b'')
    saved(folder)
    # As if the process had been killed before the last object.
    (folder / '2' / objects.COMMIT).unlink()
    assert restored_step(folder) == 1
    assert not (folder / '2').exists()
    with Checkpointer(folder) as checkpoints:
        checkpoints.save(state(2), position(2))
    for item in (folder / '2' / 'state').objects():
        item.write_bytes(item.read_bytes()[:10])
    with Checkpointer(folder) as checkpoints:
        found, _ = checkpoints.restore(state(0))
        assert int(found.step) == 1
        checkpoints.save(state(2), position(2))
    assert restored_step(folder) == 2
    assert other.is_file()


def test_the_newest_two_checkpoints_are_kept(store):
    folder = store()
    for step in (1, 2, 10, 11):
        (folder / str(step) / 'state' / 'x').write_bytes(b'')
        if step != 11:
            (folder / str(step) / objects.COMMIT).write_bytes(b'')
    objects.tidy(folder)
    assert sorted(path.name for path in folder.iterdir()) == ['10', '2']
    assert (folder / '2' / 'state' / 'x').is_file()


def test_a_lease_is_held_by_one_and_waited_for(store, quick, capsys):
    folder = store()
    stop = StopRequest()
    with locked(folder, StopRequest()):
        threading.Timer(2 * lease.LEASE_SECONDS, lambda: setattr(stop, 'requested', True)).start()
        with pytest.raises(StoppedError, match=r'before the lock of .* was free'), locked(folder, stop):
            pass
        (folder / 'file').write_bytes(b'')
    assert 'is in use by process' in capsys.readouterr().err
    began = time.monotonic()
    with locked(folder, StopRequest()):
        assert time.monotonic() - began < lease.LEASE_SECONDS + 5
        assert len(list((folder / 'lock').iterdir())) == 1


def test_a_lease_ends_with_its_process_and_who_was_asleep_writes_no_more(store, quick, monkeypatch):
    folder = store()
    asleep, waking = Lease(folder), threading.Event()
    holds = asleep._holds
    monkeypatch.setattr(asleep, '_holds', lambda: not asleep._renewing.is_alive() or (waking.wait(), holds())[1])
    assert asleep.take() is None
    began = time.monotonic()
    with locked(folder, StopRequest()):
        assert time.monotonic() - began > lease.LEASE_SECONDS
        waking.set()
        asleep._renewing.join(10)
        with pytest.raises(UserError, match='has been taken by another process'):
            (folder / 'model' / 'file').write_bytes(b'')
        with pytest.raises(UserError, match='has been taken by another process'), Checkpointer(folder / 'c') as saving:
            saving.save(state(1), position(1))
        places.gain(folder)
        asleep.release()
        assert json.loads((folder / 'lock' / '00000002').read_text())['released'] is False
    with locked(folder, StopRequest()):
        (folder / 'file').write_bytes(b'')


@pytest.mark.parametrize('conditions', [True, False], ids=['refused', 'written anyway'])
def test_of_several_who_take_a_free_lease_at_once_one_has_it(store, quick, monkeypatch, conditions):
    monkeypatch.setattr(stores, 'CONDITIONS', conditions)
    folder = store()
    if not (conditions or str(folder).startswith('gs')):
        pytest.skip('S3 and its emulator know the condition.')
    rivals = [Lease(folder) for _ in range(3)]
    together, said = threading.Barrier(len(rivals)), {}
    read = Lease._read

    def found_free(self, number):
        # All have looked before one of them writes.
        if self not in said:
            said[self] = ''
            together.wait(30)
        return read(self, number)

    monkeypatch.setattr(Lease, '_read', found_free)
    threads = [threading.Thread(target=lambda one=one: said.update({one: one.take()})) for one in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (one for one in rivals if said[one] is None)
    winner.release()


def test_what_is_missing_is_said_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    places._store.cache_clear()
    for scheme, package, extra in (('s3', 's3fs', 's3'), ('gs', 'gcsfs', 'gcs')):
        with pytest.raises(UserError, match=rf'{scheme}:// needs the package {package}, .*mtkd_jax\[{extra}\]'):
            place(f'{scheme}://bucket/run')
    with pytest.raises(UserError, match=r's3:// names no bucket; give s3://BUCKET/FOLDER'):
        place('s3://')
