"""What a run trains: the settings of its stages, and what three steps do. Recorded once, compared ever after.

python -m tests.unchanged        # records anew: only where what is trained is meant to change
"""

import os

if __name__ == '__main__':
    from tests import conftest  # noqa: F401 - the same flags for XLA as in the tests

import json
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from mtkd_jax import configs
from mtkd_jax.data import pipeline
from mtkd_jax.data.augment import augmentation
from mtkd_jax.datasets import Prepared
from mtkd_jax.experiment import stages as assembly
from mtkd_jax.training.state import initial_state
from mtkd_jax.training.step import train_step
from mtkd_jax.weighting.registry import CONSTRUCTORS
from tests import small

FOLDER = Path(__file__).parent / 'golden' / 'unchanged'
KEPT = 24  # of an array
DENSE = ('nyuv2', 'cityscapes', 'taskonomy', 'rooms')
IMAGES = ('svhn_omniglot', 'glyphs')
SELF_DISTILLED = (
    'method=sd_mtcnn',
    'method=sd_mtcnn,objective=eq6',
    'method=sd_mtcnn,reading=printed',
    'method=sd_mtcnn,backbone=unet_sd,attention=off',
    'method=no_distillation',
    'method=no_distillation,objective=eq6',
    'method=traditional_kd',
    'method=uniform,backbone=segnet_sd',
    'method=uniform,backbone=segnet_sd,attention=off',
    'method=kd_mtl,backbone=segnet_sd',
    'method=stl,backbone=unet_sd',
)
BACKBONES = ('mtan', 'cross_stitch', 'dense', 'split_standard', 'split_wide', 'split_deep')
PLAIN = ('method=stl', 'method=kd_mtl', 'method=bam', 'method=kd_mtl,weighting=dwa', 'method=bam,weighting=mgda')

TINY = {
    'data.height': 32,
    'data.width': 32,
    'batch_size': 4,
    'eval_batch_size': 4,
    'devices': 1,
    'epochs': 2,
}
DENSE_TINY = {'widths': (4, 4, 4, 4, 4), 'schedule_settings.halve_at_epochs': (0.5,)}
SD_TINY = {**DENSE_TINY, 'method_settings.student_widths': (4, 4, 4, 4)}
GLYPHS_TINY = {'widths': (3, 4, 8, 6), 'data.classes.characters': 20, 'selection': 'last'}
RECIPES = {
    'single_task': ('rooms', 'method=stl,tasks=depth', DENSE_TINY),
    'kd_mtl': ('rooms', 'method=kd_mtl', DENSE_TINY),
    'uniform_augmented': ('rooms', 'method=uniform', {**DENSE_TINY, 'data.augment': 'scale_crop_flip'}),
    'mgda': ('rooms', 'method=mgda', {**DENSE_TINY, 'task_weights.depth': 2.0}),
    'kd_mtl_features': (
        'rooms',
        'method=kd_mtl,weighting=imtl',
        {**DENSE_TINY, 'weighting_settings.gramian_of': 'features'},
    ),
    'moco': ('rooms', 'method=moco', DENSE_TINY),
    'mtan': ('rooms', 'method=kd_mtl,backbone=mtan,tasks=depth+normals', DENSE_TINY),
    'sd_mtcnn': ('rooms', 'method=sd_mtcnn,reading=printed', SD_TINY),
    'sd_mtcnn_eq6': (
        'rooms',
        'method=sd_mtcnn,objective=eq6,backbone=unet_sd,tasks=depth+edges,reading=printed',
        SD_TINY,
    ),
    'sd_mtcnn_followed': ('rooms', 'method=sd_mtcnn,tasks=segmentation+depth', SD_TINY),
    'bam': ('rooms', 'method=bam', DENSE_TINY),
    'traditional_kd': ('rooms', 'method=traditional_kd', SD_TINY),
    'glyphs': ('glyphs', 'method=kd_mtl,weighting=uncertainty', GLYPHS_TINY),
}


def recipes(name):
    """All recipes of a config whose stages' settings are recorded."""
    weightings = [f'method={weighting}' for weighting in CONSTRUCTORS]
    if name in IMAGES:
        return [*PLAIN, *weightings]
    others = [f'method={method},backbone={backbone}' for method in ('uniform', 'kd_mtl') for backbone in BACKBONES]
    return [*PLAIN, *weightings, *SELF_DISTILLED, *others, 'method=uniform,tasks=segmentation+depth']


def config_of(name, recipe, fields=None):
    config = configs.load(f'{name}:{recipe}')
    config.update_from_flattened_dict(fields or {})
    return config


def pictures(count, height, width, classes, seed):
    """Examples with every dense target."""
    found = small.source(count, seed, (height, width))
    rng = np.random.default_rng(seed)
    for example in found:
        example['segmentation'] = np.minimum(example['segmentation'], classes - 1)
        for name in ('keypoints', 'edges'):
            example[name] = rng.uniform(size=(height, width, 1)).astype(np.float32)
    return found


def pools(tasks, classes, count, height, width, seed):
    """Examples that carry one task's label each."""
    rng = np.random.default_rng(seed)
    made = {}
    for task in tasks:
        made[task] = [
            {
                'image': rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
                **{t: np.full((1, 1, 1), rng.integers(classes[t]) if t == task else -1, np.int16) for t in tasks},
            }
            for _ in range(count)
        ]
    return pipeline.Pools.whole(made)


def data_of(config):
    """Prepared data as the config wants it, made of noise."""
    data = config.data.to_dict()
    size, classes = (data['height'], data['width']), data['classes']
    count = 2 * config.batch_size
    if data['dataset'] in IMAGES:
        names = list(classes)
        sources = {split: pools(names, classes, count, *size, i) for i, split in enumerate(('train', 'test'))}
        named = {task: [''] * number for task, number in classes.items()}
        return Prepared(Path('/nowhere'), sources, {'source': 'noise', 'classes': named})
    few = 2 if size[0] > 64 else count
    examples = pictures(few, *size, classes, 0)
    sources = {'train': [examples[i % few] for i in range(count)], 'test': examples, 'validation': examples}
    return Prepared(Path('/nowhere'), sources, {'source': 'noise', 'classes': [''] * classes})


def experiment_of(config):
    """The stages of a config on noise."""
    before = assembly.prepared
    assembly.prepared = lambda config, progress: data_of(config)
    try:
        return assembly.experiment(config, Path('/nowhere'), lambda *what: None)
    finally:
        assembly.prepared = before


def settings_of(name):
    """recipe → stage → settings, for the config `name` as it is."""
    found = {}
    for recipe in recipes(name):
        config = config_of(name, recipe, {'devices': 1})
        stages = experiment_of(config).stages
        found[recipe] = {stage.name: json.loads(json.dumps(stage.settings)) for stage in stages}
    return found


def folded(found):
    """`settings_of` without repeating what all stages of a config have alike."""
    every = [stage for stages in found.values() for stage in stages.values()]
    common = {k: v for k, v in every[0].items() if all(s.get(k) == v for s in every)}
    return {
        'common': common,
        'recipes': {
            recipe: {name: {k: v for k, v in s.items() if k not in common} for name, s in stages.items()}
            for recipe, stages in found.items()
        },
    }


def unfolded(stored):
    return {
        recipe: {name: {**stored['common'], **settings} for name, settings in stages.items()}
        for recipe, stages in stored['recipes'].items()
    }


def three_steps(name):
    """Arrays by name: scalars of three steps of a recipe's last stage, the first gradient, the parameters after."""
    config_name, recipe, fields = RECIPES[name]
    config = config_of(config_name, recipe, {**TINY, **fields})
    stage = experiment_of(config).stages[-1]
    method, batches = stage.method, stage.data.train.epochs(0, 2)
    optimizer, weighting = stage.optimizer(2, 4), stage.weighting(2)
    augment = augmentation(stage.augment, method.tasks, stage.data.train.seed)
    shape = stage.data.train.image_shape
    frozen = frozen_of(method, shape)
    found = {}

    recorder = recording(optimizer)
    state = initial_state(method, weighting, recorder, jax.random.key(stage.seed), shape)
    step = jax.jit(train_step(method, weighting, recorder, 4, stage.gramian_of, augment, stage.factors))
    for i in range(3):
        state, scalars = step(state, frozen, next(batches))
        found |= {f'scalars/{i}/{key}': value for key, value in scalars.items()}
        gradient = state.opt_state[0] if i == 0 else gradient
    batches.close()
    for kind, tree in (('gradient', gradient), ('params', state.params)):
        found |= {f'{kind}/' + '/'.join(path): x for path, x in flatten_dict(tree).items()}
    return {key: condensed(np.asarray(value, np.float32)) for key, value in found.items()}


def condensed(array):
    """Some numbers of an array, evenly spaced, and its norm, which every other one changes."""
    flat = array.ravel()
    norm = np.float32(np.linalg.norm(flat.astype(np.float64)))
    return flat if flat.size < KEPT else np.append(flat[:: flat.size // KEPT], norm)


def recording(optimizer):
    """`optimizer`, whose state is (the last gradient, its own)."""

    def update(gradient, state, params):
        updates, inner = optimizer.update(gradient, state[1], params)
        return updates, (gradient, inner)

    return optax.GradientTransformation(
        lambda params: (jax.tree.map(jnp.zeros_like, params), optimizer.init(params)), update
    )


def frozen_of(method, shape):
    """Teachers of every method that reads some, filled without compiling anything."""
    networks = dict(getattr(method, 'teachers', {}))
    if hasattr(method, 'teacher'):
        networks['teacher'] = method.teacher
    image = jax.ShapeDtypeStruct(shape, jnp.float32)

    def variables(network):
        return small.filled(jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), image))

    return {name: variables(network) for name, network in networks.items()}


def machine():
    """Where numbers are the same to the last bit: processor, cores, versions."""
    cpu = [line for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')]
    return {
        'processor': cpu[0].partition(':')[2].strip() if cpu else platform.processor(),
        'cores': os.cpu_count(),
        'jax': jax.__version__,
        'numpy': np.__version__,
    }


def packed(by_recipe):
    """All arrays of all recipes in one file: for each recipe, their names and their numbers in a row."""
    names = {f'{recipe}|names': np.array('\n'.join(found)) for recipe, found in by_recipe.items()}
    sizes = {f'{recipe}|sizes': np.array([x.size for x in found.values()]) for recipe, found in by_recipe.items()}
    numbers = {recipe: np.concatenate([x.ravel() for x in found.values()]) for recipe, found in by_recipe.items()}
    return {**names, **sizes, **numbers}


def recorded(recipe):
    """What `three_steps` gave when it was recorded."""
    with np.load(FOLDER / 'steps.npz') as stored:
        ends = np.cumsum(stored[f'{recipe}|sizes'])[:-1]
        return dict(zip(str(stored[f'{recipe}|names']).split('\n'), np.split(stored[recipe], ends), strict=True))


def main():
    FOLDER.mkdir(exist_ok=True)
    for name in (*DENSE, *IMAGES):
        (FOLDER / f'settings_{name}.json').write_text(json.dumps(folded(settings_of(name)), indent=0) + '\n')
    np.savez_compressed(FOLDER / 'steps.npz', **packed({name: three_steps(name) for name in RECIPES}))
    (FOLDER / 'machine.json').write_text(json.dumps(machine(), indent=1) + '\n')


if __name__ == '__main__':
    main()
