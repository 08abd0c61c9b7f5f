"""Malformed inputs of the commands: one sentence or a result, never a traceback, a hang or half an output.

300 cases by a fixed seed; `MTKD_FUZZ_CASES=5000 MTKD_FUZZ_SEED=7 pytest tests/fuzz` draws more, or others.
"""

import atexit
import functools
import importlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from absl import flags
from flax.traverse_util import flatten_dict
from PIL import Image

from mtkd_jax import compare, configs, convert
from mtkd_jax.data.images import as_array
from mtkd_jax.experiment.checks import check
from mtkd_jax.experiment.inputs import find
from mtkd_jax.experiment.results import results
from mtkd_jax.main import prepared
from mtkd_jax.reporting.curves import draw_workdir
from mtkd_jax.reporting.report import write_report
from mtkd_jax.reporting.seeds import seeds_table
from mtkd_jax.training.checkpoint import Checkpointer
from mtkd_jax.training.folder import load_model
from mtkd_jax.training.loop import Loop
from mtkd_jax.training.run import finished_results
from mtkd_jax.training.state import TrainState
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import UserError
from tests import small
from tests.datasets import decathlon_source, nyuv2_source
from tests.datasets import prepared as prepare
from tests.recipes import model as model_folder
from tests.reporting import fake

evaluate = importlib.import_module('mtkd_jax.evaluate')

ROOT = Path(__file__).parents[2]
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
    for image in find([str(file)], stride=32).pictures():
        as_array('`x`', image)


def case_evaluate(rng, folder, model):
    for name in ('p', 't'):
        (folder / f'{name}.npz').write_bytes(npz(rng, ('segmentation', 'depth', 'normals', 'x')))
    evaluate.score(folder / 'p.npz', folder / 't.npz', classes=rng.choice((1, 13)))


def case_model(rng, folder, model):
    copy = Path(shutil.copytree(model, folder / 'model'))
    file = rng.choice(sorted(path for path in copy.rglob('*') if path.is_file()))
    file.write_bytes(damaged(rng, file.read_bytes() or b'x'))
    load_model(copy)


def case_workdir(rng, folder, model):
    """A file of a finished stage damaged, or a value in it changed: read by reports, `compare` and `results`."""
    workdir = fake.write(folder / 'run[1]', fake.stages())
    stage = workdir / 'stages' / rng.choice(('kd_mtl', 'stl_depth'))
    (stage / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in fake.records(fake.stages()[-1], 1)))
    file = stage / rng.choice(('settings.json', 'results.json', 'metrics.jsonl'))
    if file.suffix == '.json' and rng.random() < 0.7:
        file.write_text(json.dumps(changed(rng, json.loads(file.read_text()))))
    else:
        file.write_bytes(damaged(rng, file.read_bytes()))
    reads = [
        lambda: results(workdir),
        lambda: compare.compare([str(workdir)], 'accumulated'),
        lambda: seeds_table([workdir], list(fake.TASKS.values())),
        lambda: draw_workdir(workdir, fake.TASKS.values()),
        lambda: write_report(workdir, fake.TASKS),
        lambda: finished_results(workdir, stage.name, {}),
    ]
    rng.choice(reads)()


def changed(rng, tree):
    """JSON with one value, somewhere in it, removed or replaced by one of another kind."""
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        name = rng.choice(sorted(tree))
        rest = {key: value for key, value in tree.items() if key != name}
        return rest if rng.random() < 0.2 else {**rest, name: changed(rng, tree[name])}
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        at = rng.randrange(len(tree))
        return [*tree[:at], changed(rng, tree[at]), *tree[at + 1 :]]
    return rng.choice((None, -1, 1e400, 'x', '', [], {}, True, [[1]], {'x': {}}, 0))


def case_checkpoint(rng, folder, model):
    """What is restored of a stage that was trained is what was written, or nothing is."""
    copy, written = folder / 'c[1]', trained()
    shutil.copytree(written.folder, copy)
    for _ in range(rng.randint(1, 2)):
        file = rng.choice(sorted(path for path in copy.rglob('*') if path.is_file()))
        if rng.random() < 0.2:
            file.unlink()
        else:
            file.write_bytes(damaged(rng, file.read_bytes() or b'x'))
    with Checkpointer(copy) as checkpoints:
        restored = checkpoints.restore(written.states[8])
    if restored is not None:
        found, position = restored
        assert int(found.step) == position.epoch * 4 + position.batch
        jax.tree.map(np.testing.assert_array_equal, found, written.states[int(found.step)])


class Trained(NamedTuple):
    """The checkpoints of a stage, and the state of each by its step."""

    folder: Path
    states: Mapping[int, TrainState]


@functools.cache
def trained() -> Trained:
    """A KD-MTL stage of two epochs of four steps."""
    folder, states = Path(tempfile.mkdtemp()), {}
    atexit.register(shutil.rmtree, folder)
    for epochs in (1, 2):
        loop = Loop(small.stage(folder / 'teachers', epochs=epochs), small.mesh(), folder, StopRequest())
        states[4 * epochs] = small.train(loop)
    return Trained(folder / 'checkpoints', states)


def case_archive(rng, folder, model):
    """A damaged archive, or one with a damaged or odd member: prepared whole, or not at all."""
    contents = {f'data/{name}.tar': tar_of(rng, decathlon_source.images(name)) for name in decathlon_source.CLASSES}
    contents |= decathlon_source.json_files()
    name = rng.choice(sorted(contents))
    contents[name] = damaged(rng, contents[name])
    source, out = folder / 'so [1]', folder / 'out'
    if rng.random() < 0.5:
        source.mkdir()
        (source / 'all.tar.gz').write_bytes(damaged(rng, decathlon_source.pack(contents, 'w:gz')))
    else:
        for member, content in contents.items():
            (source / member).parent.mkdir(parents=True, exist_ok=True)
            (source / member).write_bytes(content)
    try:
        prepare.prepare('svhn_omniglot', out, source=source)
    finally:
        assert_whole_or_absent(out, 'svhn_omniglot')


def tar_of(rng, files: dict[str, bytes]) -> bytes:
    """A tar of `files`, of which one may be damaged, missing, or an odd member that leaves the folder or is a link."""
    name = rng.choice(sorted(files))
    kind = rng.choice(('good', 'bytes', 'gone', 'outside', 'link', 'fifo'))
    changed_files = dict(files)
    if kind == 'bytes':
        changed_files[name] = damaged(rng, files[name])
    elif kind != 'good':
        del changed_files[name]
    stream = io.BytesIO(decathlon_source.pack(changed_files))
    with tarfile.open(fileobj=stream, mode='a') as tar:
        odd = tarfile.TarInfo(f'../../{name}' if kind == 'outside' else name)
        odd.type = {'link': tarfile.SYMTYPE, 'fifo': tarfile.FIFOTYPE}.get(kind, tarfile.REGTYPE)
        odd.linkname = '/etc/passwd' if kind == 'link' else ''
        if kind in ('outside', 'link', 'fifo'):
            tar.addfile(odd, io.BytesIO())
    return stream.getvalue()


def assert_whole_or_absent(out, name):
    # Parts of an interrupted preparation are kept aside, for the next one.
    named = [path for path in out.glob(f'{name}/*/*') if not path.name.startswith('unfinished.')]
    assert all((path / 'dataset_info.json').is_file() for path in named), 'half an output'


def case_prepare(rng, folder, model):
    """A source with a damaged file: prepared whole, or not at all."""
    source = nyuv2_source.write_folder(folder / 'so [1]', frames={'train': 2, 'val': 1})
    file = rng.choice(sorted(path for path in source.rglob('*.npy')))
    kinds = ('bytes', 'array', 'gone', 'folder')
    kind = rng.choice(kinds)
    if kind == 'bytes':
        file.write_bytes(damaged(rng, file.read_bytes()))
    elif kind == 'array':
        np.save(file, np.zeros(rng.choice(SHAPES), rng.choice(DTYPES)))
    else:
        file.unlink()
        if kind == 'folder':
            file.mkdir()
    out = folder / 'out'
    try:
        prepare.nyuv2(source, out)
    finally:
        assert_whole_or_absent(out, 'nyuv2')


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


# Orbax leaves what it was reading of a damaged checkpoint.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
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


def arguments(rng, folder, model):
    """A command line of one of the commands, with one thing in it that does not fit."""
    picture, out = folder / 'a [1].png', folder / 'out'
    Image.new('RGB', (64, 32)).save(picture)
    odd = rng.choice(WORDS)
    return rng.choice(
        (
            ('main', f'--config={odd}', f'--workdir={out}'),
            ('main', '--config=rooms', f'--config.{rng.choice(("epochs", "widths", "x"))}={odd}', '--show'),
            ('main', f'--config=rooms:{rng.choice(("method", "tasks", "x"))}={odd}', '--show'),
            ('main', '--config=rooms', odd or 'x', f'--workdir={picture}'),
            ('predict', f'--model={model}', f'--inputs={picture},{odd}', f'--out={out}'),
            ('predict', f'--model={odd}', f'--inputs={picture}', f'--out={out}'),
            ('evaluate', f'--model={model}', f'--data_dir={out}', f'--split={odd}'),
            ('evaluate', f'--predictions={picture}', f'--targets={odd}'),
            ('compare', f'--workdirs={odd}'),
            (rng.choice(('main', 'predict')), f'--flagfile={folder / odd.replace("/", "")[:50]}'),
            ('convert', f'--weights={picture}', f'--size={odd}', f'--out={out}'),
            ('prepare', f'--dataset={odd}', f'--source={picture}', f'--data_dir={out}'),
            ('prepare', '--dataset=nyuv2', f'--source={folder}', f'--size={odd}', f'--data_dir={out}'),
        )
    )


@pytest.mark.parametrize('part', range(3))
def test_real_commands_end_in_a_sentence(part, tmp_path, untouched):
    for number in range(10 * part, 10 * part + 10):
        folder = tmp_path / str(number)
        folder.mkdir()
        name, *given = arguments(random.Random(f'{SEED}/{number}'), folder, untouched)
        done = subprocess.run(
            [sys.executable, '-m', f'mtkd_jax.{name}', *given],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'},
            cwd=folder,
        )
        said = f'{name} {given}: {done.returncode}\n{done.stderr[-1000:]}'
        assert 'Traceback' not in done.stderr, said
        assert done.returncode in (0, 1), said
        assert not done.returncode or done.stderr.startswith('error: '), said
        assert not done.returncode or not (folder / 'out').exists(), said
