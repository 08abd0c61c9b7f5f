"""Studies: equal stages once, whoever trains them; what a search chooses; a paper's table."""

import json
import os
import threading

import pytest

from mtkd_jax import configs as packaged
from mtkd_jax.experiment import reproducing, search, study
from mtkd_jax.experiment.checks import check
from mtkd_jax.experiment.reproducing import Reproduction
from mtkd_jax.experiment.reproduction import Entry, Part, beside_defaults, choose, config_of, entries, own_rows
from mtkd_jax.experiment.search import Search, held_out, single_task, space, trials
from mtkd_jax.experiment.stages import of_seed
from mtkd_jax.experiment.study import Study
from mtkd_jax.records import read_records, read_results
from mtkd_jax.training.lock import locked
from mtkd_jax.training.programs import Programs
from mtkd_jax.training.stop import NonFiniteLossError, StopRequest
from mtkd_jax.types import UserError
from tests.recipes import TINY, load

SHALLOW = 'tasks=depth,backbone=tests.shallow'


def silent(*what):
    pass


def configs(rooms, **fields):
    return {
        name: load('rooms', f'{recipe},{SHALLOW}', data__data_dir=rooms, seeds=(0, 1), **fields)
        for name, recipe in RECIPES.items()
    }


RECIPES = {
    'single': 'method=stl',
    'kd': 'method=kd_mtl',
    'other': 'method=kd_mtl,points=last',
    'plain': 'method=uniform',
}


def done(made, order=None):
    """A `train` that writes what a finished stage has, and notes who asked."""
    noted = [] if order is None else order

    def train(one, stage):
        folder = one.workdir / 'stages' / stage.name
        if (folder / 'results.json').exists():  # as `run_stage`, which looks again when it holds the lock
            return
        noted.append((stage.name, one.config.seed))
        (folder / 'model').mkdir()
        (folder / 'results.json').write_text(json.dumps({'format': 2, 'selection': {'rule': 'given', 'note': ''}}))

    return train


def test_equal_stages_are_one(rooms, tmp_path):
    """Seed by seed, teachers before what they teach; each run has links to them, and another command finds them."""
    made, order = Study(tmp_path, configs(rooms), silent), []
    assert made.train(done(made, order), StopRequest()) == []
    assert order == [(name, seed) for seed in (0, 1) for name in ('stl_depth', 'kd_mtl', 'kd_mtl', 'uniform')]
    places = {
        os.path.realpath(tmp_path / 'runs' / name / 'seed0/stages/stl_depth') for name in ('single', 'kd', 'other')
    }
    assert len(places) == 1
    assert not os.path.isabs(os.readlink(tmp_path / 'runs/kd/seed0/stages/stl_depth'))
    kds = {os.path.realpath(tmp_path / f'runs/{name}/seed0/stages/kd_mtl') for name in ('kd', 'other')}
    assert len(kds) == 2
    again = []
    assert Study(tmp_path, configs(rooms), silent).train(done(made, again), StopRequest()) == []
    assert again == []
    # With other settings it is another stage, and the first one stays.
    Study(tmp_path, configs(rooms, learning_rate=0.5), silent).link()
    assert os.path.realpath(tmp_path / 'runs/kd/seed0/stages/stl_depth') not in places
    assert all(os.path.isfile(f'{place}/results.json') for place in places)


def test_a_stage_that_fails_keeps_no_other_from_its_end(rooms, tmp_path):
    """But for those that it should have taught."""
    made, order = Study(tmp_path, configs(rooms), silent), []
    train = done(made, order)

    def fails(one, stage):
        if stage.name == 'stl_depth' and one.config.seed == 0:
            raise NonFiniteLossError('loss = nan')
        train(one, stage)

    (error,) = made.train(fails, StopRequest())
    assert 'nan' in str(error)
    assert ('kd_mtl', 0) not in order
    assert {('uniform', 0), ('stl_depth', 1), ('kd_mtl', 1), ('uniform', 1)} <= set(order)


def test_two_workers_share_a_study(rooms, tmp_path, monkeypatch):
    """What one holds, the other leaves, and waits for where nothing else is left."""
    made, order = Study(tmp_path, configs(rooms), silent), []
    made.link()
    first = made.jobs[0]
    monkeypatch.setattr(study, 'POLL_SECONDS', 0.01)
    train, stop = done(made, order), StopRequest()
    held, release = threading.Event(), threading.Event()

    def elsewhere():
        with locked(first.place, stop):
            held.set()
            release.wait()
            done(made)(first.experiment, first.stage)

    def here(one, stage):
        train(one, stage)
        if len(order) == 4:  # nothing is left but what the other teaches
            release.set()

    other = threading.Thread(target=elsewhere)
    other.start()
    held.wait()
    assert made.train(here, stop) == []
    other.join()
    assert (first.stage.name, 0) not in order
    assert len(order) == len(made.jobs) - 1


def test_a_link_leads_where_it_did_while_a_stage_is_trained(rooms, tmp_path):
    """Another command with other settings is refused; what ended before stays where it is."""
    made = Study(tmp_path, configs(rooms), silent)
    made.link()
    other = Study(tmp_path, configs(rooms, learning_rate=0.5), silent)
    with locked(made.jobs[0].place, StopRequest()), pytest.raises(UserError, match='trained with other settings'):
        other.link()
    other.link()
    assert not list((tmp_path / 'runs').rglob('*.tmp'))


def test_a_folder_with_a_run_of_its_own_is_refused(rooms, tmp_path):
    (tmp_path / 'runs/kd/seed0/stages/stl_depth').mkdir(parents=True)
    with pytest.raises(UserError, match='is a stage of a run of its own'):
        Study(tmp_path, configs(rooms), silent).link()


def test_spaces_name_fields_that_there_are():
    """Of every method and weighting that has one; the paper's values of λ."""
    from mtkd_jax import methods
    from mtkd_jax.weighting.registry import SPACES

    for name in (*methods.NAMES, *SPACES, 'uniform', 'mgda'):
        config = load('rooms', f'method={name},tasks=depth+normals')
        for trial in trials(config, 3) if space(config) else ():
            search.with_fields(config, trial)
    assert space(load('rooms', 'method=kd_mtl,tasks=depth'))['method_settings.weights.depth'] == (1, 2, 3, 4, 5, 6)
    assert space(load('glyphs', 'method=kd_mtl'))['method_settings.weights.digits'] == (1, 5, 10, 20)
    # What a variant leaves open has its value, and what it decides is not searched.
    assert trials(load('rooms', 'method=gradnorm'), 2)[0] == {'weighting_settings.alpha': 1.5}
    for recipe in ('method=stl', 'method=mgda', 'method=pcgrad', 'method=gradnorm,variant=kd4mtl'):
        with pytest.raises(UserError, match='has no main setting; leave it out'):
            trials(load('rooms', recipe), 4)


def test_trials_differ_and_begin_with_the_config_as_it_is():
    config = load('rooms', 'method=kd_mtl,tasks=depth+normals')
    found = trials(config, 8)
    assert found[0] == {'method_settings.weights.depth': 1.0, 'method_settings.weights.normals': 2.0}
    assert len({tuple(trial.values()) for trial in found}) == len(found) == 8
    assert found == trials(config, 8)
    assert len(trials(config, 999)) == 36
    # Adam makes the same of task weights that differ by a factor: of 25 pairs nine are left.
    weights = [tuple(trial.values()) for trial in trials(load('rooms', 'method=uniform,tasks=depth+normals'), 99)]
    assert len({a / b for a, b in weights}) == len(weights) == 9
    with pytest.raises(UserError, match='`search` is 1; give at least 2'):
        trials(config, 1)


def test_a_search_chooses_by_what_was_held_out(rooms, tmp_path, monkeypatch):
    """A real one: a tenth of the training images is not trained on, the test images are not looked at."""
    monkeypatch.setattr(search, 'FRACTION', 0.5)
    config = load('rooms', f'method=kd_mtl,{SHALLOW}', data__data_dir=rooms)
    made = Search(tmp_path, {'kd': config}, 2, silent)
    chosen = made(StopRequest(), Programs())['kd']
    results = read_results(tmp_path / 'runs/kd/trial0/stages/kd_mtl')
    assert results['selection'] == {
        'rule': 'held_out',
        'split': 'validation',
        'note': 'Metrics of the last epoch on a validation split held out of the training set, for choosing settings; '
        'the test split was not used.',
    }
    splits = {record['split'] for record in read_records(tmp_path / 'runs/kd/trial0/stages/kd_mtl')}
    assert splits == {'train', 'validation'}
    assert results['baselines'] == {}
    assert results['settings']['seed'] == search.SEED
    written = json.loads((tmp_path / 'search.json').read_text())['searches']['kd']
    scores = [trial['delta_m'] for trial in written['trials']]
    assert written['chosen'] == scores.index(max(scores))
    assert written['trials'][written['chosen']]['fields'] == chosen
    # Nothing is trained again, and the same is chosen.
    before = (tmp_path / 'runs/kd/trial0/stages/kd_mtl/results.json').stat().st_mtime_ns
    assert Search(tmp_path, {'kd': config}, 2, silent)(StopRequest(), Programs())['kd'] == chosen
    assert (tmp_path / 'runs/kd/trial0/stages/kd_mtl/results.json').stat().st_mtime_ns == before


def test_given_teachers_are_not_searched_with(rooms, tmp_path):
    config = load('rooms', f'method=kd_mtl,{SHALLOW}', data__data_dir=rooms)
    config.method_settings.teachers.depth = str(tmp_path)
    with pytest.raises(UserError, match='perhaps on what the search holds out'):
        Search(tmp_path / 'search', {'kd': config}, 2, silent)


def test_a_single_task_config_is_that_of_the_recipe():
    config = load('rooms', 'method=kd_mtl,tasks=depth+normals', learning_rate=0.5)
    expected = load('rooms', 'method=stl,tasks=depth+normals', learning_rate=0.5)
    assert single_task(config).to_dict() == expected.to_dict()
    assert held_out(config).selection == 'held_out'


@pytest.mark.parametrize('copied', [lambda c: of_seed(c, 3), lambda c: search.with_fields(c, {'seed': 3}), held_out])
def test_a_copy_of_a_config_is_checked_as_the_config_is(copied):
    """Fields that are None keep their types."""
    config = load('rooms', 'method=sd_mtcnn,tasks=depth,objective=eq6')
    check(copied(config))
    assert copied(config).is_locked
    assert config.seed == 0


def test_rows_of_the_tables():
    """As the tables name them, in their order; on another data set with its names of the tasks."""
    (part,) = choose('kdmtl/4', '')
    assert (part.own, part.dataset) == ('nyuv2', 'nyuv2')
    assert [entry.label for entry in part.entries] == ['segnet last', 'segnet mid+last', 'mtan last', 'mtan mid+last']
    (part,) = choose('kdmtl/1', 'glyphs')
    assert part.entries[0].recipes == ('method=stl,backbone=lenet_mtl,tasks=digits+characters',)
    assert [(part.own, len(part.entries)) for part in choose('sdmtcnn/5', '')] == [('cityscapes', 9), ('nyuv2', 9)]
    assert len(choose('sdmtcnn/5', 'rooms')) == 1
    single = {entry.label: entry for entry in choose('sdmtcnn/1', 'rooms')[0].entries}
    assert next(iter(single)) == 'segnet_sd stl'
    assert len(single['segnet_sd sdmtcnn_single_eq5'].recipes) == 2
    plain = [entry.label for entry in entries('sdmtcnn_table4_taskonomy_5task', 'taskonomy', 'rooms') if entry.baseline]
    assert plain[0] == 'segnet_sd vanilla'
    with pytest.raises(UserError, match=r"`table` is 'kdmtl/9'; choose one of kdmtl/1, .*sdmtcnn/5"):
        choose('kdmtl/9', '')
    with pytest.raises(UserError, match=r"`dataset` is 'cityscapes', which has no normals.*nyuv2, rooms, taskonomy"):
        choose('kdmtl/2', 'cityscapes')
    for name in ('backbone', 'seeds', 'data.dataset'):
        with pytest.raises(UserError, match=f'--field={name}=...: the table, --dataset and --seeds choose that'):
            config_of('rooms', 'method=stl', {name: 'mtan'}, (0,))
    with pytest.raises(UserError, match='a table is of the test split'):
        config_of('rooms', 'method=stl', {'selection': 'held_out'}, (0,))
    with pytest.raises(UserError, match='`field` does not fit rooms:method=stl'):
        config_of('rooms', 'method=stl', {'nothing': 1}, (0,))


def test_a_table_is_run_written_and_found_again(rooms, tmp_path, monkeypatch):
    place = {'table': 'kdmtl_table2_nyuv2', 'prefix': '', 'backbone': 'segnet'}
    rows = [
        Entry(f'segnet {method}', {**place, 'method': method}, (f'method={recipe},tasks=depth,backbone=tests.shallow',))
        for method, recipe in (('stl', 'stl'), ('uniform', 'uniform'), ('kdmtl', 'kd_mtl'))
    ]
    fields = {**TINY, 'data.data_dir': rooms, 'data.train_images': 8, 'data.test_images': 4}
    made = Reproduction([Part(place['table'], 'nyuv2', 'rooms', rows)], tmp_path, (0, 1), fields, 0)
    table, failed = made.run(StopRequest())
    assert failed == []
    text = table.read_text()
    assert 'segnet kdmtl' in text
    numbers = json.loads((tmp_path / reproducing.NUMBERS).read_text())['parts']['rooms']['rows']
    by_row = {row['row']: row for row in numbers}
    kd, plain = by_row['segnet kdmtl'], by_row['segnet uniform']
    assert kd['budget'] == '2 steps of 4'
    apart = [kd['delta_m'][seed] - plain['delta_m'][seed] for seed in ('0', '1')]
    assert kd['difference']['mean'] == pytest.approx(sum(apart) / 2)
    assert kd['difference']['count'] == 2
    assert plain['difference'] is None
    assert by_row['segnet stl']['delta_m'] == {}
    # Table 2: absolute 0.6577 → 0.5780, relative 0.2828 → 0.2467.
    assert kd['paper_delta_m'] == pytest.approx(50 * (2 - 0.5780 / 0.6577 - 0.2467 / 0.2828))
    monkeypatch.setattr(reproducing, 'train_stage', lambda *given: pytest.fail('all is finished'))
    again = Reproduction([Part(place['table'], 'nyuv2', 'rooms', rows)], tmp_path, (0, 1), fields, 0)
    assert again.run(StopRequest())[0].read_text() == text


def test_rows_of_ones_own():
    recipes = ['method=stl', 'method=uniform', 'method=kd_mtl,points=last', 'method=stl']
    (part,) = own_rows([f'{recipe},schedule=cosine' for recipe in recipes], 'rooms')
    assert part.entries[0].recipes == ('method=stl,schedule=cosine',)
    assert [entry.label for entry in own_rows(['method=stl,schedule=cosine'], 'rooms')[0].entries] == [
        'stl,schedule=cosine'
    ]
    assert [entry.label for entry in part.entries] == ['stl', 'uniform', 'kd_mtl,points=last']
    assert [entry.baseline for entry in part.entries] == [False, True, False]
    with pytest.raises(UserError, match="`dataset` is 'room'"):
        own_rows(['method=stl'], 'room')
    with pytest.raises(UserError, match=r'has another `schedule` than the rows before on segnet'):
        own_rows(['method=stl,schedule=cosine', 'method=kd_mtl'], 'rooms')
    with pytest.raises(UserError, match=r'are both uniform on segnet; leave one out'):
        own_rows(['method=uniform', 'method=mtl'], 'rooms')
    with pytest.raises(UserError, match=r'No row has single-task networks of mtan, for Δm; add --row=method=stl'):
        own_rows(['method=stl', 'method=uniform,backbone=mtan'], 'rooms')
    other = own_rows(['method=stl', 'method=stl,backbone=mtan', 'method=uniform,backbone=mtan'], 'rooms')
    assert len(other[0].entries) == 3
    both = beside_defaults(part, {})
    assert [(entry.label, entry.searched) for entry in both.entries] == [
        ('stl', True),
        ('uniform', False),
        ('uniform searched', True),
        ('kd_mtl,points=last', False),
        ('kd_mtl,points=last searched', True),
    ]


def test_searched_rows_beside_those_of_the_defaults(rooms, tmp_path, monkeypatch):
    """The search chooses for the one, and the other stays as its config is; both are compared with the default."""
    better = {'task_weights.depth': 4.0}
    monkeypatch.setattr(search.Search, '__call__', lambda self, *given: dict.fromkeys(self.counts, better))
    parts = own_rows([f'method={name},{SHALLOW}' for name in ('stl', 'uniform')], 'rooms')
    fields = {**TINY, 'data.data_dir': rooms, 'data.train_images': 8, 'data.test_images': 4}
    made = Reproduction(parts, tmp_path, (0,), fields, 2, keep_defaults=True)
    assert list(made.search.counts) == ['rooms_uniform_searched']
    table, failed = made.run(StopRequest())
    assert failed == []
    assert 'uniform searched' in table.read_text()
    found = json.loads((tmp_path / reproducing.NUMBERS).read_text())
    assert found['searched'] == {'rooms_uniform_searched': better}
    rows = {row['row']: row for row in found['parts']['rooms']['rows']}
    assert list(rows) == ['stl', 'uniform', 'uniform searched']
    assert [row['baseline'] for row in rows.values()] == ['uniform'] * 3
    assert rows['uniform searched']['difference']['count'] == 1
    stages = [tmp_path / 'runs' / f'rooms_{row}' / 'seed0/stages/uniform' for row in ('uniform', 'uniform_searched')]
    weights = [read_results(folder)['settings']['task_weights'] for folder in stages]
    assert weights == [{'depth': 1.0}, {'depth': 4.0}]


def test_a_study_trains_nothing_beside_its_rows():
    """The network that the config of rooms trains to compare KD-MTL with is a row where it is wanted."""
    for config in (config_of('rooms', 'method=kd_mtl', {}, (0,)), held_out(packaged.load('rooms'))):
        assert config.method_settings.baseline is False
    assert packaged.load('rooms').method_settings.baseline is True
    assert choose('kdmtl/2', 'smoke')[0].entries[0].recipes[0].startswith('method=stl')
