"""Which test images are shown, which networks, and in which order; drawn by a run and by `compare`."""

import copy
import importlib
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import mtkd_jax as mt
from mtkd_jax import compare
from mtkd_jax.experiment import columns, comparing, drawing
from mtkd_jax.experiment.comparing import Choice, chosen
from mtkd_jax.experiment.run import run
from mtkd_jax.experiment.stages import experiments
from mtkd_jax.training.folder import load_model, save_model
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import UserError
from tests.recipes import load, model, watch

NAN = float('nan')


def labels(**by_task):
    return {task: np.array(values, bool) for task, values in by_task.items()}


def test_images_are_chosen_by_their_mean_rank():
    """Not by the mean loss, in which one task may outweigh the others."""
    losses = {'a': np.array([0.1, 0.2, 0.3, 0.4]), 'b': np.array([900.0, 100.0, 400.0, 500.0])}
    # Ranks: (1, 4), (2, 1), (3, 2), (4, 3).
    found = chosen(losses, labels(a=[1, 1, 1, 1], b=[1, 1, 1, 1]))
    assert found['a'] == found['b'] == [Choice('best', 1), Choice('median', 0), Choice('worst', 3)]


def test_ties_and_few_images():
    """Of equal images the first; the lower of two in the middle; one image is all three."""
    same = {'a': np.array([1.0, 1.0, 1.0, 1.0])}
    assert chosen(same, labels(a=[1, 1, 1, 1]))['a'] == [Choice('best', 0), Choice('median', 1), Choice('worst', 3)]
    two = {'a': np.array([2.0, 1.0])}
    assert chosen(two, labels(a=[1, 1]))['a'] == [Choice('best and median', 1), Choice('worst', 0)]
    assert chosen(two, labels(a=[1, 0]))['a'] == [Choice('best and median and worst', 0)]
    assert chosen(two, labels(a=[0, 0])) == {}
    assert chosen({'a': np.array([NAN, 5.0, 1.0])}, labels(a=[1, 1, 1]))['a'][-1] == Choice('worst', 0)


def test_images_with_one_label_are_chosen_for_every_task_alone():
    losses = {'a': np.array([0.0, 2.0, 1.0, 3.0]), 'b': np.array([3.0, 0.0, 0.0, 1.0])}
    # An image that has both labels is preferred to all others.
    both = chosen(losses, labels(a=[0, 1, 1, 1], b=[1, 0, 0, 1]))
    assert both['a'] == both['b'] == [Choice('best and median and worst', 3)]
    found = chosen(losses, labels(a=[0, 1, 1, 0], b=[1, 0, 0, 1]))
    assert found['a'] == [Choice('best and median', 2), Choice('worst', 1)]
    assert found['b'] == [Choice('best and median', 3), Choice('worst', 0)]


@pytest.fixture(scope='module')
def trained(rooms, tmp_path_factory):
    """A workdir with KD-MTL, one of whose teachers was given, and what its pictures were drawn from."""
    folder = tmp_path_factory.mktemp('trained')
    given = model(folder / 'given', ['depth'], backbone='tests.shallow')
    recipe = 'tasks=depth+normals,backbone=tests.shallow'
    config = load(
        'rooms', recipe, data__data_dir=rooms, method_settings__teachers__depth=given, panel_images=1, eval_batch_size=3
    )
    with pytest.MonkeyPatch.context() as patched:
        shown = watch(patched)
        run(config, folder / 'run')
    return folder / 'run', config, shown


def test_a_run_shows_single_task_and_multi_task_networks_on_the_images_of_the_rule(trained, rooms):
    workdir, _, shown = trained
    assert list(shown) == ['depth', 'normals']
    for name in shown:
        assert list(shown[name][0].predictions) == ['single-task', 'kd_mtl']
        assert (workdir / 'figures' / f'compared_{name}.png').is_file()
        assert f'![compared_{name}](figures/compared_{name}.png)' in (workdir / 'report.md').read_text()
    network, tasks = mt.load(workdir / 'stages/kd_mtl/model', allow_modules=True), {}
    source = mt.datasets.named('rooms').open(load('rooms', '').data.to_dict(), rooms).sources['test']
    assert len(source) == 4  # one more than a batch of the evaluation
    predicted = network.predict(np.stack([np.asarray(example['image']) for example in source]))
    ranks = []
    for task in network.tasks:
        tasks[task.name] = truth = np.stack([example[task.name] for example in source]).astype(np.float32)
        pairs = zip(*(jnp.asarray(x)[:, None] for x in (predicted[task.name], truth)), strict=True)
        losses = [float(task.loss(p, t, task.validity(t))) for p, t in pairs]
        ranks.append(np.argsort(np.argsort(losses)))
    order = np.argsort(np.mean(ranks, axis=0), kind='stable')
    for name, (given, note) in shown.items():
        assert given.names == [
            f'{label}: test image {order[i]}' for label, i in zip(('best', 'median', 'worst'), (0, 1, 3), strict=True)
        ]
        np.testing.assert_array_equal(given.truth, tasks[name][order[[0, 1, 3]]])
        np.testing.assert_allclose(given.predictions['kd_mtl'], predicted[name][order[[0, 1, 3]]], rtol=1e-4, atol=1e-5)
        assert 'mean rank of the losses of depth, normals under kd_mtl, of 4 test images' in note


def test_pictures_are_drawn_again_only_where_there_is_another_network(trained, monkeypatch):
    """And not at all where no test images are to be shown. The run's own last stage decides."""
    workdir, config, _ = trained
    shown = watch(monkeypatch)
    run(config, workdir)
    assert not shown
    other = workdir / 'stages' / 'other'
    shutil.copytree(workdir / 'stages' / 'kd_mtl', other)
    results = json.loads((other / 'results.json').read_text())
    (other / 'results.json').write_text(json.dumps({**results, 'stage': 'other'}))
    none = copy.deepcopy(config)
    none.update({'panel_images': 0})
    run(none, workdir)
    assert not shown
    run(config, workdir)
    assert list(shown['depth'][0].predictions) == ['single-task', 'other', 'kd_mtl']
    assert 'under kd_mtl' in shown['depth'][1]
    shutil.rmtree(other)


def test_pictures_that_are_gone_are_drawn_again_and_old_ones_removed(trained, tmp_path, monkeypatch):
    """Also where the record of what was drawn is damaged."""
    workdir, config, _ = trained
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    figures, drawn = tmp_path / 'figures', []
    file, depth, old, foreign = (
        figures / f'compared{name}' for name in ('.json', '_depth.png', '_old.png', '_mine.png')
    )
    (made,) = experiments(config, tmp_path, lambda *what: None)

    def compare(shown, what, folder):
        drawn.append(shown)
        depth.touch()
        return [depth, figures / 'compared_normals.png'] if shown.networks else []

    def again():
        drawing._draw_compared(made, Programs().compiled, StopRequest())
        return len(drawn)

    monkeypatch.setattr(drawing, 'compare', compare)
    first, written = again(), file.read_text()
    assert again() == first
    depth.unlink()
    assert again() == first + 1
    old.touch()
    foreign.touch()
    file.write_text(json.dumps({**json.loads(written), 'tasks': ['old'], 'pictures': [old.name]}))
    assert (again(), old.exists(), foreign.exists()) == (first + 2, False, True)
    for i, damaged in enumerate(('{"tasks": [', '[]', '{"pictures": 1}'), 3):
        file.write_text(damaged)
        assert again() == first + i
        assert file.read_text() == written
    # Nothing is left that has several tasks.
    monkeypatch.setattr(drawing, 'places', lambda *given: [p for p in columns.places(*given) if p.method == 'stl'])
    assert again() == again() == first + 6
    assert (depth.exists(), foreign.exists()) == (False, True)


def command(*given):
    # `export`, which other tests import, has a flag of the same name: define these again.
    importlib.reload(compare)
    with flagsaver.flagsaver():
        flags.FLAGS(['compare', *given])
        compare.main()


def test_the_command_draws_chosen_networks_of_any_workdirs(trained, rooms, tmp_path, monkeypatch, capsys):
    workdir, _, _ = trained
    shown, out = watch(monkeypatch), tmp_path / 'pictures'
    asked = f'--workdirs={workdir}', f'--pictures={out}', f'--data_dir={rooms}', '--allow_modules'
    command(*asked, '--networks=kd_mtl,single-task')
    said = capsys.readouterr()
    assert said.err.split() == [str(out / f'compared_{name}.png') for name in ('depth', 'normals')]
    assert '| kd_mtl' in said.out
    assert list(shown['normals'][0].predictions) == ['kd_mtl', 'single-task']
    # The given teacher lies elsewhere, so that the single-task networks have one task.
    assert 'loss of normals under single-task' in shown['normals'][1]
    assert 'Left out: stl_depth (its model is not in the workdir).' in shown['normals'][1]
    assert list(shown['depth'][0].predictions) == ['kd_mtl']
    assert sorted(file.name for file in out.iterdir()) == ['compared_depth.png', 'compared_normals.png']
    with pytest.raises(UserError, match=r"`networks` is 'kd'; choose one of single-task, kd_mtl"):
        command(*asked, '--networks=kd')
    with pytest.raises(UserError, match='give --pictures=DIR'):
        command(f'--workdirs={workdir}', '--networks=kd_mtl')
    with pytest.raises(UserError, match='is no folder'):
        command(f'--workdirs={workdir}', f'--pictures={workdir / "report.md"}')


def test_several_workdirs_are_told_apart_and_links_count_once(trained, rooms, tmp_path, monkeypatch):
    """As in a study; of a run of several seeds the first is taken."""
    workdir, _, _ = trained
    for name in ('row/seed10', 'row/seed2', 'other'):
        (tmp_path / name / 'stages').mkdir(parents=True)
    (tmp_path / 'row/seed2/stages/kd_mtl').symlink_to(workdir / 'stages/kd_mtl')
    for name in ('kd_mtl', 'stl_normals'):
        (tmp_path / 'other/stages' / name).symlink_to(workdir / 'stages' / name)
    shown = watch(monkeypatch)
    comparing.workdirs_compared([tmp_path / 'row', tmp_path / 'other'], [], tmp_path / 'out', rooms, True)
    assert list(shown['normals'][0].predictions) == ['row/seed2\nkd_mtl', 'other\nsingle-task']


def test_a_network_for_other_data_is_left_out(trained, tmp_path):
    workdir, _, _ = trained
    place = columns.Place('', 'kd_mtl', 'kd_mtl', workdir / 'stages/kd_mtl/model')
    data = columns.open_model(place.model, allow_modules=True).spec['data']
    shown = columns.columns([place], {**data, 'depth_maximum': 99.0}, True)
    assert [network.title for network in shown.networks] == ['kd_mtl']
    assert columns.columns([place], {**data, 'height': 64}, True).left_out == {'kd_mtl': 'other data'}
    assert columns.columns([place._replace(elsewhere=True)], {**data, 'height': 64}, True).networks
    assert 'runs its code' in columns.columns([place], data, False).left_out['kd_mtl']
    # A config has tuples where a file has lists.
    spec, variables = load_model(place.model)
    listed = place._replace(model=tmp_path / 'listed')
    save_model(listed.model, {**spec, 'data': {**data, 'sizes': (1, 2)}}, variables)
    assert columns.columns([listed], {**data, 'sizes': (1, 2)}, True).networks


def test_a_network_of_another_version_is_left_out(trained, tmp_path):
    """Its sentence is that of `load`, too. Without networks, or tasks of the last one, there are no pictures."""
    workdir, _, _ = trained
    spec, variables = load_model(workdir / 'stages/kd_mtl/model')
    save_model(tmp_path / 'old', {**spec, 'network': {'dropout': 0.5}}, variables)
    shown = columns.columns([columns.Place('', 'old', 'kd_mtl', tmp_path / 'old')], spec['data'], True)
    assert not shown.networks
    assert "cannot be made with the settings {'dropout': 0.5}" in shown.left_out['old']
    with pytest.raises(UserError, match='unexpected keyword argument'):
        mt.load(tmp_path / 'old', allow_modules=True)
    what = comparing.Drawn(None, mt.load(workdir / 'stages/kd_mtl/model', allow_modules=True).tasks, None, None, True)
    assert comparing.draw(shown, what, tmp_path / 'figures') == []
    edges = columns.Columns([columns.Network('edges', '', {'edges': tmp_path})], {})
    assert comparing.draw(edges, what, tmp_path / 'figures') == []
    assert not (tmp_path / 'figures').exists()


def test_the_rule_counts_the_images_that_took_part():
    network = columns.Network('a\nstudent', '', {})
    all_of_them = comparing.rule(network, labels(depth=[1, 1, 1]))
    assert all_of_them == (
        'Images: lowest, median and highest loss of depth under a student, of 3 test images, numbered from 0.'
    )
    some = comparing.rule(network, labels(depth=[1, 1, 0], normals=[0, 1, 1]))
    assert 'mean rank of the losses of depth, normals under a student, of the 1 labelled ones of 3 test images' in some
