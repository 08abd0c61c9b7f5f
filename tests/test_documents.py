"""What docs say of kept results is what these give."""

import shutil

import pytest

from benchmarks import kept
from mtkd_jax.errors import UserError


def test_tables_are_those_of_the_kept_results():
    for page, text in kept.pages().items():
        assert page.read_text() == text, f'{page.name}: python -m benchmarks.kept writes it anew'


def test_a_study_is_kept_once(tmp_path):
    """Its stages, whatever links lead to them, without weights and checkpoints; and the search."""
    study = tmp_path / 'study'
    place = study / 'stages' / 'uniform.0123'
    (place / 'model').mkdir(parents=True)
    (place / 'results.json').write_text('{\n "stage": "uniform"\n}')
    for row in ('a', 'b'):
        stages = study / 'runs' / row / 'seed0' / 'stages'
        stages.mkdir(parents=True)
        (stages / 'uniform').symlink_to(place, target_is_directory=True)
    assert kept.keep(study, tmp_path / 'out') == 1
    files = [file.relative_to(tmp_path / 'out') for file in (tmp_path / 'out').rglob('*') if file.is_file()]
    assert [str(file) for file in files] == ['runs/a/seed0/stages/uniform/results.json']
    assert (tmp_path / 'out' / files[0]).read_text() == '{"stage": "uniform"}\n'


def deltas(**means):
    """Δm of eight seeds for every row: its mean, and what all rows of a seed share."""
    names = dict(zip(('uniform', 'tuned', 'distilled', 'searched'), kept.ROWS[1:], strict=True))
    return {row: {seed: means[name] + (seed - 3.5) for seed in range(8)} for name, row in names.items()}


def test_verdicts_follow_the_protocol():
    """Spread that rows share does not count between them, but against the single-task networks it does."""
    table, last, said = kept.tests(deltas(uniform=-1.0, tuned=9.0, distilled=2.0, searched=8.5))
    lines = said.splitlines()
    assert lines[0].startswith('- a. `kd_mtl` is better than `uniform`: **held** (+3.00')
    assert lines[2].startswith('- b. `kd_mtl` is better than its teachers: cannot be told (+2.00')
    assert lines[3].startswith('- b. `kd_mtl`, searched is better than its teachers: **held** (+8.50')
    assert lines[4].startswith('- c. `kd_mtl`, searched is better than `uniform`, searched: **did not hold** (-0.50')
    # The smallest p of eight pairs, 2 / 2⁸, times the three rows that are compared; test 2 is one.
    assert lines[0].endswith('p = 0.023).')
    assert last.endswith('p = 0.008.')
    assert lines[4].endswith('p = 0.008).')
    assert '+3.00 [+3.00, +3.00] |    0.023' in table


def test_a_study_that_lacks_something_gives_no_table(tmp_path):
    study = tmp_path / 'core'
    shutil.copytree(kept.STUDIES / 'core', study)
    shutil.rmtree(study / 'runs/rooms_uniform/seed3')
    with pytest.raises(UserError, match=r'lacks a seed, or a number of one; the protocol has \[0, 1, .*7\]'):
        kept.core(study)
