"""From a config to experiments, one for each seed: their stages, with data, optimisers and settings."""

import copy
import functools
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict

from mtkd_jax import datasets
from mtkd_jax.data.pipeline import Split
from mtkd_jax.datasets import Prepared, Progress
from mtkd_jax.experiment import balance, class_weights, continuing
from mtkd_jax.experiment.checks import check
from mtkd_jax.experiment.data import check_pools, only, prepared, seeded, stage_data
from mtkd_jax.experiment.models import build_network
from mtkd_jax.experiment.paper import difference_from_paper, paper_rows
from mtkd_jax.experiment.plans import model_spec, plans, stages_at_once, tasks_of
from mtkd_jax.experiment.settings import data_settings, stage_settings
from mtkd_jax.experiment.teachers import check_cache, check_dtype, dtype_of, with_dtype
from mtkd_jax.methods.plan import GivenPlan, Plan, deployments
from mtkd_jax.places import place
from mtkd_jax.records import MODEL, read_choices, read_settings, seed_folder, stage_folder
from mtkd_jax.reporting import card
from mtkd_jax.tasks import Task
from mtkd_jax.training import optimizer, processes, resident, selection, sharding
from mtkd_jax.training.evaluate import Constants
from mtkd_jax.training.feed import in_one_call
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.resident import Residence
from mtkd_jax.training.stage import Cadence, Stage, StageData
from mtkd_jax.training.taught import Shared
from mtkd_jax.types import UserError


@dataclass(frozen=True)
class Experiment:
    """A run of one seed: its stages in order, and what they share.

    A `GivenTeacher` among them is evaluated instead of trained. `config` is that of this seed alone, and `workdir`
    where it keeps everything; `paper_note` says why the report shows no paper's row. On its mesh `at_once` stages are
    trained at the same time.
    """

    config: ConfigDict
    workdir: Path
    stages: Sequence[Stage | GivenTeacher]
    tasks: Sequence[Task]
    mesh: Mesh
    data: StageData
    paper_note: str
    at_once: int = 1


class Place(NamedTuple):
    """Devices that stages train on: what lies there, whether prepared data fit, what seeds share, how many stages train
    at the same time here, and how many such places there are."""

    residence: Residence
    small: bool
    shared: Shared | None
    at_once: int
    sharers: int


class Opened:
    """Data that experiments of several configs read: opened once, and once on the devices."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[StageData, list[Residence]]] = {}

    def __call__(
        self, config: ConfigDict, tasks: Sequence[Task], meshes: Sequence[Mesh], progress: Progress
    ) -> tuple[StageData, list[Residence]]:
        """The splits of a config, and a residence for each mesh."""
        fields = ('data', 'tasks', 'batch_size', 'eval_batch_size', 'selection')
        key = json.dumps([{name: config.to_dict()[name] for name in fields}, [str(mesh.devices) for mesh in meshes]])
        if key not in self._found:
            first = Residence(meshes[0], tuple(config.tasks))
            others = [Residence(mesh, tuple(config.tasks), like=first) for mesh in meshes[1:]]
            self._found[key] = stage_data(config, tasks, self.prepared(config, progress)), [first, *others]
        return self._found[key]

    def prepared(self, config: ConfigDict, progress: Progress) -> Prepared:
        """The prepared data set that the config names; see `data.prepared`."""
        return prepared(config, progress)


def experiments(
    config: ConfigDict, workdir: Path, progress: Progress, opened: Opened | None = None
) -> list[Experiment]:
    """Everything a run needs, of its seed or of each of its `seeds`, checked.

    Seeds share prepared data, networks, and what lies on the devices. The devices are divided among them where they can
    be: the `mesh` of each experiment is its share, and those with the same mesh share it. `progress` is told of
    examples that are rendered first; `opened` has the data that other configs read, too, and then nothing is divided,
    and stages are trained one at a time.

    Raises:
        UserError: a field does not fit; names it, its value and the remedy.
    """
    check(config)
    workdirs = {seed: seed_folder(workdir, seed) for seed in config.seeds} or {config.seed: workdir}
    meshes = sharding.make_meshes(config.devices, len(workdirs) if opened is None else 1)
    mesh = meshes[0]
    sharding.check_batch_size('batch_size', config.batch_size, mesh)
    sharding.check_batch_size('eval_batch_size', config.eval_batch_size, mesh)
    tasks, planned = tasks_of(config), plans(config)
    at_once = stages_at_once(config, planned, meshes, len(workdirs), study=opened is not None)
    check_cache(config, planned)
    check_dtype(config, planned)
    if selection.rule_named(config.selection).split != 'test' and any(isinstance(plan, GivenPlan) for plan in planned):
        raise UserError(
            f'`selection` is {config.selection!r}, but given teachers are evaluated on the test split, and perhaps '
            'were trained on what is held out; choose another, or leave `method_settings.teachers` empty.'
        )
    data, residences = (opened or Opened())(config, tasks, meshes, progress)
    check_pools(config, data, mesh)
    if config.class_weights != class_weights.OFF:
        planned = plans(config, class_weights.weighted(tasks, config.class_weights, data.train))
    steps = config.epochs * data.train.steps_per_epoch
    if config.accumulate_steps > steps:
        raise UserError(
            f'`accumulate_steps` is {config.accumulate_steps}, but a stage has {steps} steps, so nothing would be '
            'learned; choose at most that.'
        )
    read_here = [data.train, data.test, data.validation]
    small = processes.from_first(lambda: _small(config, read_here, mesh, len(meshes)))
    places = [
        Place(residence, small, Shared() if len(workdirs) > 1 else None, at_once, len(meshes))
        for residence in residences
    ]
    last = planned[-1]
    note = difference_from_paper(config, last) if isinstance(last, Plan) and not config.continue_from else ''
    found, constants = [], Constants(tasks, data.train, data.test)
    for i, (seed, folder) in enumerate(workdirs.items()):
        own, read, here = of_seed(config, seed), seeded(data, seed), places[i % len(meshes)]
        stages = [
            _trained(own, plan, read, constants, folder, here)
            if isinstance(plan, Plan)
            else _given(own, plan, read, constants)
            for plan in planned
        ]
        found.append(Experiment(own, folder, stages, tasks, here.residence.mesh, read, note, at_once))
    return found


def experiment(config: ConfigDict, workdir: Path, progress: Progress) -> Experiment:
    """The first of `experiments`."""
    return experiments(config, workdir, progress)[0]


def of_seed(config: ConfigDict, seed: int) -> ConfigDict:
    """The same config for one seed."""
    own = copy.deepcopy(config)
    before = str(seed_folder(place(config.continue_from), seed)) if config.seeds and config.continue_from else ''
    own.update({'seed': seed, 'seeds': (), 'continue_from': before or config.continue_from})
    return own


def _small(config: ConfigDict, splits: Sequence[Split | None], mesh: Mesh, sharers: int) -> bool:
    """Whether prepared data fit on the devices. (A data set of one's own may read anything, at any time: never.)"""
    sources = {id(split.source): split for split in splits if split is not None}
    needed = sum(resident.size(split, tuple(config.tasks)) for split in sources.values())
    return config.data.dataset in datasets.NAMES and resident.fits(needed, mesh, sharers)


def _trained(
    config: ConfigDict,
    plan: Plan,
    data: StageData,
    constants: Constants,
    workdir: Path,
    here: Place,
) -> Stage:
    residence = here.residence
    folder, placement = stage_folder(workdir, plan.name), config.data.placement
    choices, before = processes.from_first(lambda: (read_choices(folder), read_settings(folder)))
    if placement == 'auto':
        placement = choices.get('placement', 'device' if here.small else 'host')
    teachers = dtype_of(config, plan, before, residence.mesh)
    plan = with_dtype(config, plan, teachers)
    cache = config.cache_teachers
    if cache == 'auto' and config.data.dataset not in datasets.NAMES:
        # Its images need not be the same each time.
        cache = 'off'
    settings = stage_settings(config, plan, data.made, teachers)
    continues, before_it = processes.from_first(
        functools.partial(continuing.of_stage, config.continue_from, workdir, plan.name, settings)
    )
    papers = paper_rows(config, plan)
    if before_it is not None:
        settings, papers = settings | {continuing.CONTINUED: before_it}, []
    names = [task.name for task in plan.method.tasks]
    spec = model_spec(config, names, plan.network)
    by_run = plan.balance == 'run'
    return Stage(
        name=plan.name,
        method=plan.method,
        weighting=balance.maker(config, plan.balance),
        factors=None if plan.balance == 'none' else config.task_weights.to_dict(),
        gramian_of=balance.gramian_of(config) if by_run else 'parameters',
        optimizer=_optimizer(config, plan),
        rate=functools.partial(optimizer.rate_of_steps, _schedule(config), accumulate_steps=config.accumulate_steps),
        networks={
            name: build_network(spec, branches=branches)[0] for name, branches in deployments(spec['network']).items()
        },
        data=only(data, plan.method.tasks),
        constants=constants,
        cadence=_cadence(config),
        seed=_seed(config.seed, plan.name if plan.kind == 'stl' else 'multi_task'),
        teachers={
            key: where if isinstance(where, Path) else stage_folder(workdir, where) / MODEL
            for key, where in plan.teachers.items()
        },
        settings=settings,
        model_spec=spec,
        facts=_facts(config, plan.kind) | {'papers': papers} | ({'remat': True} if config.remat else {}),
        augment=config.data.get('augment', 'none'),
        ema_decay=config.ema_decay,
        accumulate_steps=config.accumulate_steps,
        residence=residence if placement == 'device' else None,
        steps_in_one_call=in_one_call(residence.mesh),
        cache_teachers=cache,
        cache_dtype=config.cache_dtype,
        # Teachers that are trained here are other ones for every seed.
        taught=here.shared if all(isinstance(where, Path) for where in plan.teachers.values()) else None,
        at_once=here.at_once,
        sharers=here.sharers,
        card=functools.partial(
            card.trained, spec=spec, tasks=plan.method.tasks, chosen=_cadence(config).selection.keeps_best
        ),
        fsdp=config.fsdp,
        continues=continues,
    )


def _cadence(config: ConfigDict) -> Cadence:
    return Cadence(
        config.epochs,
        config.evaluate_every_epochs,
        config.log_every_steps,
        config.checkpoint_every_epochs,
        config.checkpoint_every_steps,
        selection.rule_named(config.selection),
        config.diagnose_every_steps,
    )


def _given(config: ConfigDict, plan: GivenPlan, data: StageData, constants: Constants) -> GivenTeacher:
    """The stand-in for the single-task stage of a task whose network is given as a model folder."""
    given, read = plan.given, only(data, [plan.task])
    task: Any = read.test.tasks[0]
    return GivenTeacher(
        name=plan.name,
        folder=given.folder,
        network=given.network,
        task=task,
        data=read,
        constants=constants,
        settings={
            'method': 'stl',
            'given': given.digest,
            'backbone': given.spec['backbone'],
            'backbone_settings': dict(given.spec['network']),
            'compute_dtype': config.compute_dtype,
            'data': {**data_settings(config), 'made': dict(data.made)},
        },
        facts=_facts(config, 'stl') | {'backbone': given.spec['backbone'], 'papers': []},
    )


def _facts(config: ConfigDict, method: str) -> dict[str, Any]:
    return {
        'method': method,
        'weighting': 'none' if method == 'stl' else balance.name_of(config),
        'backbone': config.backbone,
        'dataset': config.data.dataset,
        'seed': config.seed,
    }


def _optimizer(config: ConfigDict, plan: Plan) -> Any:
    chosen = functools.partial(optimizer.OPTIMIZERS[config.optimizer], **config.optimizer_settings.to_dict())
    return functools.partial(
        optimizer.make_optimizer,
        chosen,
        _schedule(config),
        groups=plan.method.optimizers(),
        clip_norm=config.clip_norm,
        accumulate_steps=config.accumulate_steps,
    )


def _schedule(config: ConfigDict) -> Any:
    schedule = functools.partial(optimizer.SCHEDULES[config.schedule], config.learning_rate)
    return functools.partial(schedule, **config.schedule_settings.to_dict())


def _seed(seed: int, purpose: str) -> int:
    """Teachers start from different points, and multi-task methods of one seed all from the same."""
    return zlib.crc32(f'{seed}/{purpose}'.encode())
