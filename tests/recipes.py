"""Configs of recipes, tiny: for tests that go through the whole of an experiment."""

import jax
import jax.numpy as jnp

from mtkd_jax import configs
from mtkd_jax.experiment import comparing
from mtkd_jax.experiment.models import build_network
from mtkd_jax.experiment.stages import experiment
from mtkd_jax.training.folder import save_model
from tests import small

TINY = {
    'data.height': 32,
    'data.width': 64,
    'widths': small.WIDTHS,
    'batch_size': 4,
    'eval_batch_size': 4,
    'devices': 1,
    'epochs': 1,
    'panel_images': 0,
}


def load(name, recipe='', **fields):
    """The config of a recipe, tiny; `fields` are set on it, `__` for a dot."""
    config = configs.load(f'{name}:{recipe}')
    tiny = dict(TINY)
    if 'baseline' in config.method_settings:
        tiny['method_settings.baseline'] = False
    if 'student_widths' in config.method_settings:
        tiny['method_settings.student_widths'] = (4, 4, 4, 4)
    if name == 'rooms':
        tiny |= {'data.train_images': 8, 'data.test_images': 4}
    config.update_from_flattened_dict({**tiny, **{k.replace('__', '.'): v for k, v in fields.items()}})
    return config.lock()


def stages(config, workdir):
    """The stages of a config."""
    return experiment(config, workdir, lambda *what: None).stages


def model(folder, names, widths=small.WIDTHS, seed=0, classes=13, backbone='segnet', network=None, data=None):
    """A model folder with an untrained network; `network`: its settings; `data`: of them, what is not as below."""
    spec = {
        'backbone': backbone,
        'widths': list(widths),
        'network': network or ({'branches': ['main'], 'attention': True} if backbone.endswith('_sd') else {}),
        'tasks': list(names),
        'compute_dtype': 'float32',
        'data': {
            **(data or {}),
            'dataset': 'rooms',
            'height': 32,
            'width': 64,
            'classes': classes,
            'depth_maximum': 8.0,
        },
    }
    built, _ = build_network(spec)
    shapes = jax.eval_shape(lambda key: built.init(key, jnp.zeros((1, 32, 64, 3)), train=False), jax.random.key(seed))
    save_model(folder, spec, small.filled(shapes, seed))
    return str(folder)


def watch(patched):
    """What pictures of networks side by side are drawn from, from now on: task → (what is given, the note)."""
    shown, real = {}, comparing.side_by_side

    def kept(task, given, note, path):
        shown[task.name] = given, note
        return real(task, given, note, path)

    patched.setattr(comparing, 'side_by_side', kept)
    return shown
