"""What a config must satisfy before anything is built from it."""

from ml_collections import ConfigDict

from mtkd_jax.build.custom import is_custom
from mtkd_jax.build.data import OWN_VALIDATION
from mtkd_jax.build.networks import (
    BACKBONES,
    DTYPES,
    build_task,
    choice,
    is_self_distilled,
    offered,
    predicts_images,
)
from mtkd_jax.build.stages import DIRECTIONS, METHODS, OBJECTIVES, SELF_DISTILLED, WITH_SINGLE_TASK_TEACHERS, model_spec
from mtkd_jax.build.weightings import NAMES, check_weighting
from mtkd_jax.data import cityscapes_files
from mtkd_jax.data.augment import PRESETS
from mtkd_jax.training import selection
from mtkd_jax.types import UserError


def check(config: ConfigDict) -> None:
    """Raises a `UserError` that names the first field that does not fit, its value and the remedy."""
    choice('method', config.method, (*METHODS, *NAMES))
    choice('backbone', config.backbone, tuple(BACKBONES))
    for field, value in (
        ('method', config.method),
        ('backbone', config.backbone),
        ('tasks', '+'.join(config.tasks)),
    ):
        if value != config.recipe[field]:
            raise UserError(
                f'`{field}` is {value!r}, but the recipe chose {config.recipe[field]!r}, which other fields follow; '
                f'choose it in the recipe: --config=FILE:{field}={value}.'
            )
    has = offered(config.data.dataset)
    for name in config.tasks:
        if name not in has:
            raise UserError(f'`tasks` has {name!r}; {config.data.dataset} offers {", ".join(has)}.')
    if len(set(config.tasks)) != len(config.tasks) or not config.tasks:
        raise UserError(f'`tasks` is {config.tasks}; name each task once, at least one.')
    _check_data(config)
    stride = BACKBONES[config.backbone].STRIDE
    for field in ('height', 'width'):
        if config.data[field] < stride or config.data[field] % stride:
            raise UserError(f'`data.{field}` is {config.data[field]}; {config.backbone} needs a multiple of {stride}.')
    needed = len(BACKBONES[config.backbone].widths)
    if len(config.widths) != needed or min(config.widths) < 1:
        raise UserError(f'`widths` is {config.widths}; {config.backbone} needs {needed} positive numbers.')
    data = config.data.to_dict()
    spec = {'classes': data['classes'], 'depth_maximum': data.get('depth_maximum', 1.0), 'data': data}
    for name in config.tasks:
        per_image = build_task(name, spec).words is not None
        if per_image != predicts_images(config.backbone):
            fitting = [b for b in BACKBONES if predicts_images(b) == per_image]
            raise UserError(f'`backbone` is {config.backbone!r}; {name} needs one of {", ".join(fitting)}.')
    choice('compute_dtype', config.compute_dtype, tuple(DTYPES))
    least = dict.fromkeys(('epochs', 'evaluate_every_epochs', 'log_every_steps'), 1)
    every = ('checkpoint_every_steps', 'diagnose_every_steps', 'decay_every_epochs')
    least |= dict.fromkeys(('seed', 'devices', 'panel_images', 'adaptor_l2', *every), 0)
    for field, smallest in least.items():
        if config[field] < smallest:
            raise UserError(f'`{field}` is {config[field]}; it must be at least {smallest}.')
    for field in ('learning_rate', 'adaptor_learning_rate', 'decay_factor'):
        if not config[field] > 0:
            raise UserError(f'`{field}` is {config[field]}; it must be positive.')
    _check_unread(config)
    _check_per_task(config)
    check_weighting(config)
    _check_bam(config)
    _check_distillation(config)
    _check_selection(config)
    _check_augment(config)


def _check_data(config: ConfigDict) -> None:
    data = config.data
    if data.dataset == 'cityscapes':
        choice('data.depth', data.depth, cityscapes_files.DEPTHS)
        if data.depth == 'metric' and data.depth_maximum < 5:
            raise UserError(
                f"`data.depth_maximum` is {data.depth_maximum}, but `data.depth` is 'metric'; give metres, such as 80."
            )
    allowed = {'cityscapes': (7, 19), 'taskonomy': (17, 18)}.get(data.dataset)
    if allowed and data.classes not in allowed:
        raise UserError(f'`data.classes` is {data.classes}; {data.dataset} has {allowed[0]} or {allowed[1]}.')


def _check_unread(config: ConfigDict) -> None:
    """Refuses fields that were set for nothing."""
    method = config.method
    given = [task for task in config.tasks if config.teachers.get(task, '')]
    if given and method not in ('stl', *WITH_SINGLE_TASK_TEACHERS):
        raise UserError(
            f'`teachers.{given[0]}` is {config.teachers[given[0]]!r}; {method} reads no single-task teacher.'
        )
    sd = config.get('self_distillation')
    if sd is None:
        return
    if sd.objective != 'eq5' and method not in SELF_DISTILLED:
        raise UserError(f'`self_distillation.objective` is {sd.objective!r}; {method} has no such objective.')
    if not sd.attention and not is_self_distilled(config.backbone):
        raise UserError(f'`self_distillation.attention` is off; {config.backbone} has no attention.')


def _check_per_task(config: ConfigDict) -> None:
    fields = {
        'task_weights': config.task_weights,
        'distillation.weights': config.distillation.weights,
        'teachers': config.teachers,
    }
    for field, mapping in fields.items():
        missing = [name for name in config.tasks if name not in mapping]
        if missing:
            raise UserError(f'`{field}` has no entry for {", ".join(missing)}; give one per task.')


def _check_bam(config: ConfigDict) -> None:
    choice('bam.kl_direction', config.bam.kl_direction, tuple(DIRECTIONS))
    if config.bam.weight < 0:
        raise UserError(f'`bam.weight` is {config.bam.weight}; λ must not be negative.')
    if config.method == 'bam':
        _check_distances(config, 'bam')


def _check_distances(config: ConfigDict, section: str) -> None:
    spec = model_spec(config, config.tasks, config.method)
    for name in config.tasks:
        kinds = tuple(kind for kind in ('kl', 'l2') if kind in build_task(name, spec).distances)
        choice(f'{section}.distances.{name}', config[section].distances.get(name, ''), kinds)


def _check_distillation(config: ConfigDict) -> None:
    points, chosen = BACKBONES[config.backbone].POINTS, config.distillation.points
    if config.method == 'kd_mtl' and (not chosen or set(chosen) - set(points)):
        raise UserError(f'`distillation.points` is {chosen}; {config.backbone} has {", ".join(points)}.')
    if len(set(chosen)) < len(chosen):
        raise UserError(f'`distillation.points` is {chosen}; name each point once.')
    if not is_self_distilled(config.backbone):
        if config.method in (*SELF_DISTILLED, 'traditional_kd'):
            have = ', '.join(name for name in BACKBONES if is_self_distilled(name))
            raise UserError(
                f'`backbone` is {config.backbone!r}, which has no teacher and student branches; {config.method} needs '
                f'one of {have}.'
            )
        return
    sd = config.self_distillation
    choice('self_distillation.objective', sd.objective, tuple(OBJECTIVES))
    choice('self_distillation.kl_direction', sd.kl_direction, tuple(DIRECTIONS))
    if len(sd.student_widths) != 4 or min(sd.student_widths) < 1:
        raise UserError(f'`self_distillation.student_widths` is {sd.student_widths}; give four positive numbers.')
    if sd.weight < 0:
        raise UserError(f'`self_distillation.weight` is {sd.weight}; λ must not be negative.')
    _check_distances(config, 'self_distillation')


def _check_selection(config: ConfigDict) -> None:
    rule = selection.rule_named(config.selection)
    if config.epochs < rule.epochs:
        raise UserError(
            f'`selection` is {rule.name!r}, which reads {rule.epochs} epochs, but `epochs` is {config.epochs}; '
            "train longer or choose selection='last'."
        )
    own = config.data.dataset in OWN_VALIDATION or is_custom(config.data.dataset)
    if rule.needs_validation and not config.data.validation_fraction and not own:
        raise UserError(
            f'`selection` is {rule.name!r}, but `data.validation_fraction` is 0; set it, for example to 0.1.'
        )


def _check_augment(config: ConfigDict) -> None:
    name = choice('data.augment', config.data.get('augment', 'none'), tuple(PRESETS))
    spec = model_spec(config, config.tasks, config.method)
    still = [task for task in config.tasks if build_task(task, spec).move is None]
    if name != 'none' and still:
        raise UserError(
            f'`data.augment` is {name!r}, but a part of an image, or its mirror image, may have another answer in '
            f"{', '.join(still)}; choose 'none'."
        )
