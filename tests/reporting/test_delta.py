"""Δm against numbers worked out by hand."""

import pytest

from mtkd_jax.reporting.delta import delta_m, single_task_base
from mtkd_jax.types import UserError
from tests.reporting import fake

TASKS = list(fake.TASKS.values())


def base():
    return single_task_base(fake.stages())


def test_by_hand():
    # Segmentation +10 % and +2 %; depth +10 % and -4 %; normals -5 %, 0, +4 %, 0, 0.
    delta = delta_m(fake.MULTI, base(), TASKS)
    assert delta.per_task == pytest.approx({'segmentation': 6.0, 'depth': 3.0, 'normals': -0.2})
    assert delta.mean_per_task == pytest.approx(8.8 / 3)
    assert delta.flat == pytest.approx(17 / 9)


def test_the_legacy_protocol_reads_legacy_values_on_both_sides():
    results = {**fake.MULTI, 'miou_per_image_legacy': 24.0, 'pixel_accuracy_per_image_legacy': 49.0}
    results |= {'depth_abs_per_batch_legacy': 0.8, 'depth_rel_per_batch_legacy': 0.5}
    delta = delta_m(results, base(), TASKS, protocol='legacy')
    assert delta.per_task['segmentation'] == pytest.approx(25.0)
    # 1 and 0.5 are the single-task network's.
    assert delta.per_task['depth'] == pytest.approx(10.0)


def test_the_papers_own_delta():
    """Li & Bilen (2020), table 2, SegNet: worked out from the printed numbers with a pocket calculator."""
    stl = {'depth_abs': 0.6577, 'depth_rel': 0.2828}
    kd_mtl = {'depth_abs': 0.5780, 'depth_rel': 0.2467}
    assert delta_m(kd_mtl, stl, [fake.TASKS['depth']]).flat == pytest.approx((12.118 + 12.765) / 2, abs=1e-3)


def test_equal_results_give_zero():
    delta = delta_m(base(), base(), TASKS)
    assert delta.mean_per_task == delta.flat == 0


@pytest.mark.parametrize(
    ('results', 'reference', 'message'),
    [
        ({'depth_rel': 1.0}, {'depth_abs': 1.0, 'depth_rel': 1.0}, '`depth_abs`, which is missing in the results'),
        ({'depth_abs': 1.0, 'depth_rel': 1.0}, {'depth_abs': 1.0}, '`depth_rel`, which is missing in the single-task'),
        ({'depth_abs': 1.0, 'depth_rel': 1.0}, {'depth_abs': 0.0, 'depth_rel': 1.0}, '`depth_abs` is 0'),
        (
            {'depth_abs': float('nan'), 'depth_rel': 1.0},
            {'depth_abs': 1.0, 'depth_rel': 1.0},
            '`depth_abs`, which is NaN in the results',
        ),
    ],
)
def test_what_cannot_be_computed_names_the_metric(results, reference, message):
    with pytest.raises(UserError, match=message):
        delta_m(results, reference, [fake.TASKS['depth']])


def test_an_unknown_protocol_lists_the_protocols():
    with pytest.raises(UserError, match="`protocol` is 'per_image'; choose one of accumulated, legacy"):
        delta_m(fake.MULTI, base(), TASKS, protocol='per_image')


def test_no_tasks():
    with pytest.raises(UserError, match='`tasks` is empty'):
        delta_m(fake.MULTI, base(), [])


def test_the_base_is_made_of_single_task_stages_only():
    assert base()['miou'] == 20.0
    assert base()['depth_abs'] == 0.5
    assert single_task_base(fake.stages()[3:]) == {}


def test_two_stages_with_the_same_metric_are_refused():
    twice = [*fake.stages(), fake.stage('stl_again', 'stl', ['depth'], fake.SINGLE['depth'])]
    with pytest.raises(UserError, match='reported by the single-task stages stl_depth and stl_again'):
        single_task_base(twice)
