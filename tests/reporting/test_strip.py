"""One picture of an image and its predictions: what lies where, and what the colours mean."""

import numpy as np
import pytest

from mtkd_jax import tasks
from mtkd_jax.reporting import strip
from mtkd_jax.reporting.strip import BAR, COLOUR, GAP, LINE, MARGIN, WIDEST, Strip
from mtkd_jax.reporting.tiles import PLAIN

CLASSES, DEPTH, NORMALS = tasks.segmentation(3, ('a', 'b', 'c')), tasks.depth(8.0), tasks.normals()
DIGITS = tasks.classification('digits', 10)
H, W = 60, 240  # a tile that is neither enlarged nor reduced
TOP = MARGIN + LINE


def alone(*chosen):
    return Strip({task.name: ('main', task) for task in chosen})


def tile(picture, row, column, size=(H, W)):
    top, left = TOP + row * (size[0] + GAP + LINE), MARGIN + column * (size[1] + GAP)
    return picture[top : top + size[0], left : left + size[1]]


@pytest.fixture
def given():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    normals = rng.normal(size=(H, W, 3)).astype(np.float32)
    depth = rng.uniform(0, 10, (H, W, 1)).astype(np.float32)
    return image, {'segmentation': rng.normal(size=(H, W, 3)), 'depth': depth, 'normals': normals}


def test_every_prediction_is_beside_its_image(given):
    image, predictions = given
    picture = alone(CLASSES, DEPTH, NORMALS)(image, predictions)
    np.testing.assert_array_equal(tile(picture, 0, 0), image)
    np.testing.assert_array_equal(tile(picture, 0, 2), DEPTH.render(predictions['depth'], None))
    np.testing.assert_array_equal(tile(picture, 0, 3), NORMALS.render(predictions['normals'], None))
    grey = (image * [0.299, 0.587, 0.114]).sum(-1, keepdims=True)
    colours = CLASSES.render(predictions['segmentation'], None)
    assert np.abs(tile(picture, 0, 1) - (COLOUR * colours + (1 - COLOUR) * grey)).max() <= 1.01


def test_the_bar_has_the_colours_and_the_range_of_the_task(given):
    picture = alone(DEPTH)(given[0], given[1])
    bar = picture[TOP + H + GAP : TOP + H + GAP + BAR, MARGIN + W + GAP : MARGIN + 2 * W + GAP]
    assert (bar == bar[:1]).all()
    for metres, x in ((0, 0), (8, W - 1), (4, W // 2)):
        colour = DEPTH.render(np.full((1, 1, 1), metres, np.float32), None)[0, 0]
        assert np.abs(bar[0, x].astype(int) - colour).max() < 12
    assert strip.legend(CLASSES, W).height == LINE
    shown = {tuple(colour) for colour in np.asarray(strip.legend(CLASSES, W)).reshape(-1, 3)}
    assert {colour for _, colour in CLASSES.legend} <= shown


@pytest.mark.parametrize('task', [DEPTH, tasks.depth(0.3, inverse=True), tasks.keypoints(), tasks.edges()])
def test_beyond_its_scale_a_task_has_no_other_colours(task):
    least, most = task.scale
    ends, beyond = (task.render(np.reshape(v, (1, -1, 1)), None) for v in ((least, most), (least - 1, most + 1)))
    np.testing.assert_array_equal(ends, beyond)
    inside = task.render(np.linspace(least, most, 50)[None, :, None], None)[0]
    assert len(np.unique(inside, axis=0)) > 40


def test_frames_differ_only_in_their_tiles(given):
    image, predictions = given
    shown = alone(CLASSES, DEPTH)
    first = shown(image, predictions)
    other = shown(image // 2, {name: array[::-1] / 3 for name, array in predictions.items()})
    assert first.shape == other.shape
    assert first.shape[0] % 2 == first.shape[1] % 2 == 0
    for column in range(3):
        tile(first, 0, column)[:] = tile(other, 0, column)
    np.testing.assert_array_equal(first, other)


def test_branches_are_rows(given):
    image, predictions = given
    both = Strip({f'{branch}/depth': (branch, DEPTH) for branch in ('teacher', 'student')})
    picture = both(image, {'teacher/depth': predictions['depth'], 'student/depth': predictions['depth'] / 2})
    np.testing.assert_array_equal(tile(picture, 0, 1), DEPTH.render(predictions['depth'], None))
    np.testing.assert_array_equal(tile(picture, 1, 1), DEPTH.render(predictions['depth'] / 2, None))
    assert (tile(picture, 1, 0) == 255).all()


def test_an_answer_is_a_word_in_a_tile():
    image = np.zeros((20, 20, 3), np.float32)
    three, seven = (alone(DIGITS)(image, {'digits': np.eye(10)[i].reshape(1, 1, 10)}) for i in (3, 7))
    size = 240, 240
    assert (tile(three, 0, 0, size) == 0).all()
    for picture in (three, seven):
        assert tuple(tile(picture, 0, 1, size)[0, 0]) == PLAIN
    assert (tile(three, 0, 1, size) != tile(seven, 0, 1, size)).any()
    long = strip.words_tile('a name that is much too long for so small a tile', (40, 60))
    assert (long[:, :2] == PLAIN).all()
    assert (long != PLAIN).any()


def test_large_images_are_reduced_and_small_ones_enlarged():
    assert strip.fitted(np.zeros((480, 1280, 3), np.uint8)).shape == (240, WIDEST, 3)
    assert strip.fitted(np.zeros((1, 5000, 3), np.uint8)).shape == (1, WIDEST, 3)
    assert strip.fitted(np.zeros((64, 96, 3), np.uint8)).shape == (128, 192, 3)
    assert strip.fitted(np.zeros((480, 640, 3), np.uint8)).shape == (480, 640, 3)
