"""The public library: its names, what importing costs, and that every name is what it says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mtkd_jax as mt
from mtkd_jax.experiment.run import run
from tests.recipes import load

ROOT = Path(__file__).parents[1]
# A change here is a change for everyone who uses the package: say so in the changelog.
NAMES = [
    'Losses', 'Mixture', 'Model', 'Outputs', 'Task', 'Terms', 'UserError', 'Weighting', 'datasets', 'distill',
    'evaluate', 'export', 'get_config', 'load', 'methods', 'models', 'results', 'run', 'task_gradients', 'tasks',
    'weighting',
]  # fmt: skip


def python(code):
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_names_are_these():
    assert mt.__all__ == NAMES
    for name in NAMES:
        assert getattr(mt, name) is not None
        assert name in dir(mt)
    with pytest.raises(AttributeError, match="has no attribute 'taks'"):
        _ = mt.taks


def test_importing_the_package_imports_nothing_else():
    code = 'import sys, mtkd_jax; print([m for m in ("jax", "flax", "numpy", "orbax", "grain") if m in sys.modules])'
    assert python(code).strip() == '[]'


@pytest.mark.parametrize('given', ["'mgda'", 'mt.weighting.mgda'])
def test_a_weighting_that_is_not_made_is_refused(given):
    """In a process of its own: the tests' check of types would be first."""
    code = f"""import mtkd_jax as mt
try:
    mt.task_gradients({given})
except mt.UserError as error:
    print(error)"""
    assert 'give one that is made, such as `weighting.mgda()`' in python(code)


def test_importing_the_package_takes_no_time():
    """Less than 0.3 s of the processor; in fact a hundredth of that."""
    code = 'import time; a = time.process_time(); import mtkd_jax; print(time.process_time() - a)'
    assert float(python(code)) < 0.3


@pytest.mark.parametrize('name', ['weighting', 'task_gradients', 'distill', 'tasks', 'load', 'run'])
def test_parts_come_without_what_they_do_not_use(name):
    heavy = ('matplotlib', 'tensorflow_datasets', 'tensorflow', 'torch')
    if name != 'run':
        heavy += ('orbax.checkpoint', 'grain', 'tensorboardX')
    code = f'import sys, mtkd_jax as mt; mt.{name}; print([m for m in {heavy} if m in sys.modules])'
    assert python(code).strip() == '[]'


def test_the_package_is_typed():
    assert (ROOT / 'mtkd_jax/py.typed').is_file()


@pytest.mark.parametrize('name', ['evaluate', 'export'])
def test_a_name_is_a_function_also_where_its_command_was_imported(name):
    """The error is the function's own: it was called."""
    given = {'evaluate': '"no"', 'export': '"no", "out", format="stablehlo"'}[name]
    code = f"""import mtkd_jax as mt
function = mt.{name}
import mtkd_jax.{name}
for called in (function, mt.{name}):
    try:
        called({given})
    except mt.UserError as error:
        print(type(called).__name__, error)"""
    plain, module = python(code).splitlines()
    assert plain.startswith('function no is no model folder')
    assert module == plain.replace('function', 'Function')


@pytest.fixture(scope='module')
def workdir(rooms, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'a[1]'
    run(load('rooms', 'tasks=depth+normals,backbone=tests.shallow', data__data_dir=rooms), folder)
    return folder


def test_results_are_rows_of_plain_values(workdir):
    rows = mt.results(workdir)
    assert [(row['stage'], row['method'], row['weighting']) for row in rows] == [
        ('kd_mtl', 'kd_mtl', 'uniform'),
        ('stl_depth', 'stl', 'none'),
        ('stl_normals', 'stl', 'none'),
    ]
    row = rows[0]
    assert (row['tasks'], row['seed'], row['epochs'], row['selection'], row['branch']) == (
        'depth+normals',
        0,
        1,
        'last',
        '',
    )
    assert row['settings.method_settings.weights.normals'] == 2.0
    assert np.isfinite([row['depth_rel'], row['normal_mean'], row['baseline.depth_rel']]).all()
    assert json.loads(json.dumps(rows)) == rows
    assert mt.results([workdir, workdir]) == rows


def test_results_take_patterns_and_name_what_matches_nothing(workdir):
    assert len(mt.results(f'{workdir.parent}/*')) == 3
    with pytest.raises(mt.UserError, match='matches no folder'):
        mt.results(f'{workdir}/nowhere*')
    with pytest.raises(mt.UserError, match='has no finished stage'):
        mt.results(workdir.parent)


def test_a_loaded_model_predicts_what_it_was_evaluated_with(workdir, rooms):
    folder = workdir / 'stages/stl_depth/model'
    found = mt.evaluate(str(folder), data_dir=rooms, allow_modules=True)
    (row,) = [row for row in mt.results(workdir) if row['stage'] == 'stl_depth']
    assert found['depth_rel'] == pytest.approx(row['depth_rel'], rel=1e-5)
    source = mt.datasets.named('rooms').open(load('rooms').data.to_dict(), rooms).sources['test']
    depth = mt.load(folder, allow_modules=True).predict(np.stack([source[i]['image'] for i in range(len(source))]))[
        'depth'
    ]
    true = np.stack([source[i]['depth'] for i in range(len(source))])
    error = np.abs(depth - true)[true > 0] / true[true > 0]
    assert error.mean() == pytest.approx(row['depth_rel'], rel=1e-4)
