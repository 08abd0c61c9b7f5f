"""Evaluation of one branch, of a model folder and of a workdir."""

import pytest

from mtkd_jax import datasets
from mtkd_jax.experiment.evaluation import evaluate, evaluate_all
from mtkd_jax.types import UserError
from tests import recipes


@pytest.fixture
def branched(tmp_path):
    """A workdir of two untrained networks; `both` has a teacher and a student."""
    data = {**datasets.named('rooms').defaults, 'train_images': 8, 'test_images': 4}
    network = {'branches': ['teacher', 'student']}
    recipes.model(tmp_path / 'stages/alone/model', ['depth'], backbone='tests.shallow')
    recipes.model(tmp_path / 'stages/both/model', ['depth'], backbone='tests.branched', network=network, data=data)
    return tmp_path


def test_only_the_branch_that_is_asked_for_is_evaluated(branched, rooms):
    model = branched / 'stages/both/model'
    whole = evaluate(model, data_dir=rooms, allow_modules=True)
    student = evaluate(model, data_dir=rooms, branch='student', allow_modules=True)
    assert student == pytest.approx({k: v for k, v in whole.items() if k.startswith('student/')}, rel=1e-5)
    assert {name.partition('/')[0] for name in student} == {'student'}
    with pytest.raises(UserError, match="`branch` is 'studnt'; choose one of teacher, student"):
        evaluate(model, data_dir=rooms, branch='studnt', allow_modules=True)


def test_of_a_workdir_the_networks_that_have_the_branch(branched, monkeypatch):
    asked = []

    def evaluated(model, *data, branch, allow_modules):
        asked.append((model.parent.name, branch))
        return {}

    monkeypatch.setattr('mtkd_jax.experiment.evaluation.evaluate', evaluated)
    data = 'test', None, 8
    for branch, having, without in (
        ('student', ['both'], ['alone']),
        ('main', ['alone'], ['both']),
        (None, ['alone', 'both'], []),
    ):
        asked.clear()
        found, left_out = evaluate_all(branched, *data, branch=branch, allow_modules=True)
        assert (list(found), left_out, asked) == (having, without, [(stage, branch) for stage in having])
    with pytest.raises(UserError, match=r"`branch` is 'teachr'; choose one of main, student, teacher\. Did you mean"):
        evaluate_all(branched, *data, branch='teachr', allow_modules=True)
