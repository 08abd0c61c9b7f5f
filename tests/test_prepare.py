"""The prepare command as a user runs it: what it prints, how it fails, and what an end in the middle leaves."""

import importlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from mtkd_jax import command, datasets, prepare
from mtkd_jax.reporting import prepared
from mtkd_jax.types import UserError
from tests.datasets import nyuv2_source

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0  # seconds; a machine may be busy


# The command, which waits for the last frame of all: everything else is written then.
WAITING = """
import time
from mtkd_jax import command, prepare
from mtkd_jax.datasets.files.npy_folder import NpyFolder
read = NpyFolder.read
def waiting(self, split, i):
    while (split, i) == ('test', 2):
        time.sleep(0.1)  # a signal that arrives just before a sleep is handled after it
    return read(self, split, i)
NpyFolder.read = waiting
command.start(prepare.main)
"""


def start(*flags, program=('-m', 'mtkd_jax.prepare'), **options):
    return subprocess.Popen([sys.executable, *program, *flags], cwd=ROOT, text=True, **options)


def run(*flags):
    process = start(*flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, 'it did not happen'
        time.sleep(0.02)


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*'))


@pytest.fixture(autouse=True)
def _interruptible():
    """Tests that run in the background have SIGINT ignored, and their children would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def started():
    """Processes to end after the test, whatever happens in it."""
    processes = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def flags(tmp_path):
    source = nyuv2_source.write_folder(tmp_path / 'files')
    return '--dataset=nyuv2', f'--source={source}', f'--data_dir={tmp_path / "prepared"}'


def open_nyuv2(tmp_path):
    return datasets.named('nyuv2').open({'height': 32, 'width': 64}, str(tmp_path / 'prepared'))


def test_it_prepares_and_says_what_it_found(flags, tmp_path):
    (tmp_path / 'files/notes.txt').touch()
    code, out, err = run(*flags)
    assert (code, err) == (0, '')
    assert open_nyuv2(tmp_path).counts == {'train': 5, 'test': 3}
    for line in (
        'Preprocessed data, 32x64; normals: as given.',
        'train: 5 examples',
        'test: 3 examples',
        'train has 5 frames; the official split has 795.',
        '1 other file was not used: notes.txt',
        f'Written to {tmp_path}/prepared/nyuv2/32x64/1.0.0',
    ):
        assert line in out
    assert re.search(r'^  depth \(m\) +0\.\d{4} +\d\.\d{4} +9\.\d{4} +\d+\.\d\d %$', out, re.MULTILINE)
    assert re.search(r'^  classes: bed \d+\.\d %, .*, window \d+\.\d %$', out, re.MULTILINE)
    # A file, not a terminal: nothing that moves or colours.
    assert '\x1b' not in out
    assert 'preparing test: example 3/3 (100%), done' in out

    code, out, err = run(*flags)
    assert (code, err) == (0, '')
    assert f'Already prepared in {tmp_path}/prepared/nyuv2/32x64/1.0.0' in out
    assert 'step' not in out


def test_it_fails_in_one_paragraph_and_goes_on_afterwards(flags, tmp_path):
    file = tmp_path / 'files/val/depth/2.npy'
    whole = file.read_bytes()
    file.write_bytes(whole[:-50])
    code, _, err = run(*flags)
    assert code == 1
    assert err.startswith(f'error: {file} cannot be read')
    kept = tmp_path / 'prepared/nyuv2/32x64/unfinished.1.0.0'
    assert err.endswith(f'5 examples are kept in {kept}; the same command goes on from there.\n')
    assert err.count('\n') == 2
    file.write_bytes(whole)
    code, out, err = run(*flags)
    assert (code, err) == (0, '')
    assert 'preparing train: example 5/5' in out
    assert not kept.exists()


def test_a_broken_first_part_leaves_nothing(flags, tmp_path):
    file = tmp_path / 'files/train/depth/2.npy'
    file.write_bytes(file.read_bytes()[:-50])
    assert run(*flags)[0] == 1
    assert tree(tmp_path / 'prepared') == []


def test_it_verifies_what_it_prepared(flags, tmp_path):
    code, out, err = run(*flags, '--verify')
    assert (code, err) == (0, '')
    assert 'Verified: 5 examples of train, 3 examples of test.' in out
    prepared = tmp_path / 'prepared/nyuv2/32x64/1.0.0'
    for split in ('train', 'test'):
        sheet = prepared / f'contact_{split}.png'
        assert f'Some examples: {sheet}' in out
        assert sheet.stat().st_size > 1000
    only = '--dataset=nyuv2', '--size=32x64', f'--data_dir={tmp_path / "prepared"}', '--verify'
    assert run(*only)[0] == 0
    recorded = prepared / 'metadata.json'
    recorded.write_text(re.sub(r'"examples": 3', '"examples": 4', recorded.read_text()))
    code, _, err = run(*only)
    assert code == 1
    assert err == f'error: {prepared}: test holds 3 examples, recorded are 4.\n'


def blocked(flags, tmp_path, started):
    """A prepare that waits for the last frame of all: it has written everything else."""
    process = start(*flags, program=('-c', WAITING), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    started.append(process)
    wait_for(lambda: process.poll() is not None or list((tmp_path / 'prepared').rglob('unfinished.1.0.0/test.part0')))
    assert process.poll() is None
    return process


@pytest.mark.parametrize('kill', [signal.SIGKILL, signal.SIGTERM])
def test_after_a_kill_the_next_one_begins_cleanly(flags, tmp_path, started, kill):
    process = blocked(flags, tmp_path, started)
    folder = tmp_path / 'prepared/nyuv2/32x64'
    process.send_signal(kill)
    process.communicate()
    assert process.returncode == -kill
    assert sorted(p.name for p in folder.iterdir()) == ['incomplete.new', 'unfinished.1.0.0']
    with pytest.raises(datasets.DataNotPrepared):
        open_nyuv2(tmp_path)
    assert run(*flags)[0] == 0
    assert [p.name for p in folder.iterdir()] == ['1.0.0']
    assert open_nyuv2(tmp_path).counts == {'train': 5, 'test': 3}


def test_ctrl_c_keeps_what_is_whole(flags, tmp_path, started):
    process = blocked(flags, tmp_path, started)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    kept = tmp_path / 'prepared/nyuv2/32x64/unfinished.1.0.0'
    said = f'Interrupted: 5 examples are kept in {kept}; the same command goes on from there.\n'
    assert (process.returncode, err) == (prepare.INTERRUPTED, said)
    assert [p.name for p in kept.parent.iterdir()] == [kept.name]


def alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='needs Linux to list child processes')
@pytest.mark.parametrize('kill', [signal.SIGKILL, signal.SIGINT])
def test_renderers_end_with_their_parent(tmp_path, started, kill):
    flags = '--dataset=rooms', '--size=96x128', '--train=5000', f'--data_dir={tmp_path}'
    process = start(*flags, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    started.append(process)
    children = Path(f'/proc/{process.pid}/task')

    def workers():
        found = ' '.join(p.read_text() for p in children.glob('*/children')).split()
        return [pid for pid in found if 'spawn_main' in Path(f'/proc/{pid}/cmdline').read_text()]

    wait_for(lambda: process.poll() is not None or workers())
    pids = workers()
    assert pids
    process.send_signal(kill)
    process.communicate(timeout=PATIENCE)
    wait_for(lambda: not any(alive(pid) for pid in pids))


def test_a_terminal_gets_a_live_line(flags):
    here, there = pty.openpty()
    process = start(*flags, stdout=there, stderr=there, env={**os.environ, 'TERM': 'xterm-256color', 'COLUMNS': '100'})
    os.close(there)
    shown = b''
    while True:
        try:
            part = os.read(here, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(here)
    assert process.wait(PATIENCE) == 0
    assert b'\x1b[' in shown
    assert b'5/5' in shown
    assert b'Written to' in shown


@pytest.mark.parametrize('text', ['288', '288x', '0x64', '-1x64', '288*384'])
def test_sizes_that_are_none_are_named(text):
    with pytest.raises(UserError, match=re.escape(f"`size` is '{text}'; give height x width in pixels")):
        command.parse_size(text)


def test_sizes_are_height_by_width():
    assert command.parse_size('288x384') == (288, 384)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({}, r'--dataset=\.\.\. is missing'),
        ({'dataset': 'nyuv2'}, r'--source=\.\.\. is missing'),
        ({'dataset': 'nyu'}, "`dataset` is 'nyu'; choose one of nyuv2, .*Did you mean 'nyuv2'?"),
        ({'dataset': 'rooms', 'classes': 19}, '--classes is for nyuv2, cityscapes; rooms has no use for it'),
        ({'dataset': 'nyuv2', 'source': 'x', 'classes': 19}, '`data.classes` is 19; nyuv2 has 13 or 40'),
        ({'dataset': 'taskonomy', 'source': 'x', 'ignore_label': 255}, '--ignore_label is for nyuv2, cityscapes; task'),
        ({'dataset': 'rooms', 'depth_scale': 0.001}, '--depth_scale is for nyuv2, cityscapes; rooms has no use'),
        ({'dataset': 'taskonomy', 'source': 'x', 'depth': 'metric'}, '--depth is for cityscapes; taskonomy has no'),
        ({'dataset': 'rooms', 'source': 'x'}, '--source is for nyuv2, cityscapes, taskonomy, svhn_omniglot; rooms has'),
        ({'dataset': 'rooms', 'characters': 60}, '--characters is for glyphs; rooms has no use for it'),
        ({'dataset': 'cityscapes', 'source': 'x', 'train': 0}, '--train is for rooms, glyphs; cityscapes has no use'),
    ],
)
def test_missing_and_useless_flags_are_named(arguments, message):
    absl_flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(**arguments), pytest.raises(UserError, match=message), prepare.SplitProgress() as progress:
        prepare.prepare(*prepare.chosen(), progress)


@pytest.fixture
def parsed():
    # Benchmarks, which other tests import, have flags of the same names: define these again.
    importlib.reload(prepare)
    absl_flags.FLAGS.mark_as_parsed()


def test_a_label_and_a_unit_reach_the_reader_as_numbers(parsed, flags, tmp_path):
    given = {'dataset': 'nyuv2', 'source': str(tmp_path / 'files'), 'data_dir': str(tmp_path / 'out')}
    with flagsaver.as_parsed(**given, ignore_label='0', depth_scale='0.5'), prepare.SplitProgress() as progress:
        found = prepare.prepare(*prepare.chosen(), progress)
    assert (found.metadata['ignore_label'], found.metadata['depth_scale']) == (0, 0.5)
    assert found.metadata['splits']['train']['class_percent'][0] == 0


def test_ctrl_c_after_preparing_says_what_there_is(parsed, flags, tmp_path, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared, 'write_sheets', interrupt)
    given = {'dataset': 'nyuv2', 'source': str(tmp_path / 'files'), 'data_dir': str(tmp_path / 'out')}
    with flagsaver.flagsaver(**given), pytest.raises(SystemExit) as ended:
        prepare.main()
    assert ended.value.code == prepare.INTERRUPTED
    said = f'Interrupted: what was prepared is in {tmp_path}/out/nyuv2/32x64/1.0.0.\n'
    assert capsys.readouterr().err.endswith(said)
