"""Stages at the same time: each begins when its teachers are trained, and is what it is alone."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mtkd_jax import configs
from mtkd_jax.experiment import drawing
from mtkd_jax.experiment import run as running
from mtkd_jax.experiment.run import run
from mtkd_jax.experiment.search import held_out
from mtkd_jax.experiment.stages import Experiment, Opened, experiments
from mtkd_jax.experiment.together import trained
from mtkd_jax.training import sharding
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError, StopRequest
from mtkd_jax.types import UserError
from tests import features
from tests.experiment.test_seeds import same, weights
from tests.recipes import load

WAIT = 20.0


class Named(Stage):
    """A stage of which there are only the name, and the stages that teach it."""

    __eq__, __hash__ = object.__eq__, object.__hash__

    def __init__(self, name, *teachers):
        object.__setattr__(self, 'name', name)
        object.__setattr__(self, 'teachers', {each: Path('run/stages') / each / 'model' for each in teachers})


class One(Experiment):
    """An experiment of which there are only the mesh and the stages."""

    __eq__, __hash__ = object.__eq__, object.__hash__

    def __init__(self, mesh, *stages, at_once=1):
        named = {'mesh': mesh, 'stages': stages or [Named('stl')], 'at_once': at_once, 'workdir': Path('run')}
        for name, value in named.items():
            object.__setattr__(self, name, value)


class Trained:
    """A `train` that keeps what began and what ended; `then`: what it does between, by the stage's name."""

    def __init__(self, **then):
        self.began, self.ended, self._then = [], [], then

    def __call__(self, one, stage):
        self.began.append(stage.name)
        self._then.get(stage.name, lambda: None)()
        self.ended.append(stage.name)


def test_one_at_a_time_they_are_trained_in_order_here():
    threads = []
    stages = [Named('a'), Named('b'), Named('c', 'a', 'b')]
    made = [One('mesh', *stages), One('mesh', *stages)]

    def train(one, stage):
        threads.append((threading.current_thread(), one, stage))

    assert list(trained(made, train, StopRequest())) == made
    assert threads == [(threading.main_thread(), one, stage) for one in made for stage in stages]


def test_each_begins_when_its_teachers_are_trained():
    """Those that need none at the same time; what waits for a teacher lets others pass."""
    both, passed = threading.Barrier(2, timeout=WAIT), threading.Event()
    train = Trained(a=both.wait, b=lambda: (both.wait(), passed.wait(WAIT)), d=passed.set)
    made = [One('mesh', Named('a'), Named('b'), Named('c', 'a', 'b'), Named('d'), at_once=2)]
    (found,) = trained(made, train, StopRequest())
    assert found is made[0]
    assert set(train.began[:2]) == {'a', 'b'}
    assert train.began[2:] == ['d', 'c'], '`b` ends only once `d` has begun'
    assert sorted(train.ended) == ['a', 'b', 'c', 'd']


def test_a_teacher_of_another_seed_is_another_one():
    """`c` of the second does not wait for `a` of the first, which has the same folder's name, nor is taught by it."""
    begun = threading.Event()
    train = Trained(a=lambda: begun.wait(WAIT) or pytest.fail('`c` has waited'), c=begun.set)
    made = [One('mesh', Named('a'), at_once=2), One('mesh', Named('c', 'a'), at_once=2)]
    assert set(trained(made, train, StopRequest())) == set(made)


def test_a_loss_that_is_not_finite_ends_its_own_experiment_alone(capsys):
    """Another stage of it, under way, comes to its end; what it teaches is not begun."""
    broken = threading.Event()
    error = NonFiniteLossError('loss = nan in b.')

    def breaks():
        broken.set()
        raise error

    train = Trained(a=lambda: broken.wait(WAIT), b=breaks)
    first = One('mesh', Named('a'), Named('b'), Named('c', 'a', 'b'), at_once=2)
    second = One('mesh', Named('d'), Named('e', 'd'), at_once=2)
    reported = trained([first, second], train, StopRequest())
    assert next(reported) is second
    with pytest.raises(NonFiniteLossError) as raised:
        next(reported)
    assert raised.value is error
    assert sorted(train.ended) == ['a', 'd', 'e']
    assert 'c' not in train.began
    assert 'loss = nan in b. The other seeds go on.' in capsys.readouterr().err


def test_of_one_seed_it_is_said_at_once_too(capsys):
    broken = threading.Event()

    def breaks():
        broken.set()
        raise NonFiniteLossError('loss = nan in b.')

    said = []

    def ends():
        broken.wait(WAIT)
        end = time.monotonic() + WAIT
        while not (text := capsys.readouterr().err) and time.monotonic() < end:
            time.sleep(0.05)
        said.append(text)

    with pytest.raises(NonFiniteLossError):
        list(trained([One('mesh', Named('a'), Named('b'), at_once=2)], Trained(a=ends, b=breaks), StopRequest()))
    assert said == ['loss = nan in b. Stages that are under way come to their end.\n']


def test_teachers_that_wait_for_one_another_are_an_error():
    for stages in ([Named('a', 'a')], [Named('a', 'b'), Named('b', 'a')]):
        with pytest.raises(UserError, match='wait for one another'):
            list(trained([One('mesh', *stages)], Trained(), StopRequest()))


def test_the_error_of_a_stage_is_not_hidden_by_the_stop_that_it_asks_for(rooms, tmp_path, monkeypatch):
    """Of another seed, whose report is being drawn meanwhile."""
    failed = threading.Event()

    def draw(one, compiled, stop):
        assert failed.wait(WAIT)
        end = time.monotonic() + WAIT
        while not stop.requested and time.monotonic() < end:
            time.sleep(0.05)
        for _ in stop.unless([1]):
            pytest.fail('a stop is requested')

    begin = running.run_stage

    def fails(stage, mesh, workdir, *others):
        if workdir.name == 'seed0':
            return begin(stage, mesh, workdir, *others)
        while not (tmp_path / 'seed0/stages/uniform/results.json').exists():
            time.sleep(0.05)
        time.sleep(0.5)
        failed.set()
        raise OSError('no room')

    monkeypatch.setattr(drawing, 'draw', draw)
    monkeypatch.setattr(running, 'run_stage', fails)
    recipe = 'method=uniform,tasks=depth,backbone=tests.shallow'
    config = load('rooms', recipe, data__data_dir=rooms, seeds=(0, 1), stages_at_once=2)
    with pytest.raises(OSError, match='no room'):
        run(config, tmp_path)


class Prepared(Trained):
    """A `prepare`, which notes in which thread."""

    def __call__(self, one, stage):
        assert threading.current_thread().name == 'stages'
        super().__call__(one, stage)


def test_who_has_nothing_to_train_prepares_what_waits_once():
    """In order."""
    done = threading.Event()
    prepare = Prepared(d=done.set)
    train = Trained(a=lambda: done.wait(WAIT) or pytest.fail('`d` is not prepared'))
    made = [One('mesh', Named('a'), Named('b'), Named('c', 'a'), Named('d', 'a', 'c'), at_once=2)]
    assert list(trained(made, train, StopRequest(), prepare)) == made
    assert prepare.ended == ['c', 'd']
    assert train.ended[-2:] == ['c', 'd']


def test_of_seeds_the_first_prepares_for_all():
    done = threading.Event()
    prepare = Prepared(c=done.set)
    train = Trained(a=lambda: done.wait(WAIT) or pytest.fail('`c` is not prepared'))
    made = [One('mesh', Named('a'), Named('c', 'a'), at_once=3), One('mesh', Named('a'), Named('c', 'a'), at_once=3)]
    assert set(trained(made, train, StopRequest(), prepare)) == set(made)
    assert prepare.ended == ['c']


def test_once_a_stop_is_requested_nothing_is_prepared():
    stop = StopRequest()
    made = [One('mesh', Named('a'), Named('c', 'a'), Named('d', 'a'), at_once=2)]

    def asks():
        stop.requested = True

    prepare = Prepared(c=asks)
    train = Trained(a=lambda: [time.sleep(0.05) for _ in iter(lambda: stop.requested, True)])
    with pytest.raises(StoppedError):
        list(trained(made, train, stop, prepare))
    assert prepare.ended == ['c']


def test_what_is_being_prepared_may_begin():
    """In the thread whose stage was its teacher."""
    preparing, begun = threading.Event(), threading.Event()
    prepare = Prepared(c=lambda: (preparing.set(), begun.wait(WAIT) or pytest.fail('`c` has not begun')))
    train = Trained(a=lambda: preparing.wait(WAIT), c=begun.set)
    made = [One('mesh', Named('a'), Named('c', 'a'), at_once=2)]
    assert list(trained(made, train, StopRequest(), prepare)) == made
    assert prepare.ended == ['c']


def test_who_has_nothing_to_train_shows_what_is_trained():
    """One stage at a time; the last is left to the report."""
    seen, under_way, all_seen = [], threading.Lock(), threading.Event()

    def show(one, stage):
        assert under_way.acquire(blocking=False)
        time.sleep(0.3)
        seen.append(stage.name)
        under_way.release()
        if len(seen) == 3:
            all_seen.set()

    train = Trained(d=lambda: all_seen.wait(WAIT) or pytest.fail('not shown'))
    made = [One('mesh', Named('a'), Named('b'), Named('c'), Named('d', 'a', 'b', 'c'), at_once=3)]
    assert list(trained(made, train, StopRequest(), show=show)) == made
    assert sorted(seen) == ['a', 'b', 'c']


def test_nothing_is_shown_as_long_as_another_waits():
    order, prepared = [], threading.Event()

    def prepare(one, stage):
        order.append(f'prepare {stage.name}')
        prepared.set()

    def ends():
        assert prepared.wait(WAIT)
        time.sleep(1.0)  # the thread that has nothing to train looks meanwhile
        order.append('last begins')

    shown = threading.Event()

    def show(one, stage):
        order.append(f'show {stage.name}')
        shown.set()

    train = Trained(a=ends, c=lambda: shown.wait(WAIT) or pytest.fail('not shown'))
    made = [One('mesh', Named('a'), Named('b'), Named('c', 'a'), at_once=2)]
    assert list(trained(made, train, StopRequest(), prepare, show)) == made
    assert order[:3] == ['prepare c', 'last begins', 'show b']


def test_nothing_is_shown_before_those_that_train_leave_time():
    """Also where nothing else waits."""
    order, calm = [], set()

    def trains(name):
        time.sleep(1.0)  # the thread that has nothing to train looks meanwhile
        order.append('calm')
        calm.add(name)
        assert shown.wait(WAIT)

    shown = threading.Event()

    def show(one, stage):
        order.append(f'show {stage.name}')
        shown.set()

    train = Trained(c=lambda: trains('c'))
    made = [One('mesh', Named('a'), Named('c', 'a'), at_once=2)]
    assert list(trained(made, train, StopRequest(), show=show, calm=lambda one, stage: stage.name in calm)) == made
    assert order == ['calm', 'show a']


def test_who_could_show_ends_with_the_others_where_a_stop_is_requested():
    stop = StopRequest()

    def stops():
        stop.requested = True
        raise StoppedError('stopped')

    made = [One('mesh', Named('a'), Named('c', 'a'), at_once=2)]

    def train():
        with pytest.raises(StoppedError):
            list(trained(made, Trained(c=stops), stop, calm=lambda one, stage: False))

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    thread.join(WAIT)
    assert not thread.is_alive()


def test_of_an_experiment_that_has_ended_nothing_is_shown():
    """Its report does it."""
    seen, shown, goes_on = [], threading.Event(), threading.Event()

    def show(one, stage):
        seen.append(stage.name)
        shown.set()

    train = Trained(c=lambda: goes_on.wait(WAIT), d=lambda: shown.wait(WAIT) or pytest.fail('not shown'))
    made = [One('mesh', Named('a'), Named('b', 'a'), at_once=2), One('mesh', Named('c'), Named('d', 'c'), at_once=2)]
    reported = trained(made, train, StopRequest(), show=show)
    assert next(reported) is made[0]
    time.sleep(1.0)  # the thread that has nothing to train looks meanwhile
    goes_on.set()
    assert list(reported) == made[1:]
    assert seen == ['c']


def test_one_at_a_time_nothing_is_prepared_or_shown():
    def spare(one, stage):
        pytest.fail(stage.name)

    made = [One('mesh', Named('a'), Named('c', 'a'))]
    assert list(trained(made, Trained(), StopRequest(), spare, spare)) == made


def test_one_error_of_two_threads_is_raised_once():
    """Those that wait for one program get one error."""
    error, both = OSError('no room'), threading.Barrier(2, timeout=WAIT)

    def fails():
        both.wait()
        raise error

    with pytest.raises(OSError, match='no room') as raised:
        list(trained([One('mesh', Named('a'), Named('b'), at_once=2)], Trained(a=fails, b=fails), StopRequest()))
    assert not hasattr(raised.value, '__notes__')


def test_what_cannot_be_prepared_ends_all():
    stop = StopRequest()

    def prepare(one, stage):
        raise OSError('no room')

    def waits():
        end = time.monotonic() + WAIT
        while not stop.requested and time.monotonic() < end:
            time.sleep(0.05)

    made = [One('mesh', Named('a'), Named('c', 'a'), at_once=2)]
    with pytest.raises(OSError, match='no room'):
        list(trained(made, Trained(a=waits), stop, prepare))


def test_who_waits_for_a_teacher_stops_too():
    """And nothing begins any more."""
    stop = StopRequest()

    def asks():
        stop.requested = True
        time.sleep(1.0)  # the other worker looks meanwhile

    train = Trained(a=asks)
    with pytest.raises(StoppedError, match='Run the same command to continue'):
        list(trained([One('mesh', Named('a'), Named('c', 'a'), at_once=2)], train, stop))
    assert train.began == train.ended == ['a']


def test_the_last_is_reported_when_all_threads_have_ended():
    """There a signal ends the run at once, as where stages are trained one at a time."""
    for made in ([One('a'), One('b')], [One('mesh', Named('a'), Named('b'), at_once=2)]):
        stop = StopRequest()
        for i, _ in enumerate(trained(made, Trained(), stop), 1):
            if i == len(made):
                assert stop._noting == 0
                assert not [thread for thread in threading.enumerate() if thread.name == 'stages']


def test_an_error_ends_all_and_is_the_one_that_is_raised():
    """Those beside it are asked to stop, and their own ends do not hide it."""
    stop, made = StopRequest(), [One('a'), One('b'), One('a')]
    began = []

    def train(one, stage):
        began.append(one)
        if one is made[0]:
            raise OSError('no room')
        for _ in iter(lambda: stop.requested, True):
            pass
        raise StoppedError('saved')

    with pytest.raises(OSError, match='no room'):
        list(trained(made, train, stop))
    assert stop.requested
    assert made[2] not in began


@pytest.mark.parametrize('made', [[One('a'), One('b')], [One('mesh', at_once=2), One('mesh', at_once=2)]])
def test_a_signal_stops_all(made):
    """In threads it is noted, and each ends where it has saved."""
    stopped, both = [], threading.Barrier(2, timeout=WAIT)
    with StopRequest() as stop:

        def train(one, stage):
            both.wait()
            if one is made[0]:
                os.kill(os.getpid(), signal.SIGTERM)
            for _ in iter(lambda: stop.requested, True):
                pass
            stopped.append(one)
            raise StoppedError('saved')

        with pytest.raises(StoppedError, match='saved'):
            list(trained(made, train, stop))
    assert set(stopped) == set(made)
    assert stop.status == 143


def test_a_signal_that_does_not_wake_the_main_thread_stops_all_too():
    """Here a thread gets it while the main one sleeps. The same happens where it comes just before that one sleeps."""
    stopped, both = [], threading.Barrier(2, timeout=WAIT)

    def train(one, stage):
        both.wait()
        if one is made[0]:
            time.sleep(0.5)  # the main thread sleeps meanwhile
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            os.kill(os.getpid(), signal.SIGTERM)
        end = time.monotonic() + WAIT / 2
        while not stop.requested and time.monotonic() < end:
            time.sleep(0.05)
        stopped.append(stop.requested)
        raise StoppedError('saved')

    made = [One('a'), One('b')]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with StopRequest() as stop, pytest.raises(StoppedError, match='saved'):
            list(trained(made, train, stop))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert stopped == [True, True]


def test_an_interrupt_of_who_reports_stops_all_seeds():
    """As Ctrl-C where a library call leaves SIGINT as it is: the threads save, and end."""
    stop, made, ended = StopRequest(), [One('a'), One('b')], []

    def train(one, stage):
        if one is made[1]:
            for _ in iter(lambda: stop.requested, True):
                pass
            ended.append(one)
            raise StoppedError('saved')

    reported = trained(made, train, stop)
    assert next(reported) is made[0]
    with pytest.raises(KeyboardInterrupt):
        reported.throw(KeyboardInterrupt)
    assert stop.requested
    for thread in [thread for thread in threading.enumerate() if thread.name == 'stages']:
        thread.join()
    assert ended == [made[1]]


def test_only_small_networks_share_a_device_unasked():
    assert [configs.load(name).stages_at_once for name in configs.NAMES] == [
        0 if name in ('rooms', 'glyphs', 'smoke') else 1 for name in configs.NAMES
    ]


WITH = (
    ('device', 'cache', 'seeds', 'averages', 'bfloat16', 'accumulation', 'class_weights', 'continued'),
    ('seeds', 'augmentation', 'batch_statistics'),
)
"""Every other feature beside `stages_at_once`; `fsdp` needs several devices, where that is refused."""


@pytest.mark.parametrize('row', WITH)
def test_what_is_trained_is_the_same_bit_for_bit(rooms, tmp_path, row):
    recipe = features.RECIPE.format('depth+segmentation')
    for at_once in (1, 2):
        fields = features.fields(row, data__data_dir=rooms, stages_at_once=at_once)
        if 'continued' in row:
            run(load('rooms', recipe, **fields | features.SHORT), tmp_path / f'short_{at_once}')
            fields['continue_from'] = str(tmp_path / f'short_{at_once}')
        run(load('rooms', recipe, **fields), tmp_path / str(at_once))
    for seed in ('seed0', 'seed1'):
        stages = [place.name for place in (tmp_path / '1' / seed / 'stages').iterdir()]
        assert len(stages) == 3
        for stage in stages:
            assert same(*(weights(tmp_path / at_once / seed, stage) for at_once in '12')), (seed, stage)
    said = 'Up to 2 stages were trained at the same time.'
    assert [said in (tmp_path / at_once / 'report.md').read_text() for at_once in '12'] == [False, True]
    assert [said in (tmp_path / at_once / 'seed1/report.md').read_text() for at_once in '12'] == [False, True]


class WhenBoth(StopRequest):
    """Is requested once both stages have a checkpoint."""

    def __init__(self, workdir):
        super().__init__()
        self._workdir = workdir

    @property
    def requested(self):
        found = [bool(list(self._workdir.glob(f'stages/{name}/checkpoints/[0-9]*'))) for name in STL]
        return all(found)

    @requested.setter
    def requested(self, value):
        pass


STL = ('stl_depth', 'stl_normals')


def test_stages_that_are_stopped_at_the_same_time_go_on(rooms, tmp_path):
    """Both have saved where they were, and the same call ends with the same weights."""
    config = load('rooms', features.RECIPE.format('depth+normals'), data__data_dir=rooms, epochs=6, stages_at_once=2)
    run(config, tmp_path / 'whole')
    with pytest.raises(StoppedError):
        run(config, tmp_path / 'parts', WhenBoth(tmp_path / 'parts'))
    assert not (tmp_path / 'parts/stages/kd_mtl').exists()
    assert not all((tmp_path / 'parts/stages' / name / 'results.json').exists() for name in STL)
    run(config, tmp_path / 'parts')
    for stage in (*STL, 'kd_mtl'):
        assert same(*(weights(tmp_path / way, stage) for way in ('whole', 'parts'))), stage


@pytest.mark.parametrize(
    ('recipe', 'fields', 'cores', 'expected'),
    [
        ('tasks=depth+normals', {}, 2, 3),
        ('tasks=depth+normals', {}, 1, 1),
        ('tasks=depth+normals', {'stages_at_once': 2}, 1, 2),
        ('tasks=depth+normals', {'stages_at_once': 9}, 2, 3),  # there are no more
        ('tasks=depth+normals', {'stages_at_once': 1}, 2, 1),
        ('tasks=depth+normals', {'devices': 2}, 2, 1),
        ('tasks=depth', {}, 2, 1),  # the teacher, then the student
        ('tasks=depth', {'method_settings__baseline': True}, 2, 3),  # which needs no teacher
        ('method=stl,tasks=depth+normals', {}, 2, 2),
        ('method=uniform,tasks=depth+normals', {}, 2, 1),
        ('method=stl,tasks=depth', {}, 2, 1),
        ('method=stl,tasks=depth', {'seeds': (0, 1)}, 2, 2),
        ('method=stl,tasks=depth', {'seeds': (0, 1), 'devices': 2}, 2, 1),  # each has a device of its own
        ('method=stl,tasks=depth', {'seeds': (0, 1, 2, 3), 'devices': 2, 'stages_at_once': 2}, 2, 2),
    ],
)
def test_how_many(rooms, tmp_path, monkeypatch, recipe, fields, cores, expected):
    monkeypatch.setattr(sharding, 'cores', lambda: cores)
    config = load('rooms', f'{recipe},backbone=tests.shallow', data__data_dir=rooms, **fields)
    made = experiments(config, tmp_path, lambda *what: None)
    assert {one.at_once for one in made} == {expected}
    meshes = len({one.mesh for one in made})
    assert {(stage.at_once, stage.sharers) for one in made for stage in one.stages} == {(expected, meshes)}


def test_a_study_trains_one_at_a_time(rooms, tmp_path):
    """Its report must not say otherwise."""
    recipe = 'tasks=depth+normals,backbone=tests.shallow'
    (one,) = experiments(load('rooms', recipe, data__data_dir=rooms), tmp_path, lambda *what: None, Opened())
    assert {one.at_once, *(stage.at_once for stage in one.stages)} == {1}
    config = load('rooms', recipe, data__data_dir=rooms, stages_at_once=2)
    with pytest.raises(UserError, match='`stages_at_once` is 2, but a study trains one stage at a time'):
        experiments(config, tmp_path, lambda *what: None, Opened())
    assert held_out(config).stages_at_once == 1


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'stages_at_once': -1}, '`stages_at_once` is -1; it must be at least 0'),
        ({'stages_at_once': 2, 'devices': 2}, '`stages_at_once` is 2, but a stage has 2 devices.*set it to 0 or 1'),
        ({'stages_at_once': 2, 'devices': 4, 'seeds': (0, 1)}, 'a stage has 2 devices'),
        ({'stages_at_once': 2, 'devices': 2, 'fsdp': True}, 'a stage has 2 devices'),
    ],
)
def test_what_does_not_fit_is_refused(rooms, tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        run(
            load('rooms', 'tasks=depth+normals,backbone=tests.shallow', data__data_dir=rooms, **fields),
            tmp_path / 'run',
        )
    assert not (tmp_path / 'run').exists()
