"""Selection rules: which numbers are a run's result."""

import math

import pytest

from mtkd_jax.training.selection import RULES, rule_named, summarise, validation_score
from mtkd_jax.types import UserError

# Squares: their mean is not their median.
RECORDS = [{'depth_abs': float(i**2), 'miou': -float(i)} for i in range(25)]


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('last', 24**2),
        ('last10_mean', sum(i**2 for i in range(15, 25)) / 10),
        ('last20_median', (14**2 + 15**2) / 2),
        ('best_validation', 24**2),
        ('held_out', 24**2),
    ],
)
def test_rules_by_hand(name, expected):
    assert summarise(rule_named(name), RECORDS)['depth_abs'] == pytest.approx(expected)


def test_too_few_epochs_are_named():
    for rule in RULES.values():
        with pytest.raises(UserError, match=f'`selection` {rule.name!r} needs {rule.epochs} .*; this run has'):
            summarise(rule, RECORDS[: rule.epochs - 1])


def test_the_validation_score_is_the_mean_of_all_losses():
    results = {'loss/depth': 1.0, 'student/loss/depth': 2.0, 'student/loss/normals': 6.0, 'depth_abs': 100.0}
    assert validation_score(results) == 3


def test_numbers_that_are_not_in_every_epoch():
    """NaN in one epoch leaves nothing to take a median of; what an earlier version did not measure is missing."""
    records = [{**record, 'iou_1': float(i != 7), 'iou_2': 1.0} for i, record in enumerate(RECORDS)]
    records[7]['iou_1'] = math.nan
    del records[9]['iou_2']
    found = summarise(rule_named('last20_median'), records)
    assert math.isnan(found['iou_1'])
    assert found.keys() == {'depth_abs', 'miou', 'iou_1'}
