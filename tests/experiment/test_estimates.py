"""Plans of studies: what is to be trained, and how long that takes."""

import re

import pytest

from mtkd_jax.experiment.estimates import Unopened, counted, measured, operations, plan
from mtkd_jax.experiment.reproducing import Reproduction
from mtkd_jax.experiment.reproduction import own_rows
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import UserError
from tests.recipes import TINY

SHALLOW = 'backbone=tests.shallow'


def planned(folder, dataset, recipes, images=0, **fields):
    return Reproduction(own_rows(recipes, dataset), folder, (0, 1), fields, 0, opened=Unopened(images)).jobs


def cells(text):
    """Stage → the cells of its row."""
    lines = [
        [cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('|')
    ]
    return {line[0]: line[1:] for line in lines[2:]}


def test_a_plan_by_arithmetic_needs_no_data(tmp_path):
    """The images are those of the paper: 795 of NYUv2 in batches of 2, 200 times; two seeds are one kind."""
    jobs = planned(tmp_path, 'nyuv2', [f'method={name},tasks=depth,{SHALLOW}' for name in ('stl', 'kd_mtl')])
    rows = cells(plan(jobs, counted(1e-6), 'it'))
    assert list(rows) == ['stl_depth', 'kd_mtl']
    assert all(row[:4] == ['tests.shallow', '2', '2', '79,400'] for row in rows.values())
    (_, single), (words, distilled) = (counted(1e-6)(job) for job in jobs[:2])
    assert distilled > single > 0
    assert float(re.match(r'[\d.e-]+', words)[0]) == pytest.approx(distilled * 1e-6, rel=1e-2)
    assert counted(2e-6)(jobs[0])[1] == pytest.approx(single / 2)
    # Where answers are kept, teachers are not asked; a single-task step has none.
    assert single * 1e6 < operations(jobs[1], keeps=True) < operations(jobs[1]) == pytest.approx(distilled * 1e6)
    assert operations(jobs[0], keeps=True) == operations(jobs[0])
    total = plan(jobs, lambda job: ('', 36.0), 'a device').splitlines()[-1]
    assert total == f'4 stages; {4 * 79_400 // 100}:00:00 of training steps left on a device.'


def test_images_of_a_plan(tmp_path):
    """Pools are as long as the longest; data whose papers fix no number need one."""
    jobs = planned(tmp_path, 'svhn_omniglot', ['method=stl,tasks=svhn'])
    assert jobs[0].stage.data.train.steps_per_epoch == 47_217 // (jobs[0].experiment.config.batch_size // 2)
    recipes = [f'method=stl,tasks=depth,{SHALLOW}']
    with pytest.raises(UserError, match=r'How many training images taskonomy has is not fixed; .*--images=N'):
        planned(tmp_path, 'taskonomy', recipes)
    jobs = planned(tmp_path, 'taskonomy', recipes, images=10)
    assert jobs[0].stage.data.train.steps_per_epoch == 10 // 4
    with pytest.raises(UserError, match='`images` is 10, but how many nyuv2 has is known; leave it out'):
        planned(tmp_path, 'nyuv2', recipes, images=10)


def test_rendered_data_are_rendered_for_a_plan(rooms, tmp_path):
    fields = {**TINY, 'data.data_dir': rooms, 'data.train_images': 8, 'data.test_images': 4}
    jobs = planned(tmp_path, 'rooms', [f'method=stl,tasks=depth,{SHALLOW}'], **fields)
    assert jobs[0].stage.settings['data']['made']['source'] == 'rendered'


def test_what_is_finished_takes_no_time(rooms, tmp_path):
    fields = {**TINY, 'data.data_dir': rooms, 'data.train_images': 8, 'data.test_images': 4}
    made = Reproduction(own_rows([f'method=stl,tasks=depth,{SHALLOW}'], 'rooms'), tmp_path, (0,), fields, 0)
    (row,) = cells(plan(made.jobs, measured, 'it')).values()
    assert row[1:4] == ['1', '1', '2']
    assert float(row[4].removesuffix(' s')) > 0
    made.run(StopRequest())
    (row,) = cells(plan(made.jobs, lambda job: pytest.fail('it is finished'), 'it')).values()
    assert row[1:5] == ['1', '0', '2', '–']
