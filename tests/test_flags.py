"""The flags of the commands: shown, explained, and refused in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mtkd_jax import cli, convert, datasets, methods, models, recipe, weighting
from mtkd_jax.models.reference import REFERENCES
from tests import recipes

ROOT = Path(__file__).parents[1]
TRAINING = ('grain', 'matplotlib', 'orbax', 'tensorboardX', 'tensorflow_datasets')
HEAVY = (*TRAINING, 'PIL', 'chex', 'flax', 'h5py', 'jax', 'jaxtyping', 'optax', 'scipy', 'tensorflow', 'torch')
"""What takes long to import."""


def main(*flags, cwd=ROOT, module='mtkd_jax.main', **environment):
    return subprocess.run(
        [sys.executable, '-m', module, *flags],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def imported(*flags, **options):
    """The packages that a command imports, and the command when it is done."""
    done = main(*flags, **options, PYTHONPROFILEIMPORTTIME='1')
    lines = [line for line in done.stderr.splitlines() if line.startswith('import time:')]
    return {line.rpartition('|')[2].strip().partition('.')[0] for line in lines}, done


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--config=rooms', '--config.learing_rate=1'], "no field 'learing_rate'. Did you mean 'learning_rate'?"),
        (['--config=rooms', '--config.points=1'], "Did you mean 'method_settings.points'?"),
        (
            ['--config=rooms', '--config.method_settings.weight.depth=1'],
            "Did you mean 'method_settings.weights.depth'?",
        ),
        (['--config=rooms:method=stl,task=depth', '--workdir=x'], "The recipe has no 'task'"),
        (['--config=rooms', '--epochs=1'], '--epochs is a field of the config; set it with --config.epochs='),
        (['--config=rooms', '--learnin_rate=1'], 'Did you mean --config.learning_rate?'),
        (['--config=rooms', '--config.widths[0]=4'], 'give the whole value, such as --config.widths=(8,8,8,8,8)'),
        (
            ['--config=rooms:epochs=3', '--workdir=x'],
            "'epochs' is a field of its own, not of the recipe: --config.epochs=3",
        ),
        (
            ['--config=rooms', '--workdir=x', '--config.schedule_settings.halve_at_epochs=("a",)'],
            '`schedule_settings.halve_at_epochs` is',
        ),
        (['--config=rooms', '--workdir=/dev/null/x'], '`workdir` is /dev/null/x, but /dev/null is no folder'),
        (['--config=rooms', '--workdri=x'], "there is no flag --workdri. Did you mean 'workdir'?"),
        (['--config=rooms', '--config.epochs=many'], 'epochs'),
        (['--config=rooms', '--config.method=stl'], 'it is chosen in the recipe: --config=rooms:method=stl'),
        (['--config=rooms', '--config.weighting=mgda'], 'chosen in the recipe: --config=rooms:weighting=mgda'),
        (['--config=configs/room.py', '--workdir=x'], "`config` is 'configs/room.py', which is no file"),
        (['--config=rooms', 'stray'], 'Unexpected arguments: stray. Flags begin with --.'),
        (['--config.epochs=2', '--config=rooms'], '--config.epochs=2 stands before --config; put --config=NAME first'),
        (['--config.epochs=2'], '--config.epochs is a field of a config, but none is given before it'),
        (['--config=rooms'], '--workdir=... is missing'),
        (['--workdir=x'], '--config=... is missing'),
        (['--flagfile=/none', '--config=rooms'], 'Unable to open flagfile'),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, message):
    done = main(*flags)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith('error: ')
    assert done.stderr.count('\n') == 1
    assert '\\n' not in done.stderr


@pytest.mark.parametrize('by_file', [False, True])
def test_show_prints_every_field_and_what_was_set(by_file, tmp_path):
    given = ['--config=rooms:method=mgda', '--show', '--config.epochs=3']
    (tmp_path / 'flags').write_text('\n'.join(given))
    packages, done = imported(*([f'--flagfile={tmp_path / "flags"}'] if by_file else given))
    shown = done.stdout.splitlines()
    assert packages.isdisjoint(TRAINING)
    assert "method = 'mtl'" in shown
    assert 'epochs = 3' in shown
    assert "weighting_settings.variant = 'paper'" in shown
    assert not [line for line in shown if line.startswith('method_settings')]


def test_help_lists_what_there_is():
    assert tuple(methods.NAMES) == recipe.METHODS
    assert tuple(name for name in weighting.__all__ if name not in ('Weighting', 'fixed')) == recipe.WEIGHTINGS
    assert tuple(models.BACKBONES) == recipe.BACKBONES
    assert tuple(REFERENCES) == convert.MODELS
    said = main('--help').stdout
    names = (*recipe.METHODS, *recipe.WEIGHTINGS, *recipe.BACKBONES, *datasets.NAMES, 'keypoints', 'configs/base.py')
    for name in names:
        assert name in said, name


@pytest.mark.parametrize('command', cli.COMMANDS)
def test_help_imports_nothing_that_takes_long(command):
    packages, done = imported(command, '--help', module='mtkd_jax.cli')
    assert 'mtkd_jax' in packages
    assert packages.isdisjoint(HEAVY)
    assert '--help' in done.stdout


@pytest.mark.parametrize(
    ('command', 'flags'),
    [
        ('main', ['--config=rooms:method=mgda']),
        ('main', ['--config=rooms', '--workdri=x', '--config.epochs=2']),
        ('prepare', ['--dataset=room']),
        ('evaluate', ['--modle=x']),
        ('predict', ['--model=x', '--inputs=x']),
        ('compare', []),
        ('reproduce', ['--workdir=x']),
        ('reproduce', ['--table=kdmtl/2', '--row=method=stl', '--workdir=x']),
        ('reproduce', ['--table=kdmtl/2', '--workdir=x', '--keep_defaults']),
        ('reproduce', ['--table=kdmtl/2', '--workdir=x', '--tflops=40']),
        ('convert', ['--out=/dev/null']),
        ('export', ['--model=x', '--out=x', '--format=tflite']),
        ('export', ['--model=x', '--out=x', '--int8']),
        ('export', ['--model=x', '--out=x', '--format=onnx', '--split=train']),
    ],
)
def test_flags_that_are_missing_or_unknown_are_refused_at_once(command, flags):
    packages, done = imported(*flags, module=f'mtkd_jax.{command}')
    assert 'error: ' in done.stderr
    assert packages.isdisjoint(HEAVY)


def test_predicting_imports_nothing_that_only_training_needs(tmp_path):
    model = recipes.model(tmp_path / 'model', ['normals'], backbone='tests.shallow')
    Image.new('RGB', (64, 32)).save(tmp_path / 'a.png')
    given = [f'--model={model}', f'--inputs={tmp_path / "a.png"}', f'--out={tmp_path / "out"}', '--allow_modules']
    packages, done = imported(*given, module='mtkd_jax.predict')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'out/a_normals.png').is_file()
    assert packages.isdisjoint(TRAINING)


def test_one_command_has_the_others():
    assert 'there is no command' in main('predct', module='mtkd_jax.cli').stderr
    assert "Did you mean 'predict'?" in main('predct', module='mtkd_jax.cli').stderr
    assert 'evaluate' in main('--help', module='mtkd_jax.cli').stdout
    assert "method = 'kd_mtl'" in main('main', '--config=rooms', '--show', module='mtkd_jax.cli').stdout


def test_configs_are_those_of_the_package_that_runs(tmp_path):
    """Of two checkouts, the one in which a command stands; from elsewhere, that of the import path."""
    other = tmp_path / 'other'
    for name in ('mtkd_jax', 'configs'):
        shutil.copytree(ROOT / name, other / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
    rooms = other / 'configs/rooms.py'
    rooms.write_text(rooms.read_text().replace('c.epochs = 6', 'c.epochs = 77'))
    assert 'epochs = 77' in main('--config=rooms', '--show', cwd=other).stdout
    assert 'epochs = 6' in main('--config=rooms', '--show').stdout
    assert 'epochs = 77' in main('--config=rooms', '--show', cwd=tmp_path, PYTHONPATH=str(other)).stdout
    assert 'epochs = 77' in main('--config=configs/rooms.py', '--show', cwd=other, PYTHONPATH=str(ROOT)).stdout
