"""Checkpoints: whatever the folder is called, what comes back is what was written, or an older one."""

import errno
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mtkd_jax.training import checkpoint
from mtkd_jax.training.checkpoint import Checkpointer, Position
from mtkd_jax.training.state import TrainState
from mtkd_jax.types import UserError


def state(step):
    params = {'x': jnp.arange(6.0) * step}
    return TrainState(jnp.asarray(step, jnp.int32), params, {}, (), ())


def position(step):
    return Position(0, step, 4, 32, 0)


def saved(folder):
    with Checkpointer(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state(step), position(step))
    return folder


def restored_step(folder):
    with Checkpointer(folder) as checkpoints:
        found, where = checkpoints.restore(state(0))
        assert checkpoints.last_good(state(0)) == int(found.step)
    assert where == position(int(found.step))
    np.testing.assert_array_equal(found.params['x'], state(int(found.step)).params['x'])
    return int(found.step)


@pytest.mark.parametrize('name', ['lr[1e-3]', 'a*b?c', 'a=b c', 'größe'])
def test_a_folder_is_no_pattern(tmp_path, name):
    assert restored_step(saved(tmp_path / name)) == 2


def test_how_arrays_were_split_is_not_written(tmp_path, monkeypatch):
    """Earlier versions wrote it, by Orbax's `StandardSave`; what they wrote is read, and continued."""
    with monkeypatch.context() as earlier:
        earlier.setattr(checkpoint, '_handlers', lambda: None)
        earlier.setattr(ocp.args, 'PyTreeSave', ocp.args.StandardSave)
        saved(tmp_path)
    left_out = {'_sharding', 'array_metadatas'}
    assert left_out <= {file.name for file in (tmp_path / '2').rglob('*')}
    assert restored_step(tmp_path) == 2
    with Checkpointer(tmp_path) as checkpoints:
        checkpoints.save(state(3), position(3))
    assert restored_step(tmp_path) == 3
    assert not left_out & {file.name for file in (tmp_path / '3').rglob('*')}


def flip(content):
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]


@pytest.mark.parametrize('damage', [lambda c: b'', lambda c: c[: len(c) // 2], flip], ids=['empty', 'half', 'bit'])
@pytest.mark.parametrize('item', ['state', 'position'])
def test_a_damaged_checkpoint_falls_back(tmp_path, item, damage):
    saved(tmp_path)
    for file in [file for file in (tmp_path / '2' / item).rglob('*') if file.is_file()]:
        file.write_bytes(damage(file.read_bytes()))
    assert restored_step(tmp_path) == 1


def test_an_edited_position_falls_back(tmp_path):
    (file,) = (saved(tmp_path) / '2' / 'position').glob('metadata')
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1').replace('"seed":0', '"seed":1'))
    assert restored_step(tmp_path) == 1


def test_files_are_on_disk_before_a_checkpoint_gets_its_name(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(checkpoint, 'sync', lambda places: events.extend(Path(p).name for p in places))
    saved(tmp_path)
    named = [i for i, name in enumerate(events) if name == '2']
    arrays = [i for i, name in enumerate(events) if name == 'manifest.ocdbt']
    assert min(arrays) < min(named)


def test_a_disk_without_room_is_one_sentence_and_nothing_is_written(tmp_path, monkeypatch):
    free = checkpoint.SPARE + sum(x.nbytes for x in jax.tree.leaves(state(1))) - 1
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, 'disk_usage', lambda place: usage._replace(free=free))
    with Checkpointer(tmp_path) as checkpoints:
        with pytest.raises(UserError, match=r'a checkpoint needs 4 MB, but 4.0 MB are free; make room'):
            checkpoints.save(state(1), position(1))
        assert checkpoints.restore(state(0)) is None
        free += 1
        checkpoints.save(state(1), position(1))
    assert restored_step(tmp_path) == 1


def test_a_disk_that_fills_while_a_checkpoint_is_written_is_the_systems_error(tmp_path, monkeypatch, capfd):
    """Without the tracebacks of the threads that write; the checkpoint before is the newest."""
    saved(tmp_path)

    async def full(self):
        raise ValueError(f'RESOURCE_EXHAUSTED: Failed to write 11568 bytes to file 9: {os.strerror(errno.ENOSPC)}')

    def fails():
        with Checkpointer(tmp_path) as checkpoints:
            checkpoints.save(state(3), position(3))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.Durable, 'finalize', full)
        with pytest.raises(OSError, match='No space left on device') as raised:
            fails()
    assert raised.value.errno == errno.ENOSPC
    assert 'Traceback' not in capfd.readouterr().err
    assert restored_step(tmp_path) == 2


def test_a_save_waits_for_those_of_other_threads(tmp_path, monkeypatch):
    """Orbax counts the saves of a process as if one followed the other."""
    with Checkpointer(tmp_path / 'mine') as mine, Checkpointer(tmp_path / 'other') as other:
        saving = iter([True, True, False])
        monkeypatch.setattr(other._manager, 'is_saving_in_progress', lambda: next(saving))
        mine.save(state(1), position(1))
        assert list(saving) == []
        monkeypatch.undo()
    # One that is closed is not asked.
    monkeypatch.setattr(other._manager, 'is_saving_in_progress', lambda: pytest.fail('it is closed'))
    assert restored_step(saved(tmp_path / 'mine')) == 2
