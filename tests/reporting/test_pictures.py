"""Curves and panels: there, of the right size, and showing what they should."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from mtkd_jax.reporting import curves, legend, panels
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.writers import MetricWriter
from mtkd_jax.types import UserError
from tests.reporting import fake

TASKS = list(fake.TASKS.values())


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


def rgb(colour):
    return np.array(to_rgb(colour)) * 255


def all_records():
    return {stage['stage']: fake.records(stage) for stage in fake.stages()}


def test_curves_are_drawn(tmp_path):
    picture = pixels(curves.draw(all_records(), TASKS, tmp_path / 'figures' / 'curves.png'))
    # Four columns; two rows of losses, one of distillation, three of the eleven metrics.
    assert picture.shape == (round((6 * 2.7 + 0.9) * 110), 4 * 4 * 110, 3)
    single, several = ((picture == rgb(colour)).all(axis=-1).sum() for colour in curves.COLOURS[:2])
    assert single > 1000
    assert several > 1000
    assert not list((tmp_path / 'figures').glob('*.tmp'))


def test_what_the_diagrams_show():
    records = all_records()
    for i, record in enumerate(records['kd_mtl']):
        record |= {'learning_rate': 0.1 / (i + 1)} if record['split'] == 'train' else {'iou_3': 1.0, 'depth_rmse': 2.0}
    shown = curves._panels(records, Labels.of(TASKS))
    titles = [panel.title for panel in shown]
    # Losses, distillation and metrics begin rows of their own.
    assert [len(row) for row in curves._rows(shown)] == [4, 4, 3, 4, 4, 3]
    assert titles[:8] == [
        'segmentation loss: cross-entropy (nats), training',
        'segmentation loss: cross-entropy (nats), test',
        'depth loss: absolute error, training',
        'depth loss: absolute error, test',
        'normals loss: 1 - cosine, training',
        'normals loss: 1 - cosine, test',
        'total loss, weighted, training',
        'learning rate',
    ]
    assert 'mIoU (%) ↑, test' in titles
    assert 'mIoU, per-image legacy (%) ↑, test' in titles
    assert not [title for title in titles if 'gradient' in title or 'step' in title]
    by_title = {panel.title: panel.lines for panel in shown}
    assert [line.stage for line in by_title['depth error (m) ↓, test']] == ['stl_depth', 'kd_mtl']
    assert [line.stage for line in by_title['total loss, weighted, training']] == ['kd_mtl']
    line = by_title['depth error (m) ↓, test'][1]
    expected = [r for r in fake.records(fake.stages()[3]) if r['split'] == 'test']
    assert (line.stage, line.branch, line.epochs) == ('kd_mtl', '', [3, 6, 9, 12])
    assert line.values == [r['depth_abs'] for r in expected]


def test_branches_are_lines_of_their_own():
    """Those of moving averages, too, beside the network itself."""
    record = {'step': 1, 'epoch': 1, 'split': 'validation', 'teacher/miou': 1.0, 'student/miou': 2.0}
    (panel,) = curves._panels({'sd': [record]}, Labels.of(TASKS))
    assert panel.title == 'mIoU (%) ↑, validation'
    assert [line[:2] for line in panel.lines] == [('sd', 'teacher'), ('sd', 'student')]
    record = {'step': 1, 'epoch': 1, 'split': 'test', 'miou': 1.0, 'ema/miou': 2.0}
    (panel,) = curves._panels({'mtl': [record]}, Labels.of(TASKS))
    assert [line.branch for line in panel.lines] == ['', 'ema']
    # In training, the plain number is the sum of those of the branches.
    record = {'step': 1, 'epoch': 1, 'split': 'train', 'loss/depth': 3.0, 'student/loss/depth': 3.0}
    (panel,) = curves._panels({'sd': [record]}, Labels.of(TASKS))
    assert [line.branch for line in panel.lines] == ['student']


@pytest.mark.parametrize('count', [2, 3])
def test_several_seeds_are_means_with_bands(count):
    """Sample standard deviation, or of two seeds the lower and the higher; what one seed lacks is left out."""
    values = [[1.0, 4.0, 9.0], [3.0, 4.0, 0.0], [8.0, 10.0, 0.0]][:count]
    each = []
    for i, of_seed in enumerate(values):
        known = [(e, value) for e, value in enumerate(of_seed) if e < 2 or i == 0]
        records = [{'step': e, 'epoch': e, 'split': 'test', 'miou': value} for e, value in known]
        if i == 0:
            records[0]['depth_abs'] = 1.0
        each.append(curves._panels({'mgda': records}, Labels.of(TASKS)))
    (panel,) = curves._means(each)
    (line,) = panel.lines
    assert (panel.title, line.stage, line.epochs) == ('mIoU (%) ↑, test', 'mgda', [0, 1])
    array = np.array(values)[:, :2]
    mean, spread = array.mean(axis=0), array.std(axis=0, ddof=1)
    np.testing.assert_allclose(line.values, mean)
    np.testing.assert_allclose(line.low, mean - spread if count == 3 else array.min(axis=0))
    np.testing.assert_allclose(line.high, mean + spread if count == 3 else array.max(axis=0))


def test_curves_of_several_seeds_are_drawn(tmp_path):
    """A falling loss is logarithmic; its band, which reaches below 0, and a scale that is shared, make no trouble."""
    for seed in range(3):
        with MetricWriter(tmp_path / f'seed{seed}' / 'stages' / 'mgda') as writer:
            for epoch in range(1, 40):
                loss = 10 * (1 + 3 * (seed == 0 and epoch < 30)) * 0.8**epoch
                writer.write({'step': epoch, 'epoch': epoch, 'split': 'train', 'loss/depth': loss})
                writer.write({'step': epoch, 'epoch': epoch, 'split': 'test', 'loss/depth': 1.0 + loss})
    seeds = [tmp_path / f'seed{seed}' for seed in range(3)]
    assert curves.draw_seeds(tmp_path, seeds, TASKS) == tmp_path / 'figures' / 'curves.png'
    picture = pixels(tmp_path / 'figures' / 'curves.png')
    assert (picture == rgb(curves.COLOURS[0])).all(axis=-1).sum() > 500
    # A fifth of the line's colour, on white.
    band = np.round(0.8 * 255 + 0.2 * rgb(curves.COLOURS[0]))
    assert (np.abs(picture - band).max(axis=-1) <= 2).sum() > 1000
    assert curves.draw_seeds(tmp_path / 'none', [tmp_path / 'a', tmp_path / 'b'], TASKS) is None


def test_losses_of_training_and_test_are_on_one_scale():
    one, other = Figure().subplots(1, 2)
    one.plot([0, 1], [1.0, 5.0])
    other.plot([0, 1], [0.2, 3.0])
    curves._on_one_scale(one, other)
    assert one.get_ylim() == other.get_ylim()
    assert one.get_ylim()[0] < 0.2 < 5.0 < one.get_ylim()[1]


def test_many_networks_look_different():
    """Also where colours are not seen."""
    looks = [curves._look(i, 100) for i in range(40)]
    assert len({(look['color'], look['marker']) for look in looks}) == 40
    assert all(a['marker'] != b['marker'] and a['color'] != b['color'] for a, b in itertools.pairwise(looks))


def test_values_that_are_not_finite_are_survived(tmp_path):
    records = [{'step': i, 'epoch': i, 'split': 'test', 'miou': v} for i, v in enumerate([1.0, float('nan'), 3.0])]
    assert curves.draw({'uniform': records}, TASKS, tmp_path / 'c.png').is_file()


def test_a_workdir_without_records_has_no_curves(tmp_path):
    assert curves.draw_workdir(fake.write(tmp_path, fake.stages()), TASKS) is None
    assert not (tmp_path / 'figures').exists()


def test_panel_size_and_content(tmp_path):
    given = fake.examples(count=3)
    picture = pixels(panels.prediction_panel(**given, path=tmp_path / 'p.png', title='kd_mtl'))
    width, height = 48 * 5, 32 * 5
    columns = 7
    # Matplotlib before 3.11 may round a size down.
    assert 2 * panels.MARGIN + columns * (width + panels.GAP) - panels.GAP - picture.shape[1] in (0, 1)
    foot = 2 * panels.MARGIN + 4 * legend.LINE  # a line per task, one on hatching
    assert picture.shape[0] == panels.HEAD + 3 * (height + panels.GAP) - panels.GAP + foot

    def tile(row, column):
        top = panels.HEAD + row * (height + panels.GAP)
        left = panels.MARGIN + column * (width + panels.GAP)
        return picture[top : top + height, left : left + width]

    # Pixel for pixel: the image in column 0, the segmentation predictions in column 2.
    image = (np.clip(given['images'][1], 0, 1) * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(tile(1, 0)[2::5, 2::5], image)
    scores = given['predictions']['main']['segmentation'][2]
    drawn, plain = tile(2, 2)[2::5, 2::5], fake.TASKS['segmentation'].render(scores, None)
    label, defined = given['truths']['segmentation'][2][..., 0], given['masks']['segmentation'][2][..., 0]
    wrong = (scores.argmax(-1) != label) & defined
    assert 0 < wrong.sum() < wrong.size
    # Black stripes where the class is wrong; where the truth is undefined nothing is wrong.
    np.testing.assert_array_equal(drawn[~wrong], plain[~wrong])
    enlarged, marked = (x.repeat(5, 0).repeat(5, 1) for x in (plain, wrong))
    black = (tile(2, 2) == 0).all(-1)
    assert not black[~marked].any()
    assert 0.4 < black[marked].mean() < 0.6
    np.testing.assert_array_equal(tile(2, 2)[~black], enlarged[~black])
    # The truth of depth: striped where undefined, the rendering elsewhere.
    truth, mask = given['truths']['depth'][0], given['masks']['depth'][0][..., 0]
    centre = tile(0, 3)[2::5, 2::5]
    np.testing.assert_array_equal(centre[mask], fake.TASKS['depth'].render(truth, None)[mask])
    hatched = tile(0, 3)[~mask.repeat(5, 0).repeat(5, 1)]
    assert {tuple(colour) for colour in hatched} == {(120,) * 3, (190,) * 3}


def test_a_column_per_branch(tmp_path):
    given = fake.examples(count=1)
    one = given['predictions']['main']
    given['predictions'] = {'teacher': one, 'student': one}
    picture = pixels(panels.prediction_panel(**given, path=tmp_path / 'p.png'))
    assert picture.shape[1] == 2 * panels.MARGIN + 10 * (240 + panels.GAP) - panels.GAP


def test_fully_defined_truth_has_no_note(tmp_path):
    given = fake.examples(count=1)
    given['tasks'] = [task for task in given['tasks'] if task.name != 'segmentation']
    given['masks'] = {name: np.ones_like(mask) for name, mask in given['masks'].items()}
    picture = pixels(panels.prediction_panel(**given, path=tmp_path / 'p.png'))
    assert (picture[-panels.MARGIN :] == 255).all()
    given['masks'] = fake.examples(count=1)['masks']
    hatched = panels.prediction_panel(**given, path=tmp_path / 'q.png')
    assert pixels(hatched).shape[0] == picture.shape[0] + legend.LINE


def test_losses_of_all_tasks_in_one_diagram(tmp_path):
    """A colour for every task, in two diagrams; nothing of a stage that distils nothing."""
    workdir = fake.write(tmp_path, fake.stages())
    for stage in fake.stages():
        with MetricWriter(workdir / 'stages' / stage['stage']) as writer:
            for record in fake.records(stage):
                writer.write(record)
    picture = pixels(curves.draw_losses(workdir, 'kd_mtl', TASKS))
    half = picture.shape[1] // 2
    for colour in map(rgb, curves.COLOURS[:3]):
        assert all((side == colour).all(axis=-1).sum() > 100 for side in (picture[:, :half], picture[:, half:]))
    assert curves.draw_losses(workdir, 'stl_depth', TASKS) is None


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'truths': {}}, "`truths` has no 'segmentation'; it has nothing"),
        ({'predictions': {'main': {}}}, "`predictions\\['main'\\]` has no 'segmentation'"),
        ({'images': np.zeros((3, 32, 40, 3))}, 'n, h and w must agree'),
        ({'images': np.zeros((0, 32, 48, 3))}, 'at least one image'),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        panels.prediction_panel(**{**fake.examples(), **change}, path=tmp_path / 'p.png')


def test_legends_stay_within_the_panel_and_lose_nothing():
    tasks = list(fake.TASKS.values())
    for width in (2000, 500, 150):
        lines = legend.lines(tasks, width)
        assert [word for line in lines for _, (word, colour) in line if colour is None] == [t.name for t in tasks]
        entries = [entry for line in lines for _, entry in line if entry[1] is not None]
        assert entries == [entry for task in tasks for entry in task.legend]
        for line in lines:
            left, entry = line[-1]
            assert left + legend._width(entry) <= width or len(line) <= 2
    assert len(legend.lines(tasks, 2000)) == 3
