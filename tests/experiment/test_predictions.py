"""Predictions for files: what is written, for any number of images, and what is refused before anything is computed."""

import errno
import importlib
import json
import os
import signal
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mtkd_jax import inference, load, tasks
from mtkd_jax.data.images import as_array
from mtkd_jax.experiment import outputs, predictions
from mtkd_jax.experiment.inputs import Inputs, find
from mtkd_jax.experiment.predictions import Options, Pace, predict
from mtkd_jax.types import UserError
from tests import recipes

command = importlib.import_module('mtkd_jax.predict')

CHANNELS = {'depth': 1, 'normals': 3}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A model folder with an untrained network of depth and normals, for images of 32×64."""
    return Path(recipes.model(tmp_path_factory.mktemp('model'), CHANNELS, backbone='tests.shallow'))


@pytest.fixture
def at_once(monkeypatch):
    """Networks that need no compiler: depth is the mean colour, all normals point up."""

    def make_predictor(network, variables, batch_size):
        def predictor(images, filled=False):
            depth = images.mean(-1, keepdims=True)
            up = np.broadcast_to(np.float32([0, 0, 1]), images.shape)
            return {'main': {'depth': depth, 'normals': up}}

        return predictor

    monkeypatch.setattr(inference, 'make_predictor', make_predictor)


def picture(file, value=None, size=(64, 32)):
    file.parent.mkdir(parents=True, exist_ok=True)
    if value is not None:
        Image.new('RGB', size, (value, value, value)).save(file)
        return
    noise = np.random.default_rng(len(str(file))).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)


def written(out):
    return sorted(str(file.relative_to(out)) for file in out.rglob('*') if file.is_file())


def options(**changed):
    return Options(**{'allow_modules': True, 'save': ('npz',), **changed})


def test_predictions_are_the_models_with_names_and_in_order(folder, tmp_path):
    for name in ('10', '9', '2'):
        picture(tmp_path / f'in/{name}.png', size=(80, 40))
    out = tmp_path / 'out'
    said = predict(folder, [str(tmp_path / 'in')], out, options(save=('npz', 'pictures'), batch_size=2))
    assert said.startswith('3 images of 32×64, tasks depth, normals, in ')
    assert said.endswith(f' s, compiling included. See {out}')
    expected = load(folder, allow_modules=True).predict([tmp_path / f'in/{name}.png' for name in ('2', '9', '10')])
    with np.load(out / 'predictions.npz', allow_pickle=False) as found:
        assert found['names'].tolist() == ['2', '9', '10']
        for name in CHANNELS:
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    pictures = [f'{name}_{what}.png' for name in ('10', '2', '9') for what in ('depth', 'image', 'normals')]
    assert written(out) == [*pictures, 'predictions.npz']
    with Image.open(out / '9_normals.png') as shown:
        np.testing.assert_array_equal(np.asarray(shown), tasks.normals().render(expected['normals'][1], None))


def test_at_the_size_of_each_image(folder, tmp_path, at_once):
    picture(tmp_path / 'in/a/x.png', 40, size=(50, 20))
    picture(tmp_path / 'in/b/x.png', 80, size=(130, 70))
    out = tmp_path / 'out'
    said = predict(folder, [str(tmp_path / 'in')], out, options(save=('pictures', 'npz'), at='input', recursive=True))
    assert 'at their own size' in said
    assert written(out) == [f'{d}/x{end}' for d in 'ab' for end in ('.npz', '_depth.png', '_image.png', '_normals.png')]
    for name, value, (width, height) in (('a', 40, (50, 20)), ('b', 80, (130, 70))):
        with np.load(out / f'{name}/x.npz') as found:
            assert {k: v.shape for k, v in found.items()} == {k: (height, width, c) for k, c in CHANNELS.items()}
            np.testing.assert_allclose(found['depth'], value / 255, atol=1e-6)
        with Image.open(out / f'{name}/x_image.png') as shown:
            assert (shown.size, shown.getpixel((0, 0))) == ((width, height), (value,) * 3)


def test_side_by_side_is_one_picture_for_each_image(folder, tmp_path, at_once):
    for name, width in (('x', 64), ('y', 90)):
        picture(tmp_path / f'in/{name}.png', 40, size=(width, 32))
    out = tmp_path / 'out'
    predict(folder, [str(tmp_path / 'in')], out, options(save=('side_by_side',)))
    assert written(out) == ['x.png', 'y.png']
    x, y = (np.asarray(Image.open(out / f'{name}.png')) for name in 'xy')
    np.testing.assert_array_equal(x, y)  # a grey image looks the same at the network's size
    predict(folder, [str(tmp_path / 'in')], out, options(save=('side_by_side',), at='input'))
    with Image.open(out / 'y.png') as own:
        assert own.size[0] > x.shape[1]


def test_memory_does_not_grow_with_the_number_of_images(folder, tmp_path, at_once, monkeypatch):
    size, pixels = (192, 192), 192 * 192
    for i in range(80):
        picture(tmp_path / f'in/{i}.png', i, size)
    monkeypatch.setattr(outputs, 'write_png', lambda file, array: None)
    peaks = {}
    for first, count in (('[0-9]', 10), ('*', 80)):
        tracemalloc.start()
        for at in ('network', 'input'):
            predict(
                folder, [str(tmp_path / f'in/{first}.png')], tmp_path / 'out', options(save=('pictures', 'npz'), at=at)
            )
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    each = pixels * (sum(CHANNELS.values()) * 4 + 3)
    assert peaks[80] < peaks[10] + 12 * each


def test_what_comes_before_a_damaged_image_is_whole(folder, tmp_path, at_once):
    for i in range(7):
        picture(tmp_path / f'in/{i}.png')
    whole = (tmp_path / 'in/5.png').read_bytes()
    (tmp_path / 'in/5.png').write_bytes(whole[: len(whole) // 2])
    out = tmp_path / 'out'
    message = r'in/5\.png cannot be read .* What was predicted before, 5 of 7 images, is in '
    with pytest.raises(UserError, match=message):
        predict(folder, [str(tmp_path / 'in')], out, options(save=('npz', 'pictures'), batch_size=2))
    assert written(out) == [f'{i}_{what}.png' for i in range(5) for what in ('depth', 'image', 'normals')]
    assert list(out.glob('.*')) == []
    (tmp_path / 'in/5.png').write_bytes(whole)
    predict(folder, [str(tmp_path / 'in')], out, options())
    with np.load(out / 'predictions.npz') as found:
        assert len(found['names']) == len(found['depth']) == 7


def test_an_interrupted_command_says_what_is_done(folder, tmp_path, at_once, monkeypatch):
    for i in range(9):
        picture(tmp_path / f'in/{i}.png')
    write, out = outputs.write_png, tmp_path / 'out'

    def interrupted(file, array):
        if file.name == '6_image.png':
            raise KeyboardInterrupt
        write(file, array)

    monkeypatch.setattr(outputs, 'write_png', interrupted)
    with pytest.raises(UserError, match=r'^Interrupted\. What was predicted before, 6 of 9 images, is in '):
        predict(folder, [str(tmp_path / 'in')], out, options(save=('npz', 'pictures')))
    assert not [name for name in written(out) if not name.endswith('.png')]
    monkeypatch.setattr(outputs, 'write_png', write)
    monkeypatch.setattr(outputs.Collected, '_pack', lambda self, file: interrupted(Path('6_image.png'), None))
    with pytest.raises(UserError, match=r'^Interrupted\. What was predicted before, 9 of 9 images, is in '):
        predict(folder, [str(tmp_path / 'in')], out, options(save=('npz', 'pictures')))


@pytest.mark.parametrize(
    ('save', 'at', 'kept'),
    [
        (['npz'], 'network', False),
        (['npz'], 'input', True),
        (['side_by_side'], 'network', True),
    ],
)
def test_only_files_of_single_images_are_kept(folder, tmp_path, at_once, save, at, kept):
    for i in range(3):
        picture(tmp_path / f'in/{i}.png')
    (tmp_path / 'in/2.png').write_bytes((tmp_path / 'in/2.png').read_bytes()[:900])
    message = 'What was predicted before, 2 of 3 images, is in ' if kept else r'\. No prediction is kept\.$'
    with pytest.raises(UserError, match=message):
        predict(folder, [str(tmp_path / 'in')], tmp_path / 'out', options(save=save, at=at))
    assert bool(written(tmp_path / 'out')) == kept


def test_of_answers_in_words_nothing_is_kept():
    digits = {'digits': ('main', tasks.classification('digits', 3))}
    assert predictions._kept(2, Inputs(['a', 'b', 'c']), Path('out'), digits, options(save=['pictures'])) == (
        'No prediction is kept.'
    )


def test_sigterm_ends_the_command_and_leaves_nothing_unfinished(folder, tmp_path, at_once, monkeypatch, capsys):
    picture(tmp_path / 'in/a.png')

    def pictures(self):
        assert list((tmp_path / 'out').glob('.unfinished-*'))
        os.kill(os.getpid(), signal.SIGTERM)
        yield tmp_path / 'in/a.png'

    monkeypatch.setattr(Inputs, 'pictures', pictures)
    given = {'MODEL': str(folder), 'INPUTS': [str(tmp_path / 'in')], 'OUT': str(tmp_path / 'out'), 'SAVE': ['npz']}
    rest = {'AT': 'network', 'BRANCH': None, 'RECURSIVE': False, 'BATCH_SIZE': 8, 'ALLOW_MODULES': True}
    for name, value in (given | rest).items():
        monkeypatch.setattr(command, name, SimpleNamespace(value=value))
    monkeypatch.setattr(command.command, 'value', lambda flag: flag.value)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 143
    assert capsys.readouterr().err.endswith('error: Interrupted. No prediction is kept.\n')
    assert list((tmp_path / 'out').iterdir()) == []


def test_of_large_images_few_are_in_flight(folder, tmp_path, at_once, monkeypatch):
    small, large = [tasks.depth(), tasks.normals()], [tasks.segmentation(40)]
    assert predictions.in_flight(640 * 480, small) == 8
    assert predictions.in_flight(1600 * 1200, large) == 3
    assert predictions.in_flight(12_000_000, large) == 1
    assert predictions.in_flight(12_000_000, [tasks.classification('digits', 10)]) == 8
    picture(tmp_path / 'in/a.png', size=(70, 40))
    picture(tmp_path / 'in/b.png', size=(30, 20))
    assert find([str(tmp_path / 'in')]).pixels == 70 * 40
    real, asked = predictions.ahead, []
    monkeypatch.setattr(
        predictions, 'ahead', lambda f, x, threads, most: asked.append(most) or real(f, x, threads, most)
    )
    monkeypatch.setattr(predictions, 'WAITING', 3 * 70 * 40 * 4 * 4)
    for at in ('input', 'network'):
        predict(folder, [str(tmp_path / 'in')], tmp_path / 'out', options(at=at))
    assert asked == [3, 8]


def test_files_are_looked_into_before_anything_is_computed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, 'ahead', None)
    picture(tmp_path / 'in/a.png')
    (tmp_path / 'in/b.jpg').write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'b\.jpg cannot be read as an image'):
        predict(folder, [str(tmp_path / 'in')], tmp_path / 'out', options())
    for changed, message in (
        ({'at': 'inputs'}, '`at` is'),
        ({'save': ['npx']}, "`save` is 'npx'"),
        ({'save': []}, '`save` is empty'),
    ):
        with pytest.raises(UserError, match=message):
            predict(folder, [str(tmp_path / 'in/a.png')], tmp_path / 'out', options(**changed))
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=r'`out` .*file/out cannot be written'):
        predict(folder, [str(tmp_path / 'in/a.png')], tmp_path / 'file/out', options())


def test_names_keep_the_folders_below_what_was_given(tmp_path, monkeypatch):
    for name in ('a/x', 'a/x2', 'a/x10', 'b/x', 'b/deep/y', '.hidden/z'):
        picture(tmp_path / f'in/{name}.png', 0)
    monkeypatch.chdir(tmp_path)
    assert find(['in'], recursive=True).names == ['a/x', 'a/x2', 'a/x10', 'b/deep/y', 'b/x']
    assert find(['in/*/*.png']).names == ['a/x', 'a/x2', 'a/x10', 'b/x']
    assert find([str(tmp_path / 'in/a/x*.png')]).names == ['x', 'x2', 'x10']
    assert find(['*/b/../a/x.png']).names == ['in/a/x']
    assert find(['in/a/x.png', 'in/b/deep']).names == ['x', 'y']
    with pytest.raises(UserError, match=r'which holds no images .*--recursive takes those of its sub-folders'):
        find(['in'])
    with pytest.raises(UserError, match=r'in/a/x\.png and in/b/x\.png, both to be called x. .*--recursive'):
        find(['in/a', 'in/b'])


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    picture(tmp_path / 'in/a.png', 0)
    (tmp_path / 'in/closed').mkdir()
    real = os.scandir

    def scandir(folder):
        if str(folder).endswith('closed'):
            raise PermissionError(errno.EACCES, 'Permission denied', str(folder))
        return real(folder)

    monkeypatch.setattr(os, 'scandir', scandir)
    assert find([str(tmp_path / 'in')]).names == ['a']
    with pytest.raises(UserError, match=r'in, but .*closed cannot be read \(Permission denied'):
        find([str(tmp_path / 'in')], recursive=True)


def test_frames_of_one_file_are_images_in_order(tmp_path):
    shades = [Image.new('RGB', (8, 4), (40 * i, 0, 0)) for i in range(3)]
    shades[0].save(tmp_path / 'pages.tif', save_all=True, append_images=shades[1:])
    shades[0].save(tmp_path / 'moving.gif', save_all=True, append_images=shades[1:])
    shades[1].save(tmp_path / 'telephone.jpg', format='MPO', save_all=True, append_images=shades[2:])
    found = find([str(tmp_path)])
    moving, pages = ([f'{name}_{i:04d}' for i in range(3)] for name in ('moving', 'pages'))
    assert found.names == [*moving, *pages, 'telephone']
    red = [int(as_array('', image)[0, 0, 0]) for image in found.pictures()]
    np.testing.assert_allclose(red, [0, 40, 80, 0, 40, 80, 40], atol=2)
    picture(tmp_path / 'moving_0001.png', 0)
    with pytest.raises(UserError, match='both to be called moving_0001'):
        find([str(tmp_path)])


def test_videos_are_refused_with_the_way_to_make_frames(tmp_path):
    (tmp_path / 'my clip.MP4').touch()
    for given in ('my clip.MP4', '*', ''):
        with pytest.raises(UserError, match=r"a video, .* ffmpeg -i '.*/my clip.MP4' frames/%06d.png"):
            find([str(tmp_path / given)])
    for sub in ('sub', 'sub/z'):
        (tmp_path / 'all' / sub).mkdir(parents=True)
    (tmp_path / 'all/sub/a.mp4').touch()
    with pytest.raises(UserError, match=r'has .*/all/sub/a\.mp4, a video, .* -i .*/all/sub/a\.mp4 '):
        find([str(tmp_path / 'all')], recursive=True)


def test_nothing_is_overwritten_that_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / 'in/a.png', 0)
    for out, recursive in (('in', False), ('in', True), ('in/predicted', True), ('in/../in', False)):
        with pytest.raises(UserError, match='where the inputs lie'):
            outputs.check(tmp_path / out, find(['in'], recursive=recursive), ['_depth'])
    outputs.check(tmp_path / 'in/predicted', find(['in']), ['_depth'])
    outputs.check(tmp_path / 'in', find(['*/a.png']), ['_depth'])
    both = Inputs(['a', 'a_depth', 'b'])
    outputs.check(tmp_path / 'out', both, ['_image', '_depth'])
    with pytest.raises(UserError, match=r'has a and a_depth, and a_depth\.png would belong to both'):
        outputs.check(tmp_path / 'out', both, ['_image', '_depth', ''])


def test_what_is_collected_grows_without_being_held(tmp_path):
    names = [f'größe {i}' for i in range(3)]
    with outputs.Collected(tmp_path, names) as files:
        for i, name in enumerate(names):
            files.add_arrays({'student/depth': np.full((2, 2, 1), i, np.float32)})
            files.add_words(name, {'digits': str(i)})
        assert not (tmp_path / 'predictions.npz').exists()
        files.finish()
    assert written(tmp_path) == ['answers.json', 'predictions.npz']
    assert json.loads((tmp_path / 'answers.json').read_text()) == {
        name: {'digits': str(i)} for i, name in enumerate(names)
    }
    with np.load(tmp_path / 'predictions.npz', allow_pickle=False) as found:
        assert found['student/depth'][:, 0, 0, 0].tolist() == [0, 1, 2]
        assert found['names'].tolist() == names


def test_the_pace_is_told_without_the_compiler(monkeypatch):
    clock = iter([0.0, 5.0, 5.5, 7.0])
    monkeypatch.setattr(predictions.time, 'monotonic', lambda: next(clock))
    pace = Pace(8)
    assert [pace(8), pace(16), pace(68)] == [None, None, 30]
    assert pace.words == '7.0 s: 30.0 images/s after the first 8, which took 5.0 s'
    monkeypatch.setattr(predictions.time, 'monotonic', iter([0.0, 5.0]).__next__)
    alone = Pace(8)
    assert alone(3) is None
    assert alone.words == '5.0 s, compiling included'
