"""What of benchmarks/accelerator.py needs no device: what is measured in the time there is, and what is written."""

import json
import os
import sys
import time

import pytest

from benchmarks import process
from benchmarks.accelerator import measure_all
from benchmarks.plan import ENTRIES, PATIENCE, Budget, Entry
from benchmarks.results import EPOCH, PUBLISHED, TARGETS, Results

FIRST, SECOND, THIRD = (Entry('step', 100.0, batch=i) for i in (1, 2, 3))
LOOP = Entry('published', 10.0)


class Clock:
    """Stands still until it is moved."""

    now = 50.0

    def __call__(self):
        return self.now


class Runs:
    """Entries that take, print and end as they are told."""

    def __init__(self, clock, **ends):
        self.clock, self.ends, self.limits = clock, ends, {}

    def __call__(self, entry, limit, take):
        seconds, lines, state = self.ends.get(str(entry.batch), (100.0, [{'what': 'ours', 'seconds': 1.0}], 'done'))
        self.limits[entry.batch] = limit
        for line in lines:
            take(json.dumps(line))
        self.clock.now += seconds
        return state, '' if state == 'done' else f'{state} for a reason'


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path, {'minutes': 10})


def written(results):
    return json.loads((results._folder / 'accelerator.json').read_text())


def measured(results, entries, seconds, torch=True, **ends):
    clock = Clock()
    runs = Runs(clock, **ends)
    measure_all(entries, Budget(seconds, clock), results, torch, runs)
    return runs, {name: entry['state'] for name, entry in written(results)['entries'].items()}


def test_names_tell_measurements_apart_and_the_first_meet_the_targets():
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names)
    early = {target.entry for target in TARGETS if not target.entry.endswith('_8')}
    assert early <= set(names[:5])
    # What a call of ten minutes gets to, as far as the guesses go.
    assert sum(entry.seconds for entry in ENTRIES[:6]) < 600


def test_what_no_longer_fits_is_skipped_and_what_is_shorter_is_measured(results, capsys):
    _, states = measured(results, [FIRST, SECOND, LOOP], 150)
    assert states == {FIRST.name: 'done', SECOND.name: 'skipped', LOOP.name: 'done'}
    assert written(results)['entries'][SECOND.name]['reason'] == 'takes about 100 s, and 50 s are left'
    assert f'{SECOND.name}: skipped, takes about 100 s, and 50 s are left' in capsys.readouterr().out
    assert not results.failed


def test_what_was_measured_says_how_long_the_rest_takes(results):
    # 50 s for what was guessed to take 100 s: 70 s are enough for the second.
    _, states = measured(results, [FIRST, SECOND], 120, **{'1': (50.0, [], 'done')})
    assert states[SECOND.name] == 'done'
    _, states = measured(results, [FIRST, SECOND], 250, **{'1': (130.0, [], 'done')})
    assert states[SECOND.name] == 'skipped'


def test_without_pytorch_only_its_rows_are_skipped(results):
    _, states = measured(results, [LOOP, FIRST], 150, torch=False)
    assert states == {LOOP.name: 'skipped', FIRST.name: 'done'}
    assert written(results)['entries'][LOOP.name]['reason'] == 'PyTorch is not installed'


def test_a_failure_stops_nothing_and_keeps_its_records(results):
    ends = {'1': (10.0, [{'facts': {'device': 'x'}}, {'what': 'ours', 'seconds': 2.0}], 'failed')}
    _, states = measured(results, [FIRST, SECOND], 1000, **ends)
    assert states == {FIRST.name: 'failed', SECOND.name: 'done'}
    assert results.failed
    found = written(results)
    assert found['facts'] == {'device': 'x'}
    assert results.markdown().startswith('minutes: 10, device: x.\n')
    assert found['entries'][FIRST.name]['records'] == [{'what': 'ours', 'seconds': 2.0}]
    assert f'| {FIRST.name} | | | | | | | failed: failed for a reason |' in results.markdown()


def test_too_late_is_a_failure_unless_the_time_was_over(results):
    runs, states = measured(results, [FIRST, SECOND], 420, **{'1': (300.0, [], 'late'), '2': (120.0, [], 'late')})
    # At its own limit; the second was expected to take three times as long as guessed, and did not fit.
    assert runs.limits == {1: PATIENCE * FIRST.seconds}
    assert states == {FIRST.name: 'failed', SECOND.name: 'skipped'}
    runs, states = measured(results, [FIRST], 120, **{'1': (120.0, [], 'late')})
    assert runs.limits == {1: 120}
    assert states[FIRST.name] == 'unfinished'


def test_files_are_written_with_every_record(results):
    def run(entry, limit, take):
        take(json.dumps({'what': 'ours', 'seconds': 0.25, 'share_of_bound': 0.6, 'memory_gib': 1.5}))
        found = written(results)['entries'][entry.name]
        assert (found['state'], len(found['records'])) == ('running', 1)
        assert (
            f'| {entry.name} | ours | 0.25 |  |  | 60 % | 1.50 |  |' in (results._folder / 'accelerator.md').read_text()
        )
        return 'done', ''

    measure_all([FIRST], Budget(1000), results, True, run)
    assert 'running' not in (results._folder / 'accelerator.md').read_text()


def test_targets_are_printed_beside_what_was_measured(results):
    loop, own, step, half = (
        entry
        for name in (
            'published_kd_mtl_float32_2',
            'epoch_kd_mtl_float32_2',
            'step_kd_mtl_float32_2',
            'compiled_kd_mtl_bfloat16_2',
        )
        for entry in ENTRIES
        if entry.name == name
    )
    for entry in (loop, own, step, half):
        results.begin(entry)
    results.add(loop, {'what': PUBLISHED, 'seconds': 30.0})
    results.add(own, {'what': EPOCH, 'seconds': 5.0})
    results.add(step, {'what': 'torch', 'seconds': 1.0, 'ratio': 2.9})
    results.add(step, {'what': 'ours', 'seconds': 1.0, 'share_of_bound': 0.5})
    results.add(half, {'what': 'torch_compile', 'seconds': 1.0, 'ratio': 1.4})
    said = {t['target']: (t['wanted'], t['measured'], t['said']) for t in written(results)['targets']}
    assert said['published epoch ÷ ours, float32'] == (5, 6.0, 'reached')
    assert said['PyTorch eager float32 ÷ ours, batch 2'] == (3, 2.9, 'missed')
    assert said['PyTorch compiled bfloat16 channels-last ÷ ours, batch 2'] == (1.3, 1.4, 'reached')
    assert said['share of the roofline, float32, batch 2'] == (0.5, 0.5, 'reached')
    assert said['share of the roofline, float32, batch 8'] == (0.5, None, 'not measured')
    assert '| PyTorch eager float32 ÷ ours, batch 2 | ≥ 3 | 2.9 | missed |' in results.markdown()


def ran(tmp_path, code, limit=20.0):
    lines = []
    out, err = tmp_path / 'out', tmp_path / 'err'
    status = process.run([sys.executable, '-c', code], os.environ, limit, out, err, lines.append)
    return status, lines, err


def test_lines_are_taken_and_failures_have_a_reason(tmp_path):
    assert ran(tmp_path, 'print(1); print(2)')[:2] == (0, ['1', '2'])
    status, lines, err = ran(tmp_path, "print(1); raise ValueError('no room')")
    assert (status, lines, process.reason(status, err)) == (1, ['1'], 'ValueError: no room')
    status, _, err = ran(tmp_path, 'import os; os.kill(os.getpid(), 9)')
    assert process.reason(status, err) == 'killed by SIGKILL'


def test_a_process_ends_at_its_limit_with_what_it_has_started(tmp_path):
    started = tmp_path / 'started'
    code = (
        'import subprocess, sys, time; child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]);'
        f'open({str(started)!r}, "w").write(str(child.pid)); print("begun", flush=True); time.sleep(60)'
    )
    began = time.monotonic()
    status, lines, _ = ran(tmp_path, code, limit=2)
    assert (status, lines) == (None, ['begun'])
    assert time.monotonic() - began < 20
    assert ended(int(started.read_text()))


def ended(pid):
    """Whether a process is gone within some seconds, or nobody has asked how it ended."""
    for _ in range(100):
        try:
            with open(f'/proc/{pid}/stat') as file:
                if file.read().rpartition(') ')[2].startswith('Z'):
                    return True
        except OSError:
            return True
        time.sleep(0.1)
    return False
