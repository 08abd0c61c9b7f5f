"""benchmarks/step.py and accelerator.py at a tiny size: what they print and refuse; the step in PyTorch is ours."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import against, precision, random_data
from mtkd_jax.data.examples import first_examples
from mtkd_jax.tasks import depth, normals, segmentation
from mtkd_jax.types import UserError
from tests.reporting import fake

ROOT = Path(__file__).parents[1]
TINY = ('--widths=4,4,4,4,4', '--size=64x64', '--steps=2')


def benchmark(*flags, name='step'):
    return subprocess.run(
        [sys.executable, '-m', f'benchmarks.{name}', *flags],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


def figures(*flags):
    """The JSON that is printed, and the cells of the row below it."""
    done = benchmark(*TINY, *flags)
    assert done.returncode == 0, done.stderr
    text, _, row = done.stdout.strip().rpartition('\n')
    return json.loads(text), row.strip('| ').split(' | ')


@pytest.mark.parametrize(('method', 'points'), [('kd_mtl', ['last'])])
def test_a_step_is_measured(method, points):
    found, row = figures(f'--method={method}', *(f'--points={p}' for p in points), '--dtype=bfloat16', '--cached')
    assert found['cached_teachers']
    assert (found['method'], found['backbone'], found['points']) == (method, 'segnet', points)
    assert (found['size'], found['batch'], found['dtype'], found['device']) == ('64x64', 2, 'bfloat16', 'cpu ×1')
    least, most = found['step_seconds_range']
    assert 0 < least <= found['step_seconds'] <= most
    bound = max(
        found['gigaoperations_per_step'] / found['matrix_product_gigaoperations_per_second'],
        found['gigabytes_per_step'] / found['bandwidth_gigabytes_per_second'],
    )
    assert found['bound_seconds'] == pytest.approx(bound, rel=0.2)
    assert found['share_of_bound'] == pytest.approx(found['bound_seconds'] / found['step_seconds'], abs=0.01)
    assert found['compile_seconds'] > 0
    assert found['peak_memory_gib'] > 0
    assert 'ratio' not in found
    assert row[:5] == [method, 'segnet', '64×64', '2', 'bfloat16']
    assert len(row) == 11


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--method=kd_mlt'], "Did you mean 'kd_mtl'?"),
        (['--backbone=segnett'], "Did you mean 'segnet'?"),
        (['--size=96'], "`size` is '96'; give height x width"),
        (['--size=40x64'], '`data.height` is 40; segnet needs a multiple of 32.'),
        (['--widths=4,four'], '`widths` is 4,four; give whole numbers'),
        (['--widths=4,4'], '`widths` is'),
        (['--batch=0'], '`batch_size` is 0; it must be at least 1.'),
        (['--steps=0'], '`steps` is 0; it must be at least 1.'),
        (['--points=first'], 'segnet has mid, last'),
        (['--method=uniform', '--points=last'], 'uniform distils no features; leave it out.'),
        (['--dtype=float16'], 'float32|bfloat16'),
        (['--against=tensorflow'], 'torch|torch_channels_last|torch_compile'),
        (['--method=mgda', '--against=torch'], 'mgda on segnet has no PyTorch side'),
        (['--method=sd_mtcnn', '--against=torch'], 'sd_mtcnn on segnet_sd has no PyTorch side'),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, message):
    done = benchmark(*flags)
    assert done.returncode == 1
    assert done.stderr.startswith('error: ')
    assert done.stderr.count('\n') == 1
    assert message in done.stderr


def test_a_variant_is_a_row_for_every_network(tmp_path):
    both = [fake.stages(seed=seed) for seed in (0, 1)]
    both[1][-1]['results']['depth_abs'] *= 1.1
    paths = [fake.write(tmp_path / str(seed), stages) for seed, stages in enumerate(both)]
    heads, rows = precision.rows_of('bfloat16', paths, list(fake.TASKS.values()), {'kd_mtl': 3 * 2**20})
    single, several = (dict(zip(heads, row, strict=True)) for row in rows)
    assert (single['network'], several['network']) == ('bfloat16: single-task', 'bfloat16: kd_mtl')
    assert several['mIoU (%) ↑'] == '22.00 ± 0.00'
    times = ('step (ms)', 'compilation (s)', 'intermediate values (MiB)')
    # Compilation: of the first seed, single-task networks together.
    assert [single[name] for name in times] == ['50.0', '27.0', '–']
    assert [several[name] for name in times] == ['50.0', '9.0', '3.0']
    assert (
        precision.apart(*paths) == f'{paths[1]} differs from {paths[0]} by at most 10 % of a result (kd_mtl/depth_abs).'
    )


def test_sides_that_differ_are_not_compared():
    ours = {'loss/depth': 2.0, 'gradient_norm': 3.0, 'weight/depth': 1.0}
    found = against.differences(ours, {'loss/depth': 2.0001, 'gradient_norm': 3.003})
    assert found == {'loss/depth': pytest.approx(5e-5), 'gradient_norm': pytest.approx(1e-3)}
    for other in ({'loss/depth': 2.003}, {'loss/depth': float('nan')}, {'gradient_norm': 3.3}):
        with pytest.raises(UserError, match=r'do not compute the same: `(loss/depth|gradient_norm)` is'):
            against.differences(ours, other)


@pytest.mark.parametrize(('method', 'how'), [('kd_mtl', 'torch'), ('uniform', 'torch_channels_last')])
def test_the_step_in_pytorch_is_ours(method, how):
    torch = pytest.importorskip('torch')
    found, row = figures(f'--method={method}', f'--against={how}', '--threads=1')
    assert (found['against'], found['torch'], found['torch_threads']) == (how, torch.__version__, 1)
    assert found['largest_loss_difference'] < 1e-5
    assert found['gradient_norm_difference'] < 1e-2
    assert found['ratio'] == pytest.approx(found['other_step_seconds'] / found['step_seconds'], rel=0.01)
    assert row[-4] == how
    assert len(row) == 15


def test_an_epoch_is_measured_within_the_time(tmp_path):
    names = 'epoch_kd_mtl_float32_2', 'published_kd_mtl_float32_2'
    flags = f'--only={",".join(names)}', '--images=16', f'--out={tmp_path}'
    done = benchmark('--widths=4,4,4,4,4', '--size=32x32', *flags, name='accelerator')
    assert done.returncode == 0, done.stderr + (tmp_path / 'logs' / f'{names[0]}.err').read_text()
    found = json.loads((tmp_path / 'accelerator.json').read_text())
    own, loop = (found['entries'][name] for name in names)
    (record,) = own['records']
    assert (own['state'], record['steps']) == ('done', 8)
    assert 0 < record['seconds'] < own['seconds']
    assert found['facts']['device'] == 'cpu ×1'
    assert list(found['entries']) == [names[1], names[0]]
    if importlib.util.find_spec('torch'):
        assert record['ratio'] == pytest.approx(loop['records'][0]['seconds'] / record['seconds'], rel=0.01)
    else:
        assert (loop['state'], loop['reason']) == ('skipped', 'PyTorch is not installed')
        assert 'PyTorch is not installed (pip install "mtkd_jax[torch]"): its rows are skipped.' in done.stdout


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--only=epoch_kd_mtl_float32_3'], "Did you mean 'epoch_kd_mtl_float32_2'?"),
        (['--minutes=0'], '`minutes` is 0.0; give more than 0.'),
        (['--images=4'], '`images` is 4; it must be at least 8.'),
        (['--size=40x64'], '`data.height` is 40; segnet needs a multiple of 32.'),
    ],
)
def test_flags_of_the_script_that_do_not_fit_are_one_line(flags, message, tmp_path):
    done = benchmark(*flags, f'--out={tmp_path}', name='accelerator')
    assert done.returncode == 1
    assert (done.stderr.startswith('error: '), done.stderr.count('\n')) == (True, 1)
    assert message in done.stderr


def test_batches_of_files_are_those_of_ours(tmp_path):
    torch = pytest.importorskip('torch')
    from benchmarks import published

    source = random_data.RandomFrames(2, (32, 64))
    random_data.write_files(source, tmp_path)
    frames = published.Frames(tmp_path, 2)
    image, *labels = (torch.stack(arrays) for arrays in zip(frames[0], frames[1], strict=True))
    tasks = segmentation(13), depth(), normals()
    batch = first_examples(source, tasks, 2)
    assert np.array_equal(image.permute(0, 2, 3, 1), batch.image)
    found = published.targets(*labels)
    for name, target in batch.targets.items():
        value, mask = found[name]
        assert np.array_equal(value.permute(0, 2, 3, 1), target.value)
        assert np.array_equal(mask, target.mask[..., 0])


def test_latency_of_teacher_and_student_in_all_runtimes():
    pytest.importorskip('onnxruntime')
    small = ('--widths=4,4,4,4,8', '--student_widths=4,4,4,4', '--size=32x32', '--steps=5')
    done = benchmark(*small, name='latency')
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.strip().split('\n')
    found = json.loads(first)
    assert (found['weights'], found['batch'], found['widths']) == ('random', 1, [4, 4, 4, 4, 8])
    rows = {(row['network'], row['runtime']): row for row in found['rows']}
    runtimes = ('XLA', 'onnxruntime float32', 'onnxruntime int8')
    assert list(rows) == [(network, runtime) for network in ('teacher', 'student') for runtime in runtimes]
    for (network, runtime), row in rows.items():
        assert row['quartiles'][0] <= row['milliseconds'] <= row['quartiles'][1]
        teacher = rows['teacher', runtime]['milliseconds']
        assert row['ratio'] == pytest.approx(teacher / row['milliseconds'], rel=0.05, abs=0.01)
        assert row['parameters'] == rows[network, 'XLA']['parameters']
    assert rows['student', 'XLA']['parameters'] < rows['teacher', 'XLA']['parameters']
    assert len(lines) == 2 + len(rows)
    refused = benchmark('--student_widths=4,four', name='latency')
    assert refused.returncode == 1
    assert refused.stderr.startswith('error: `student_widths` is 4,four; give whole numbers')
