"""What numbers are called: by the tasks that are here, by a task of a user's own, and where no task is known."""

import dataclasses
import importlib
import subprocess
import sys

import pytest

from mtkd_jax import metrics, tasks
from mtkd_jax.metrics import PER_BATCH, PER_IMAGE, Metric, Metrics, Quantity
from mtkd_jax.reporting import curves
from mtkd_jax.reporting.delta import delta_m
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.report import write_report
from mtkd_jax.reporting.rows import rows
from mtkd_jax.reporting.tables import results_table
from tests.reporting import fake

# The command's module; `mtkd_jax.evaluate` is the function.
evaluate = importlib.import_module('mtkd_jax.evaluate')

HERE = {
    'segmentation': ('segmentation loss: cross-entropy (nats)', ['mIoU (%)', 'pixel accuracy (%)']),
    'depth': ('depth loss: absolute error', ['depth error (m)', 'relative depth error']),
    'normals': (
        'normals loss: 1 - cosine',
        [
            'normals, mean (°)',
            'normals, median (°)',
            'within 11.25° (%)',
            'within 22.5° (%)',
            'within 30° (%)',
            'normals, mean cosine',
        ],
    ),
    'keypoints': ('keypoint loss: absolute error', ['keypoint error']),
    'edges': ('edge loss: absolute error', ['edge error']),
    'svhn': ('SVHN loss: cross-entropy (nats)', ['SVHN accuracy (%)']),
    'omniglot': ('Omniglot loss: cross-entropy (nats)', ['Omniglot accuracy (%)']),
    'digits': ('digits loss: cross-entropy (nats)', ['digits accuracy (%)']),
    'characters': ('characters loss: cross-entropy (nats)', ['characters accuracy (%)']),
}


def of_kind(name):
    return evaluate._task(name, 5)


def flow():
    """A task of a user's own, with a unit, a metric beside those in Δm, and one in both protocols."""
    each = {
        'flow_error': Metric('flow error', 'px', 1, direction=-1, per_image_legacy=True),
        'flow_share': Metric('flow, near', '%', 0, direction=1, in_delta=False),
    }
    base = tasks.depth()
    return dataclasses.replace(
        base,
        name='flow',
        metrics=Metrics(base.metrics.measure, base.metrics.compute, each),
        unit='px',
        loss_label=Quantity('flow loss: end point', 'px'),
        agreement_unit='px apart',
    )


@pytest.mark.parametrize('name', list(HERE))
def test_tasks_that_are_here(name):
    task = of_kind(name)
    labels = Labels.of([task])
    loss, titles = HERE[name]
    assert str(labels[f'loss/{name}']) == loss
    assert [str(metric) for metric in task.metrics.each.values() if not metric.section] == titles
    unit = 'L2' if task.mistakes is None else 'same class'
    assert str(labels[f'agreement/{name}']) == f'student and teacher, {name} ({unit})'


def test_inverse_depth():
    inverse = tasks.depth(inverse=True)
    titles = ['inverse depth error', 'relative inverse depth error (%)']
    assert [str(metric) for metric in inverse.metrics.each.values() if not metric.section] == titles
    further = [str(metric) for metric in inverse.metrics.each.values() if metric.section]
    assert further[:3] == ['inverse depth, RMSE', 'inverse depth, log₁₀ error', 'inverse depth, δ < 1.25 (%)']
    assert str(tasks.depth().metrics.each['depth_rmse']) == 'depth, RMSE (m)'
    assert (inverse.unit, tasks.depth().unit) == ('', 'm')


def test_what_has_two_protocols():
    ends = {name: m.legacy for task in map(of_kind, HERE) for name, m in task.metrics.each.items() if m.legacy}
    normals = ('normal_mean', 'normal_median', 'normal_11.25', 'normal_22.5', 'normal_30')
    per_batch = dict.fromkeys(('depth_abs', 'depth_rel', *normals), PER_BATCH)
    assert ends == {'miou': PER_IMAGE, 'pixel_accuracy': PER_IMAGE, **per_batch}
    labels = Labels.of(fake.TASKS.values())
    assert str(labels['miou' + PER_IMAGE]) == 'mIoU, per-image legacy (%)'
    assert str(labels['depth_abs' + PER_BATCH]) == 'depth error, per-batch legacy (m)'
    assert labels.heading('depth_abs' + PER_BATCH, -1) == 'depth error (m) ↓'


def test_what_no_task_knows():
    labels = Labels.of([])
    assert str(labels['loss/total']) == 'total loss, weighted'
    assert str(labels['cka/depth/mid']) == 'CKA with the teacher, depth, mid'
    assert str(labels['cosine/depth/normals']) == 'cosine of task gradients, depth and normals'
    assert str(labels['distillation/depth']) == 'distillation, depth (unweighted)'
    for name in ('depth_abs', 'loss/depth'):
        assert str(labels[name]) == name


def test_defaults_of_a_short_task():
    task = dataclasses.replace(tasks.depth(), name='heat', metrics=metrics.absolute_metrics('heat'), loss_label=None)
    labels = Labels.of([task])
    assert (str(labels['loss/heat']), str(labels['heat_abs'])) == ('heat loss', 'heat error')


def test_a_task_of_ones_own_in_tables_curves_and_report(tmp_path):
    results = {'loss/flow': 1.0, 'flow_error': 2.0, f'flow_error{PER_IMAGE}': 4.0, 'flow_share': 30.0}
    stages = [fake.stage('uniform', 'uniform', ['flow'], results, baselines={'flow': {'flow_error': 8.0}})]
    table = results_table(rows(stages), [flow()])
    assert [cell.strip() for cell in table.splitlines()[0].split('|')[2:4]] == ['flow error (px) ↓', 'flow, near (%) ↑']
    assert table.splitlines()[2].split()[1::2][:3] == ['uniform', '2.0', '30']
    assert '4.0' in results_table(rows(stages), [flow()], 'legacy')

    where = {'step': 1, 'epoch': 1}
    train = {**where, 'split': 'train', 'loss/flow': 1.0, 'agreement/flow': 0.5}
    panels = curves._panels({'uniform': [train, {**where, 'split': 'test', **results}]}, Labels.of([flow()]))
    titles = [panel.title for panel in panels]
    assert titles[:4] == [
        'flow loss: end point (px), training',
        'flow loss: end point (px), test',
        'student and teacher, flow (px apart), training',
        'flow error (px) ↓, test',
    ]

    report = write_report(fake.write(tmp_path, stages), {'flow': flow()}).read_text()
    assert '| flow error (px) ↓ |' in report
    assert 'flow error: **per-image legacy**, the mean over images' in report


def test_delta_takes_the_metrics_that_enter_it():
    change = delta_m({'flow_error': 1.0, 'flow_share': 0.0}, {'flow_error': 2.0, 'flow_share': 50.0}, [flow()])
    assert change.flat == 50.0


def test_tasks_are_light_to_import():
    code = "import sys, mtkd_jax.tasks; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, '-c', code], check=True)
