"""Malformed inputs of the commands: one sentence or a result, never a traceback, a hang or half an output.

300 cases by a fixed seed; `MTKD_FUZZ_CASES=5000 MTKD_FUZZ_SEED=7 pytest tests/fuzz` draws more, or others.
"""

import importlib
import io
import os
import random
import shutil
import signal
import traceback
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from flax.traverse_util import flatten_dict
from PIL import Image

from mtkd_jax import compare, configs, convert, predict
from mtkd_jax.experiment.checks import check
from mtkd_jax.main import prepared
from mtkd_jax.training.folder import load_model
from mtkd_jax.types import UserError
from tests.recipes import model as model_folder

evaluate = importlib.import_module('mtkd_jax.evaluate')

CASES = int(os.environ.get('MTKD_FUZZ_CASES', '300'))
SEED = int(os.environ.get('MTKD_FUZZ_SEED', '0'))
SECONDS = 30
"""A case that takes longer hangs."""

WORDS = ('', 'x', '-1', '0', '1e400', 'nan', 'ü', '[', ']', '*', 'None', '(1,)', '1+1', 'a=b', ',', '=', 'a' * 5000)
RECIPES = ('', 'method=mgda', 'method=sd_mtcnn', 'method=bam', 'method=dwa,schedule=cosine', 'method=stl,tasks=depth')
VALUES = (0, -3, True, float('nan'), float('inf'), 10**12, 10**400, 0.5, 'x', '', (), ((1,),), ('a',), None)
DTYPES = ('?', 'u1', 'i8', 'f2', '>f4', 'f8', 'c8', 'U3', 'S2', 'M8[s]')
SHAPES = ((), (0,), (3,), (2, 32, 64), (2, 32, 64, 1), (2, 32, 64, 3), (1, 33, 64, 3), (2, 0, 0, 3), (1, 1, 1, 1, 1))
MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16')


def damaged(rng: random.Random, good: bytes) -> bytes:
    """`good`, truncated, with a changed byte, replaced, or as it is."""
    at = rng.randrange(len(good))
    changed = good[:at] + bytes([good[at] ^ (1 << rng.randrange(8))]) + good[at + 1 :]
    return rng.choice((good, good[:at], changed, b'', rng.randbytes(50), b'{', b'[' * 5000, b'PK\x03\x04' + good[4:at]))


def npz(rng: random.Random, names: tuple[str, ...]) -> bytes:
    """Arrays of random dtypes and shapes, perhaps damaged."""
    written = io.BytesIO()
    arrays = {name: np.zeros(rng.choice(SHAPES), rng.choice(DTYPES)) for name in rng.sample(names, rng.randint(0, 2))}
    np.savez(written, **arrays)
    return damaged(rng, written.getvalue())


def case_recipe(rng, folder, model):
    names = ('method', 'tasks', 'points', 'x', '')
    parts = [f'{rng.choice(names)}={rng.choice(WORDS)}' for _ in range(rng.randint(0, 3))]
    configs.load(f'{rng.choice(("rooms", "nyuv2", "svhn_omniglot"))}:{",".join(parts)}')


def case_flags(rng, folder, model):
    given = [f'--config.{rng.choice(("epochs", "widths", "x", "data", ""))}={rng.choice(WORDS)}' for _ in range(2)]
    prepared(['main', f'--config={rng.choice(("rooms", "x", "", "rooms:method=mgda"))}', *given])


def case_config(rng, folder, model):
    config = configs.load(f'rooms:{rng.choice(RECIPES)}')
    for field in rng.sample(sorted(flatten_dict(config.to_dict(), sep='.')), 2):
        try:
            config.update_from_flattened_dict({field: rng.choice(VALUES)})
        except (TypeError, ValueError, OverflowError):  # by the config itself, which `command.start` prints
            return
    check(config)


def case_predict(rng, folder, model):
    if rng.random() < 0.5:
        file = folder / 'in.npz'
        file.write_bytes(npz(rng, ('image', 'x')))
    else:
        written = io.BytesIO()
        Image.new(rng.choice(MODES), (rng.choice((1, 32, 70)), 32)).save(written, 'PNG')
        file = folder / 'in.png'
        file.write_bytes(damaged(rng, written.getvalue()))
    predict.read_inputs([str(file)], 32, 64, 32)


def case_evaluate(rng, folder, model):
    for name in ('p', 't'):
        (folder / f'{name}.npz').write_bytes(npz(rng, ('segmentation', 'depth', 'normals', 'x')))
    evaluate.score(folder / 'p.npz', folder / 't.npz', classes=rng.choice((1, 13)))


def case_model(rng, folder, model):
    copy = Path(shutil.copytree(model, folder / 'model'))
    file = rng.choice(sorted(path for path in copy.rglob('*') if path.is_file()))
    file.write_bytes(damaged(rng, file.read_bytes() or b'x'))
    load_model(copy)


def case_compare(rng, folder, model):
    stage = folder / 'run/stage'
    stage.mkdir(parents=True)
    good = b'{"stage": "stage", "tasks": ["depth"], "epochs": 1, "results": {"depth_rel": NaN}}'
    for name in ('settings.json', 'results.json', 'metrics.jsonl'):
        (stage / name).write_bytes(damaged(rng, good))
    compare.compare([str(folder / rng.choice(('run', 'r*', 'none', 'run[1]')))], 'last')


def case_convert(rng, folder, model):
    file = folder / f'w{rng.choice((".npz", ".safetensors", ".pth"))}'
    file.write_bytes(npz(rng, ('encoder.weight', 'x')))
    out = folder / 'out'
    try:
        convert.convert(convert.read_weights(file), ['depth'], 'nyuv2', '32x64', out)
    finally:
        assert not out.exists() or (out / 'model.json').is_file(), 'half an output'


GENERATORS = [case for name, case in sorted(globals().items()) if name.startswith('case_')]


@pytest.fixture(scope='session')
def untouched(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp('fuzz') / 'model', ['depth'])


def _hangs(*_):
    raise AssertionError(f'takes more than {SECONDS} s')


@pytest.mark.parametrize('generator', GENERATORS, ids=lambda case: f'{case.__name__}-seed{SEED}')
def test_malformed_inputs_end_in_a_sentence(generator, tmp_path, untouched):
    failed = []
    before = signal.signal(signal.SIGALRM, _hangs)
    try:
        for number in range(-(-CASES // len(GENERATORS))):
            folder = tmp_path / str(number)
            folder.mkdir()
            signal.alarm(SECONDS)
            try:
                generator(random.Random(f'{SEED}/{generator.__name__}/{number}'), folder, untouched)
            except (UserError, SystemExit, flags.Error) as error:
                if '\n' in str(error):
                    failed.append(f'case {number}: several lines: {error}')
            except Exception as error:  # every one is reported, with its case
                at = traceback.extract_tb(error.__traceback__)[-1]
                failed.append(f'case {number}: {type(error).__name__} in {Path(at.filename).name}:{at.lineno}: {error}')
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not failed, f'seed {SEED}, {len(failed)} failed:\n' + '\n'.join(line[:200] for line in failed[:20])
