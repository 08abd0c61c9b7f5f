"""Whole runs of tiny recipes: what is trained, given, chosen, kept and reported."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from mtkd_jax.experiment import drawing
from mtkd_jax.experiment.models import build_network
from mtkd_jax.experiment.run import run
from mtkd_jax.inference import make_predictor
from mtkd_jax.training.folder import load_model, weights_digest
from mtkd_jax.types import UserError
from tests import recipes, small
from tests.recipes import load, model


def test_given_teachers_are_evaluated_used_and_left_as_they_are(rooms, tmp_path):
    """The other teacher is trained here. Another network at the same path is another teacher."""
    folder = model(tmp_path / 'given', ['depth'], backbone='tests.shallow')
    before = {p.name: p.read_bytes() for p in Path(folder).iterdir()}
    recipe = 'tasks=depth+normals,backbone=tests.shallow'
    config = load('rooms', recipe, data__data_dir=rooms, method_settings__teachers__depth=folder)
    report = run(config, tmp_path / 'run').read_text()
    assert {p.name: p.read_bytes() for p in Path(folder).iterdir()} == before
    stages = tmp_path / 'run' / 'stages'
    given = json.loads((stages / 'stl_depth' / 'results.json').read_text())
    assert given['selection']['rule'] == 'given'
    assert set(given['results']) >= {'depth_abs', 'depth_rel'}
    assert not (stages / 'stl_depth' / 'model').exists()
    assert (stages / 'stl_normals' / 'model' / 'weights.npz').is_file()
    result = json.loads((stages / 'kd_mtl' / 'results.json').read_text())
    assert result['settings']['method_settings']['teachers'] == {
        'depth': weights_digest(Path(folder)),
        'normals': 'trained here',
    }
    assert 'Given teacher' in report
    model(tmp_path / 'given', ['depth'], seed=1, backbone='tests.shallow')
    with pytest.raises(UserError, match='stl_depth belongs to a run with other settings: `given` was'):
        run(config, tmp_path / 'run')


def test_nyuv2_runs_every_method_for_two_steps(nyuv2, tmp_path):
    """In one workdir, where the last method finds the single-task stages of the one before."""
    names = {'uniform': ['uniform'], 'kd_mtl': [*(f'stl_{name}' for name in small.NAMES), 'kd_mtl', 'uniform']}
    for method, expected in names.items():
        recipe = f'method={method},backbone=tests.shallow'
        config = load('nyuv2', recipe, data__data_dir=nyuv2, batch_size=2, eval_batch_size=2, panel_images=1)
        assert len(run(config, tmp_path).read_text()) > 1000
        assert sorted(p.name for p in (tmp_path / 'stages').iterdir()) == sorted(expected)
        for name in expected:
            assert (tmp_path / 'figures' / f'{name}.png').is_file()
            assert json.loads((tmp_path / 'stages' / name / 'results.json').read_text())['steps'] == 2


def test_every_stage_trains_with_the_augmentation_and_settings_say_so(rooms, tmp_path):
    """Teachers, too; a stage trained with another one is not taken for this one."""
    augmented = {'data__data_dir': rooms, 'data__augment': 'scale_crop_flip'}
    assert (
        'data.augment'
        in run(load('rooms', 'method=stl,tasks=normals,backbone=tests.shallow', **augmented), tmp_path).read_text()
    )
    results = json.loads((tmp_path / 'stages' / 'stl_normals' / 'results.json').read_text())
    assert np.isfinite(list(results['results'].values())).all()
    with_teacher = load('rooms', 'method=kd_mtl,tasks=normals,backbone=tests.shallow', **augmented)
    stages = recipes.stages(with_teacher, tmp_path)
    assert [(stage.name, stage.augment) for stage in stages] == [
        ('stl_normals', 'scale_crop_flip'),
        ('kd_mtl', 'scale_crop_flip'),
    ]
    assert json.loads(json.dumps(stages[0].settings)) == results['settings']
    assert stages[1].settings['data']['augment'] == 'scale_crop_flip'
    plain = load('rooms', 'method=stl,tasks=normals,backbone=tests.shallow', data__data_dir=rooms)
    with pytest.raises(UserError, match=r"other settings: `data.augment` was 'scale_crop_flip', is None"):
        run(plain, tmp_path)
    # Folders from before there was an augmentation stay what they are.
    assert 'augment' not in recipes.stages(plain, tmp_path)[0].settings['data']


def test_bfloat16_trains_with_float32_parameters(rooms, tmp_path):
    config = load('rooms', 'tasks=depth,backbone=tests.shallow', data__data_dir=rooms, compute_dtype='bfloat16')
    run(config, tmp_path)
    for stage in ('stl_depth', 'kd_mtl'):
        spec, variables = load_model(tmp_path / 'stages' / stage / 'model')
        assert spec['compute_dtype'] == 'bfloat16'
        assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype('float32')}
    report = (tmp_path / 'report.md').read_text()
    assert 'bfloat16' in report
    # Where the time went is said of the run that trained, not of one that found all done.
    spent = tmp_path / 'spent.json'
    assert 'outside of stages' in report
    assert set(json.loads(spent.read_text())) == {'starting', 'drawing'}
    written = spent.stat().st_mtime_ns
    run(config, tmp_path)
    assert spent.stat().st_mtime_ns == written


def test_a_picture_that_cannot_be_drawn_keeps_no_stage_from_training(rooms, tmp_path, monkeypatch):
    """Nor the report from being written, which says so. The same command then only draws."""

    def fails(**what):
        raise RuntimeError('no font')

    config = load('rooms', 'tasks=depth,backbone=tests.shallow', data__data_dir=rooms, panel_images=1)
    with monkeypatch.context() as patched:
        patched.setattr(drawing, 'prediction_panel', fails)
        with pytest.raises(RuntimeError, match='no font'):
            run(config, tmp_path)
    report = (tmp_path / 'report.md').read_text()
    assert 'Drawing ended with an error (RuntimeError: no font).' in report
    assert '## Results' in report
    results = {stage: tmp_path / 'stages' / stage / 'results.json' for stage in ('stl_depth', 'kd_mtl')}
    written = {stage: file.stat().st_mtime_ns for stage, file in results.items()}
    assert 'Drawing ended' not in run(config, tmp_path).read_text()
    assert {stage: file.stat().st_mtime_ns for stage, file in results.items()} == written
    assert all((tmp_path / 'figures' / f'{stage}.png').is_file() for stage in results)


def test_the_best_epoch_is_chosen_on_a_split_of_its_own(rooms, tmp_path):
    config = load(
        'rooms',
        'method=uniform,tasks=depth,backbone=tests.shallow',
        data__data_dir=rooms,
        selection='best_validation',
        data__validation_fraction=0.5,
        evaluate_every_epochs=1,
        epochs=2,
    )
    run(config, tmp_path)
    folder = tmp_path / 'stages' / 'uniform'
    records = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    assert [r['split'] for r in records if r['split'] != 'train'] == ['validation', 'validation']
    scores = [r['loss/depth'] for r in records if r['split'] == 'validation']
    best = load_model(folder / 'best')[0]
    assert best['validation_loss'] == min(scores)
    assert best['step'] == 1 + int(np.argmin(scores))
    card = (folder / 'model' / 'README.md').read_text()
    assert 'The weights are those of the epoch that the selection rule chose.' in card
    assert 'Rendered indoor scenes with exact targets, no photographs' in card
    assert "mt.load('FOLDER', allow_modules=True)" in card
    chosen, saved = load_model(folder / 'best')[1], load_model(folder / 'model')[1]
    jax.tree.map(np.testing.assert_array_equal, chosen, saved)


def test_self_distillation(rooms, tmp_path, monkeypatch):
    """Every branch in results, report, pictures and predictions; side by side only those that can be deployed."""
    shown = recipes.watch(monkeypatch)
    names = 'normals+edges'
    config = load(
        'rooms', f'method=sd_mtcnn,backbone=segnet_sd,objective=eq6,tasks={names}', data__data_dir=rooms, panel_images=1
    )
    report = run(config, tmp_path).read_text()
    (stage,) = (tmp_path / 'stages').iterdir()
    assert stage.name == 'sd_mtcnn_eq6'
    results = json.loads((stage / 'results.json').read_text())
    for branch in ('teacher', 'student', 'ensemble'):
        assert f'sd_mtcnn_eq6 ({branch})' in report
        expected = ('normal_mean', 'normal_cosine', 'edges_abs')
        assert {f'{branch}/{metric}' for metric in expected} <= set(results['results'])
    costs = results['branches']
    assert costs['student']['operations'] < costs['teacher']['operations']
    assert list(costs) == ['teacher', 'student', 'teacher + student']
    card = (stage / 'model' / 'README.md').read_text()
    assert f'- Deployed as `student`: {costs["student"]["parameters"]:,} parameters' in card
    assert '| branch teacher | branch student | branch ensemble | constant predictor |' in card
    assert 'The weights are those after the last step.' in card
    assert '10⁹ operations per image' in report
    assert 'normals, mean cosine ↑' in report
    records = [json.loads(line) for line in (stage / 'metrics.jsonl').read_text().splitlines()]
    assert {f'agreement/{name}' for name in names.split('+')} <= set(records[0])
    assert not [name for name in records[0] if name.endswith('/loss/edges')]  # eq. 6 has one loss, the ensemble's
    assert (tmp_path / 'figures' / 'sd_mtcnn_eq6.png').is_file()
    assert list(shown) == ['normals', 'edges']
    for given, note in shown.values():
        assert list(given.predictions) == ['sd_mtcnn_eq6\nteacher', 'sd_mtcnn_eq6\nstudent']
        assert 'under sd_mtcnn_eq6 student, of 4 test images' in note

    spec, variables = load_model(stage / 'model')
    images = np.random.default_rng(0).uniform(size=(2, 32, 64, 3))
    whole = make_predictor(build_network(spec)[0], variables)(images)
    alone = make_predictor(build_network(spec, branches=['student'])[0], variables)(images)
    assert set(whole) == {'teacher', 'student', 'ensemble'}
    assert set(alone) == {'student'}
    np.testing.assert_allclose(alone['student']['edges'], whole['student']['edges'], rtol=1e-5)
    with pytest.raises(UserError, match="`branch` is 'main'; choose one of teacher, student, ensemble"):
        build_network(spec, branches=['main'])


def test_traditional_kd_takes_its_teacher_from_the_vanilla_stage(rooms, tmp_path):
    config = load('rooms', 'method=uniform,backbone=unet_sd,tasks=depth', data__data_dir=rooms)
    run(config, tmp_path)
    vanilla = (tmp_path / 'stages' / 'uniform' / 'results.json').read_bytes()
    config = load('rooms', 'method=traditional_kd,backbone=unet_sd,tasks=depth', data__data_dir=rooms)
    report = run(config, tmp_path).read_text()
    assert (tmp_path / 'stages' / 'uniform' / 'results.json').read_bytes() == vanilla
    results = json.loads((tmp_path / 'stages' / 'traditional_kd' / 'results.json').read_text())
    assert 'student/depth_rel' in results['results']
    assert 'traditional_kd (student)' in report
    _, variables = load_model(tmp_path / 'stages' / 'traditional_kd' / 'model')
    assert not [name for name in variables['params'] if name.startswith('teacher')]


def test_bam_and_diagnostics_run(rooms, tmp_path):
    recipe = 'method=bam,weighting=pcgrad,tasks=depth+normals,backbone=tests.shallow'
    config = load('rooms', recipe, data__data_dir=rooms, diagnose_every_steps=1)
    run(config, tmp_path)
    stages = tmp_path / 'stages'
    assert sorted(p.name for p in stages.iterdir()) == ['bam_pcgrad', 'stl_depth', 'stl_normals']
    records = [json.loads(line) for line in (stages / 'bam_pcgrad' / 'metrics.jsonl').read_text().splitlines()]
    seen = [record for record in records if record['split'] == 'diagnostics']
    assert [record['step'] for record in seen] == [0, 1]
    assert -1 <= seen[0]['cosine/depth/normals'] <= 1
    assert 0 <= seen[0]['cka/depth/mid'] <= 1
    # Of the labels' losses themselves, though teacher annealing begins with the teachers alone.
    assert seen[0]['gradient/normals'] > 0
    assert {'weight/depth', 'distillation/normals'} <= set(records[2])


def test_a_teacher_may_be_another_network_that_takes_the_same_images(rooms, tmp_path):
    """Of other widths, another backbone and another stride; where it cannot take the images, the run says so."""
    wide = model(tmp_path / 'wide', ['depth'], widths=(6, 4, 4, 4, 8))
    other = model(tmp_path / 'other', ['normals'], widths=(4, 4, 4, 4, 8), backbone='segnet_sd')
    teachers = {'method_settings__teachers__depth': wide, 'method_settings__teachers__normals': other}
    chosen = {**teachers, 'method_settings__points': ('mid',)}
    config = load('rooms', 'tasks=depth+normals', data__data_dir=rooms, diagnose_every_steps=1, **chosen)
    run(config, tmp_path / 'run')
    records = (tmp_path / 'run' / 'stages' / 'kd_mtl' / 'metrics.jsonl').read_text().splitlines()
    measured = {key: value for record in records for key, value in json.loads(record).items()}
    for task in ('depth', 'normals'):
        assert 0 < measured[f'distillation/{task}'] < 4
        assert 0 <= measured[f'cka/{task}/mid'] <= 1
    reads = load('rooms', 'method=bam,tasks=depth+normals', data__data_dir=rooms, **teachers)
    recipes.stages(reads, tmp_path)
    strided = {'data__data_dir': rooms, 'data__height': 48, 'data__width': 48, **chosen}
    with pytest.raises(
        UserError, match=r'`method_settings.teachers.depth` is .*wide, a segnet, for images in multiples'
    ):
        recipes.stages(load('rooms', 'tasks=depth+normals,backbone=segnet_sd', **strided), tmp_path)
