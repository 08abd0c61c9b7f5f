"""The real command: every config runs, a killed run continues exactly, errors are one paragraph."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
CONFIG = 'configs/rooms.py:tasks=depth+normals,backbone=tests.shallow'
TINY = (
    '--config.data.train_images=16',
    '--config.data.test_images=4',
    '--config.data.height=32',
    '--config.data.width=64',
    '--config.widths=(4,4,4,4,4)',
    '--config.eval_batch_size=4',
    '--config.batch_size=4',
    '--config.devices=1',
    '--config.epochs=2',
    '--config.panel_images=1',
)


def command(data_dir, workdir, *more, config='configs/rooms.py'):
    flags = [f'--config={config}', f'--workdir={workdir}', f'--config.data.data_dir={data_dir}', *more]
    return [sys.executable, '-m', 'mtkd_jax.main', *flags]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments, **options), cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('data')


@pytest.fixture(scope='module')
def unbroken(data_dir, tmp_path_factory):
    """A whole KD-MTL run on two tasks."""
    workdir = tmp_path_factory.mktemp('unbroken')
    done = run(data_dir, workdir, *TINY, config=CONFIG)
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout


def weights(workdir, stage):
    with np.load(workdir / 'stages' / stage / 'model' / 'weights.npz') as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_a_run_leaves_a_report_with_pictures(unbroken):
    workdir, printed = unbroken
    assert f'Report: {workdir}/report.md' in printed
    report = (workdir / 'report.md').read_text()
    assert 'kd_mtl' in report
    assert 'Δm' in report
    for stage in ('stl_depth', 'stl_normals', 'kd_mtl'):
        assert (workdir / 'figures' / f'{stage}.png').stat().st_size > 1000
        results = json.loads((workdir / 'stages' / stage / 'results.json').read_text())
        assert results['steps'] == 8
        assert list((workdir / 'stages' / stage / 'tensorboard').iterdir())


def test_finished_stages_are_not_trained_again_and_methods_share_them(unbroken, data_dir):
    workdir, _ = unbroken
    before = (workdir / 'stages' / 'stl_depth' / 'results.json').stat().st_mtime_ns
    done = run(data_dir, workdir, *TINY, config=f'{CONFIG},method=uniform')
    assert done.returncode == 0, done.stderr
    assert (workdir / 'stages' / 'uniform' / 'results.json').is_file()
    assert (workdir / 'stages' / 'stl_depth' / 'results.json').stat().st_mtime_ns == before


@pytest.mark.parametrize(('kind', 'status'), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_killed_run_continues_bit_identically(unbroken, data_dir, tmp_path, kind, status):
    """Killed in the second stage, once it has a checkpoint; then the same command again."""
    arguments = (data_dir, tmp_path, *TINY, '--config.checkpoint_every_steps=3')
    config = CONFIG
    process = subprocess.Popen(
        command(*arguments, config=config), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ
    )
    checkpoints = tmp_path / 'stages' / 'stl_normals' / 'checkpoints'
    deadline = time.monotonic() + 300
    while not (checkpoints.is_dir() and any(f.name.isdigit() for f in checkpoints.iterdir())):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(kind)
    process.communicate(timeout=300)
    assert process.returncode == status
    assert not (tmp_path / 'stages' / 'kd_mtl' / 'results.json').exists()
    done = run(*arguments, config=config)
    assert done.returncode == 0, done.stderr
    for stage in ('stl_normals', 'kd_mtl'):
        found, expected = weights(tmp_path, stage), weights(unbroken[0], stage)
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_second_run_in_the_same_workdir_waits_and_uses_what_the_first_trained(unbroken, data_dir, tmp_path):
    arguments = command(data_dir, tmp_path, *TINY, config=CONFIG)
    both = [subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert any(' is in use by process ' in text for text in said)
    for stage in ('stl_depth', 'stl_normals', 'kd_mtl'):
        for name, expected in weights(unbroken[0], stage).items():
            np.testing.assert_array_equal(weights(tmp_path, stage)[name], expected, err_msg=name)
        steps = [json.loads(line) for line in (tmp_path / 'stages' / stage / 'metrics.jsonl').read_text().splitlines()]
        where = [(record['step'], record['split']) for record in steps]
        assert len(where) == len(set(where)), 'trained twice'


def test_other_settings_in_the_same_workdir_are_refused(unbroken, data_dir):
    workdir, _ = unbroken
    done = run(
        data_dir,
        workdir,
        *TINY,
        '--config.learning_rate=0.5',
        config=CONFIG,
    )
    assert done.returncode == 1
    assert 'belongs to a run with other settings: `learning_rate` was 0.005, is 0.5' in done.stderr
    assert 'Traceback' not in done.stderr


def test_nyuv2_without_data_names_the_two_commands(tmp_path):
    done = run(tmp_path / 'data', tmp_path / 'run', config='configs/nyuv2.py')
    assert done.returncode == 1
    assert 'python -m mtkd_jax.prepare --dataset=nyuv2 --source=' in done.stderr
    assert 'python -m mtkd_jax.main --config=configs/nyuv2.py' in done.stderr
    assert 'Traceback' not in done.stderr
