"""Several networks side by side: maps of errors on one scale, what is boxed, and tasks that have neither."""

import dataclasses

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from mtkd_jax import tasks
from mtkd_jax.reporting import regions, sections, side_by_side
from mtkd_jax.reporting.side_by_side import GAP, LINE, MARGIN, Given
from mtkd_jax.reporting.tiles import RIGHT, WRONG
from tests.reporting import fake

HATCHED = {(120,) * 3, (190,) * 3}
DARK = tuple(int(255 * c) for c in colormaps[side_by_side.COLOURS](0.0)[:3])
BRIGHT = tuple(int(255 * c) for c in colormaps[side_by_side.COLOURS](1.0)[:3])


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


def colours(picture):
    return {tuple(int(c) for c in pixel) for pixel in picture.reshape(-1, 3)}


def given(name, predictions):
    found = fake.examples(count=2)
    arrays = {'truth': found['truths'][name], 'mask': found['masks'][name]}
    return Given(found['images'], ['best: 4', 'worst: 0'], predictions=predictions(arrays['truth']), **arrays)


def test_the_largest_regions_are_boxed():
    """At most three, none below one per cent, sides count and corners do not, the largest first."""
    where = np.zeros((20, 30), bool)
    where[1:5, 2:6] = True  # 16
    where[5, 6] = True  # touches it by a corner only; too small
    where[10:15, 0:5] = True  # 25
    where[18, 20:30] = True  # 10
    where[0, 20:29] = True  # 9, the fourth
    boxes = [(slice(10, 15), slice(0, 5)), (slice(1, 5), slice(2, 6)), (slice(18, 19), slice(20, 30))]
    assert regions.largest(where) == boxes
    assert regions.largest(np.zeros((4, 4), bool)) == []
    where[:] = False
    where[3, 3:8] = True
    assert regions.largest(where) == []  # 5 of 600


@pytest.mark.parametrize('box', [(slice(4, 8), slice(5, 9)), (slice(0, 20), slice(0, 30)), (slice(0, 1), slice(0, 30))])
def test_a_box_lies_around_its_region_and_hides_nothing_of_others(box):
    where = np.zeros((20, 30), bool)
    where[box] = True
    picture = np.full((80, 120, 3), 100, np.uint8)
    drawn = regions.boxed(picture, where)
    changed = np.argwhere((drawn != picture).any(-1))
    expected = [(max(s.start * 4 - 4, 0), min(s.stop * 4 + 4, end)) for s, end in zip(box, (80, 120), strict=True)]
    expected = [(first, max(last, first + 8)) for first, last in expected]
    assert [tuple(x) for x in zip(changed.min(0), changed.max(0) + 1, strict=True)] == expected
    (top, bottom), (left, right) = expected
    assert (drawn[top + 4 : bottom - 4, left + 4 : right - 4] == 100).all()
    row = drawn[(top + bottom) // 2 - 1 : (top + bottom) // 2, left : left + 4, 0].ravel()
    assert bottom - top == 8 or row.tolist() == [0, 255, 255, 0]
    assert (picture == 100).all()


def test_what_is_wrong():
    """A wrong class, or an error above what the task calls large, where the truth is defined."""
    depth, mask = tasks.depth(8.0), np.array([True, True, True, False]).reshape(1, 4, 1)
    truth, predicted = np.full((1, 4, 1), 2.0), np.array([2.39, 2.41, 1.0, 9.0]).reshape(1, 4, 1)
    assert regions.wrong(depth, predicted, truth, mask).ravel().tolist() == [False, True, True, False]
    assert 'above 0.4 m;' in regions.caption(depth)
    normals = tasks.normals()
    angles = np.radians([0.0, 29.0, 31.0, 180.0])
    predicted = 2 * np.stack([np.sin(angles), 0 * angles, np.cos(angles)], -1)[None]
    truth = np.broadcast_to(np.array([0.0, 0.0, 1.0]), (1, 4, 3))
    np.testing.assert_allclose(normals.error.of(predicted, truth).ravel(), [0, 29, 31, 180], atol=1e-4)
    assert regions.wrong(normals, predicted, truth, mask).ravel().tolist() == [False, False, True, False]
    classes = tasks.segmentation(2)
    scores = np.eye(2)[[0, 1, 1, 1]][None]
    wrong = regions.wrong(classes, scores, np.zeros((1, 4, 1), int), mask)
    assert wrong.ravel().tolist() == [False, True, True, False]
    unknown = np.array([np.nan, 2.0, np.inf, np.nan]).reshape(1, 4, 1)
    assert regions.wrong(depth, unknown, np.full((1, 4, 1), 2.0), mask).ravel().tolist() == [True, False, True, False]
    for task in (normals, tasks.edges()):
        assert (task.render(np.full((1, 4, task.channels), np.nan), None) == 0).all()
    plain = dataclasses.replace(depth, error=None)
    assert regions.wrong(plain, predicted, truth, mask) is None
    assert regions.caption(plain) == ''


def test_errors_of_all_networks_have_one_scale(tmp_path):
    """Dark for the one that is right everywhere, bright for NaN; what is undefined is hatched, not dark. A map is asked
    for one image at a time.
    """

    def of(prediction, truth):
        assert prediction.ndim == truth.ndim == 3
        return real.of(prediction, truth)

    real = fake.TASKS['depth'].error
    task = dataclasses.replace(fake.TASKS['depth'], error=dataclasses.replace(real, of=of))
    shown = given(
        'depth', lambda truth: {'exact': truth, 'far': truth + 2.0, 'near': truth - 1.0, 'unknown': truth + np.nan}
    )
    picture = pixels(side_by_side.side_by_side(task, shown, 'Why these.', tmp_path / 'figures' / 'p.png'))
    width, height = 48 * 5, 32 * 5

    def error(column):
        top = MARGIN + LINE + LINE + height + LINE + GAP
        left = MARGIN + column * (width + GAP)
        return picture[top : top + height, left : left + width]

    defined = shown.mask[0, ..., 0].repeat(5, 0).repeat(5, 1)
    half = tuple(int(255 * c) for c in colormaps[side_by_side.COLOURS](0.5)[:3])
    for column, expected in ((2, DARK), (3, BRIGHT), (4, half), (5, BRIGHT)):
        assert colours(error(column)[defined]) == {expected}
        assert colours(error(column)[~defined]) == HATCHED
    assert colours(error(0)) == colours(error(1)) == {(255,) * 3}
    assert picture.shape[1] == 2 * MARGIN + 6 * (width + GAP) - GAP


def test_numbers_below_predictions():
    task, shown = fake.TASKS['depth'], given('depth', lambda truth: {})
    truth, mask = shown.truth[0], shown.mask[0]
    assert side_by_side._number(task, np.where(mask, truth + 0.25, 99), truth, mask) == 'mean error 0.250 m'
    assert side_by_side._number(task, truth, truth, np.zeros_like(mask)) == 'no truth'
    scores = np.eye(2)[[0, 1, 1, 1]][None]
    mask = np.array([True, True, True, False]).reshape(1, 4, 1)
    found = side_by_side._number(tasks.segmentation(2), scores, np.zeros((1, 4, 1), int), mask)
    assert found == '66.7 % wrong'


def test_tasks_without_a_map_of_errors(tmp_path):
    """Classes have their stripes, a task of one's own only its predictions, words their colours."""
    depth = fake.TASKS['depth']
    shown = given('depth', lambda truth: {'exact': truth})
    with_map = pixels(side_by_side.side_by_side(depth, shown, '', tmp_path / 'a.png'))
    own = dataclasses.replace(depth, error=None)
    without = pixels(side_by_side.side_by_side(own, shown, '', tmp_path / 'b.png'))
    assert without.shape[0] < with_map.shape[0] - 2 * 32 * 5
    nothing = shown._replace(mask=np.zeros_like(shown.mask), predictions={'exact': shown.truth})
    assert side_by_side.side_by_side(depth, nothing, '', tmp_path / 'c.png').is_file()
    unknown = shown._replace(predictions={'unknown': np.full_like(shown.truth, np.nan), 'half': shown.truth + 0.5})
    assert side_by_side._scale(depth, unknown) == 0.5
    assert side_by_side.side_by_side(depth, unknown, '', tmp_path / 'd.png').is_file()
    words = Given(
        np.zeros((2, 16, 16, 3)),
        ['best', 'worst'],
        np.array([1, 2]).reshape(2, 1, 1, 1),
        np.ones((2, 1, 1, 1), bool),
        {'right': np.eye(3)[[1, 2]][:, None, None], 'wrong': np.eye(3)[[0, 0]][:, None, None]},
    )
    path = side_by_side.side_by_side(tasks.classification('digits', 3), words, '', tmp_path / 'e.png')
    side, drawn = 15 * 16, pixels(path)
    for column, colour in ((2, RIGHT), (3, WRONG)):
        assert colour in colours(drawn[:, MARGIN + column * (side + GAP) :][:, :side])


def test_wide_pictures_are_thinned_out(tmp_path):
    """Numbers and boxes are those of all pixels."""
    truth = np.full((1, 30, 1000, 1), 2.0)
    shown = Given(np.zeros((1, 30, 1000, 3)), ['best'], truth, np.ones(truth.shape, bool), {'far': truth + 1.0})
    picture = pixels(side_by_side.side_by_side(tasks.depth(), shown, '', tmp_path / 'p.png'))
    assert picture.shape[1] == 2 * MARGIN + 3 * (334 + GAP) - GAP


def test_reports_show_what_was_drawn(tmp_path):
    """The report of several seeds, in the folder above, too."""
    drawn, known = tmp_path / 'figures' / 'compared_depth.png', list(fake.TASKS.values())
    assert sections.side_by_side(tmp_path, known) == ''
    drawn.parent.mkdir()
    drawn.touch()
    found = sections.side_by_side(tmp_path, known)
    assert found.endswith('\n\n![compared_depth](figures/compared_depth.png)')
    assert 'compared_normals' not in found
    assert '![compared_depth](seed3/figures/compared_depth.png)' in sections.side_by_side(tmp_path, known, 'seed3/')
