"""Every field of a config once, with its unit and source. The other files here say what differs.

A recipe, the part behind the colon of `--config=NAME:name=value,...`, chooses `method`, `weighting`, `backbone`,
`tasks`, `optimizer` and `schedule`. Fields follow these: only the chosen ones' settings are there to be set. A recipe
may also set these (`:method=sd_mtcnn,objective=eq6`); all other fields are flags (`--config.epochs=20`).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_type_hints

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mtkd_jax import datasets, methods, models, recipe
from mtkd_jax.models import backbone as backbones
from mtkd_jax.names import choice, importable, optional, suggestion
from mtkd_jax.training import optimizer
from mtkd_jax.types import MAIN, UserError
from mtkd_jax.weighting import registry
from mtkd_jax.weighting.registry import CONSTRUCTORS

SECTIONS = ('method', 'weighting', 'backbone', 'optimizer', 'schedule')
"""The choices of a recipe that have settings: `method_settings`, ..."""

UNIFORM = 'uniform'

Change = Callable[[ConfigDict], None]

KD_MTL = {
    'stl': 'method=stl',
    **{name: f'method={name}' for name in ('uniform', 'uncertainty', 'mgda', 'gradnorm')},
    'kdmtl': 'method=kd_mtl',
}
"""What the tables of Li & Bilen (2020) compare on every backbone: the table's name of a method → its recipe."""

SD_MTCNN = {
    'stl': 'method=stl',
    'vanilla': 'method=uniform',
    'sdmtcnn_eq5': 'method=sd_mtcnn',
    'sdmtcnn_eq6': 'method=sd_mtcnn,objective=eq6',
}
"""The same of Jha et al. (2020)."""

COMPARED = ('dense', 'cross_stitch', 'split_wide', 'split_deep', 'mtan')
"""The backbones that Jha et al. (2020) compare with."""


KD_MTL_DENSE = ('kdmtl_table2_nyuv2', 'kdmtl_table3_cityscapes', 'kdmtl_table4_nyuv2_layers')
"""The tables of Li & Bilen (2020) whose numbers are of the epoch with the lowest training loss."""


class PaperRow(NamedTuple):
    """A row of a paper's table, and the recipe that is its protocol.

    `table`: a file of `reporting/paper_tables`; `backbone`, `method`: what the table calls them; `prefix`: of the
    columns for this data set; `layers`: the value of `distilled_layers`, in the table that has it.
    """

    recipe: str
    table: str
    backbone: str
    method: str = ''
    prefix: str = ''
    layers: str = ''

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipe, and that of the form which the authors' code has of it, beside which the row stands, too."""
        theirs = self.table.startswith('kdmtl_') and self.method in ('mgda', 'gradnorm') and self.backbone != 'mtan'
        return (self.recipe, f'{self.recipe},variant=kd4mtl') if theirs else (self.recipe,)

    @property
    def selections(self) -> tuple[str, ...]:
        """Rules, beside the recipe's, under which the row stands: the authors' code has another (papers.md B7)."""
        return ('lowest_training_loss',) if self.table in KD_MTL_DENSE else ()

    @property
    def place(self) -> dict[str, str]:
        """Where the row is, as records keep it."""
        place = {'table': self.table, 'prefix': self.prefix, 'backbone': self.backbone, 'method': self.method}
        return place | ({'distilled_layers': self.layers} if self.layers else {})


def get_config(
    argument: str = '', *, dataset: str, chosen: Mapping[str, str] | None = None, change: Change | None = None
) -> ConfigDict:
    """The config of a recipe on a data set.

    Args:
        argument: the recipe.
        dataset: one of `mtkd_jax.datasets`, or a module of one's own (docs/your_data.md).
        chosen: what the recipe chooses where it says nothing.
        change: sets what differs from here; the recipe's own settings come after it.

    Raises:
        UserError: the recipe names something that is not there.
    """
    found = datasets.named(dataset)
    parts = recipe.parse(argument)
    names = _chosen({**(chosen or {}), **parts}, found)
    backbone = models.named(names['backbone'])
    c = ConfigDict()

    c.data = ConfigDict({'dataset': dataset, **found.defaults})
    c.data.data_dir = ''  # where prepared data lie; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
    if not found.per_image:
        c.data.augment = 'none'  # of training batches: none, as in the papers (papers.md A4) | scale_crop_flip
    c.data.validation_fraction = 0.0  # share of the training set held out; selection='best_validation' needs it
    c.data.read_threads = 8  # that read batches ahead of the step
    c.data.read_workers = 0  # processes that share these threads; 0: they are the training process's own
    c.data.placement = 'auto'  # where data live: device | host, which sends each batch | auto: device where they fit

    # From here to `dtype`: chosen in the recipe, with the settings of what was chosen.
    c.method = names['method']
    c.tasks = tuple(names['tasks'].split('+'))
    offered = found.tasks(c.data.to_dict())
    tasks = [offered[choice('tasks', name, tuple(offered))] for name in c.tasks]
    c.method_settings = _method_section(methods.named(c.method).Settings, tasks, backbone)
    if c.method != 'stl':  # one task needs no balance
        c.weighting = names['weighting']
        c.weighting_settings = _section(registry.settings(c.weighting), lambda: registry.kinds(c.weighting))
        c.task_weights = ConfigDict(dict.fromkeys(c.tasks, 1.0))  # w_t (papers.md A3); a weighting sees w_t ℓ_t
    c.backbone = names['backbone']
    c.widths = backbones.default_widths(backbone)  # channels of its blocks (papers.md A6, B1)
    c.backbone_settings = _section(backbones.settings(backbone), lambda: get_type_hints(backbone))
    c.optimizer = names['optimizer']
    c.optimizer_settings = _section(optimizer.settings(optimizer.OPTIMIZERS[c.optimizer]))
    c.schedule = names['schedule']
    c.schedule_settings = _section(optimizer.settings(optimizer.SCHEDULES[c.schedule]))

    c.compute_dtype = 'float32'  # or bfloat16; parameters stay float32
    c.teacher_dtype = 'auto'  # of frozen teachers: float32 | bfloat16 | auto: bfloat16 on accelerators, else as compute
    c.remat = False  # intermediate values are computed again in the backward pass: less memory, more time
    c.seed = 0  # of initialisation and data order
    c.seeds = ()  # several, in place of `seed`: a run of each in WORKDIR/seedN, and one table of all

    c.class_weights = 'none'  # in the cross-entropy, from the training set: none | median_frequency | inverse_log
    c.learning_rate = 1e-4  # of the network (papers.md A4, B5)
    c.clip_norm = 0.0  # the network's gradient is scaled down to this norm; 0 = never
    c.accumulate_steps = 1  # steps whose gradients are averaged before an update
    c.ema_decay = 0.0  # share of the old value in moving averages of the weights, evaluated as a branch; 0 = none
    c.continue_from = ''  # a finished workdir with fewer epochs: every stage goes on where its stage there ended
    c.epochs = 200  # of every stage (papers.md A4, B5)
    c.batch_size = 2  # images per step, over all devices
    c.eval_batch_size = 2  # results do not depend on it
    c.devices = 1  # 0 = all; several processes use all of theirs
    c.stages_at_once = 1  # trained at the same time, each once its teachers are; 0: three on a CPU device, else one
    c.fsdp = False  # split parameters, optimiser and teachers over the devices: less memory on each, more to send
    c.cache_teachers = (
        'auto'  # what teachers say of each image, computed once: memory | disk | off | auto: where it fits
    )
    c.cache_dtype = 'float32'  # in which that is kept; bfloat16 takes half the memory, and rounds

    c.selection = 'last'  # last | last10_mean | last20_median | best_validation | lowest_training_loss (papers.md C)
    c.evaluate_every_epochs = 1
    c.log_every_steps = 50
    c.checkpoint_every_epochs = 1  # and before every evaluation; more, where epochs take seconds: a kill costs so many
    c.checkpoint_every_steps = 0  # besides these; 0 = only there
    c.diagnose_every_steps = 0  # task gradients' cosines and norms, CKA with teachers; costs T + 1 passes; 0 = never
    c.writers = ('jsonl', 'tensorboard')  # where numbers go: jsonl (always) | tensorboard | wandb | your own module
    c.panel_images = 4  # test images in the picture of every stage; 0: no pictures of predictions at all

    if change is not None:
        change(c)
    _set(c, {name: value for name, value in parts.items() if name not in recipe.CHOICES})
    c.lock()  # a field that nothing reads cannot be set
    return c


def paper_rows(
    table: str, named: str, by_method: Mapping[str, str], more: str = '', prefix: str = '', backbone: str = ''
) -> tuple[PaperRow, ...]:
    """Rows of one table for one backbone.

    `named`: what the table calls the backbone, and `backbone` what we call it, where that differs; `by_method`: the
    table's name of a method → its recipe; `more`: further parts of all recipes; `prefix`: see `PaperRow`.
    """
    end = ''.join(f',{part}' for part in (f'backbone={backbone or named}', more) if part)
    return tuple(PaperRow(start + end, table, named, method, prefix) for method, start in by_method.items())


def self_distilled(c: ConfigDict) -> bool:
    """Whether the config's networks have a teacher and a student branch."""
    return backbones.branches(models.named(c.backbone)) != (MAIN,)


def halve(c: ConfigDict) -> None:
    """The schedules of dense tasks: halved at epoch 100 (papers.md A4); of SD-MTCNN, at 100 and 150 (papers.md B5)."""
    differ(c, 'steps', halve_at_epochs=(100.0, 150.0) if self_distilled(c) else (100.0,))


def differ(c: ConfigDict, chosen: str, **settings: Any) -> None:
    """Sets `settings` of the method, weighting, backbone, optimiser or schedule `chosen`, where the recipe chose that.

    Of settings by task, the tasks that the recipe did not choose are passed over.

    Raises:
        UserError: it has no such setting.
    """
    for field in SECTIONS:
        if c.get(field) != chosen:
            continue
        section = c[f'{field}_settings']
        for name, value in settings.items():
            if name not in section:
                raise UserError(f'{chosen} has no setting {name!r}; it has {", ".join(section) or "none"}.')
            by_task = value.items() if isinstance(value, Mapping) else ()
            for task, of_task in by_task:
                if task in section[name]:
                    section[name][task] = of_task
            if not isinstance(value, Mapping):
                section[name] = value


def _chosen(given: Mapping[str, str], dataset: Any) -> dict[str, str]:
    """All of `recipe.CHOICES`, checked; `method=mgda` stands for `method=mtl,weighting=mgda`."""
    names = {'optimizer': 'adam', 'schedule': 'steps', **given}
    method, weighting = names.get('method', 'kd_mtl'), names.get('weighting', '')
    if method in CONSTRUCTORS:
        if weighting not in ('', UNIFORM, method):
            raise UserError(
                f'`weighting` is {weighting!r}, but `method` is {method!r}, a weighting itself; give one of them, or '
                f'method=mtl,weighting={weighting}.'
            )
        method, weighting = 'mtl', method
    elif method not in methods.NAMES:
        close = suggestion(method, (*methods.NAMES, *CONSTRUCTORS))
        _importable('method', method, f'{", ".join(methods.NAMES)}, or a weighting: {", ".join(CONSTRUCTORS)}', close)
    if weighting and weighting not in CONSTRUCTORS:
        _importable('weighting', weighting, ', '.join(CONSTRUCTORS), suggestion(weighting, CONSTRUCTORS))
    if method == 'stl' and weighting not in ('', UNIFORM):
        raise UserError(f"`weighting` is {weighting!r}, but `method` is 'stl': one task needs no weighting.")
    own = 'lenet_mtl' if dataset.per_image else getattr(methods.named(method), 'BACKBONE', 'segnet')
    choice('optimizer', names['optimizer'], tuple(optimizer.OPTIMIZERS))
    choice('schedule', names['schedule'], tuple(optimizer.SCHEDULES))
    return {
        **names,
        'method': method,
        'weighting': weighting or UNIFORM,
        'backbone': names.get('backbone') or own,
        'tasks': names.get('tasks') or '+'.join(dataset.task_names),
    }


def _importable(field: str, name: str, have: str, close: str) -> None:
    """Raises a UserError unless `name` can be a module of the user's."""
    if not importable(name):
        raise UserError(f'`{field}` is {name!r}; choose one of {have}; or name a Python module.{close}')


def _section(settings: Mapping[str, Any], types: Callable[[], Mapping[str, Any]] = dict) -> ConfigDict:
    """Settings as a section; one that is None keeps the type that is declared for it (`types`, asked only then)."""
    section = ConfigDict()
    for name, value in settings.items():
        if value is None:
            kind = optional(types().get(name))
            if kind is None:
                raise UserError(
                    f'The default of {name!r} is None; give it a type such as `int | None`, or another default.'
                )
            section[name] = placeholder(kind)
        else:
            section[name] = ConfigDict(dict(value)) if isinstance(value, Mapping) else value
            section[name] = tuple(value) if isinstance(value, list) else section[name]
    return section


def _method_section(settings: Any, tasks: Sequence[Any], backbone: Any) -> ConfigDict:
    """The method's settings with their defaults."""
    return _section(dataclasses.asdict(settings.defaults(tasks, backbone)), lambda: get_type_hints(settings))


def _set(c: ConfigDict, settings: Mapping[str, str]) -> None:
    """Sets the recipe's settings, each in the section that has it."""
    sections = {f'{field}_settings': c[f'{field}_settings'] for field in SECTIONS if f'{field}_settings' in c}
    known: dict[str, list[str]] = {}
    for title, section in sections.items():
        for name in section:
            if not isinstance(section[name], ConfigDict):
                known.setdefault(name, []).append(title)
    for name, text in settings.items():
        if name not in known:
            if name in c:
                raise UserError(f'{name!r} is a field of its own, not of the recipe: --config.{name}={text}.')
            has = (*recipe.CHOICES, *known)
            raise UserError(f'The recipe has no {name!r}; it takes {", ".join(has)}.{suggestion(name, has)}')
        places = [f'{title}.{name}' for title in known[name]] + ([name] if name in c else [])
        if len(places) > 1:
            flags = ' or '.join(f'--config.{place}={text}' for place in places)
            raise UserError(f'{name!r} in the recipe may be {" or ".join(places)}; say which with a flag: {flags}.')
        section = sections[known[name][0]]
        section[name] = recipe.value(name, text, section[name], section.get_type(name))
