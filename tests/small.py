"""A tiny data set, network and stage: everything training needs, in seconds."""

import functools
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtkd_jax import distill, tasks, weighting
from mtkd_jax.data.pipeline import Split
from mtkd_jax.methods.kd_mtl import KDMTL
from mtkd_jax.training import optimizer, sharding
from mtkd_jax.training.folder import save_model
from mtkd_jax.training.selection import rule_named
from mtkd_jax.training.stage import Cadence, Stage, StageData
from tests import shallow

TASKS = (tasks.segmentation(5), tasks.depth(), tasks.normals())
NAMES = tuple(task.name for task in TASKS)
WIDTHS = (4, 4, 4, 4, 4)
SIZE = (32, 32)
SPEC = {'backbone': 'tests.shallow', 'tasks': list(NAMES), 'compute_dtype': 'float32', 'data': {}, 'network': {}}


def source(count: int, seed: int = 0, size: tuple[int, int] = SIZE) -> list[dict[str, np.ndarray]]:
    """`count` examples in the stored form; a tenth of every target is undefined."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        image = rng.uniform(size=(*size, 3)).astype(np.float32)
        normals = rng.standard_normal((*size, 3))
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        undefined = rng.uniform(size=(*size, 1)) < 0.1
        examples.append(
            {
                'image': image,
                'segmentation': np.where(undefined, -1, (image[..., :1] * 5).astype(np.int8)).astype(np.int8),
                'depth': np.where(undefined, 0, 1 + 3 * image[..., 1:2]).astype(np.float32),
                'normals': np.where(undefined, 0, normals).astype(np.float32),
            }
        )
    return examples


def split(count: int, batch_size: int = 8, seed: int = 0, chosen=TASKS) -> Split:
    return Split(source(count, seed), tuple(chosen), batch_size)


def network(chosen=TASKS, dtype=None) -> shallow.Backbone:
    return shallow.Backbone(tuple(chosen), WIDTHS, dtype)


def kd_mtl(points=('mid', 'last'), teacher_batch_stats=False, weights=(1.0, 1.0, 2.0), dtype=None) -> KDMTL:
    return KDMTL(
        network=network(dtype=dtype),
        tasks=TASKS,
        adaptors=distill.Adaptors(NAMES, points, dtype),
        teachers={name: network((), dtype) for name in NAMES},
        points=points,
        weights=dict(zip(NAMES, weights, strict=True)),
        teacher_batch_stats=teacher_batch_stats,
    )


def teacher_variables(seed: int) -> dict:
    return network(()).init(jax.random.key(seed), jnp.zeros((1, *SIZE, 3)), train=False)


@functools.cache
def frozen() -> dict:
    """The teachers' variables, by task; computed by the first test that asks."""
    return {name: teacher_variables(i) for i, name in enumerate(NAMES)}


def stage(
    folder: Path,
    method=None,
    epochs=2,
    selection='last',
    checkpoint_every=0,
    train=None,
    validation=None,
    diagnose_every=0,
    augment='none',
):
    """A KD-MTL stage with teachers written under `folder`."""
    method = method or kd_mtl()
    teachers = {}
    if isinstance(method, KDMTL):
        for i, name in enumerate(NAMES):
            teachers[name] = folder / f'teacher_{name}'
            save_model(teachers[name], SPEC, teacher_variables(i))
    return Stage(
        name='kd_mtl',
        method=method,
        weighting=lambda steps: weighting.uniform(),
        optimizer=lambda epoch, end: make_optimizer(1e-3, [1.0], epoch, 1e-2, 5e-4),
        networks={'main': method.network},
        data=StageData(train or split(32), split(10, seed=1), validation),
        cadence=Cadence(epochs, 1, 2, 1, checkpoint_every, rule_named(selection), diagnose_every),
        seed=3,
        teachers=teachers,
        settings={'epochs': epochs, 'method': 'kd_mtl'},
        model_spec=SPEC,
        facts={'method': 'kd_mtl'},
        augment=augment,
        rate=lambda epoch, end: lambda step: step / end,
    )


def make_optimizer(rate, halve_at_epochs, steps_per_epoch, adaptor_rate=1e-2, adaptor_l2=5e-4, **schedule):
    """Adam, halved, for the network; the adaptors' own for adaptors."""
    steps = functools.partial(optimizer.steps, rate, halve_at_epochs=halve_at_epochs, **schedule)
    adaptors = optax.chain(optax.add_decayed_weights(adaptor_l2), optax.adam(adaptor_rate))
    return optimizer.make_optimizer(optimizer.adam, steps, steps_per_epoch, 1000, {'adaptors': adaptors})


class Records(list):
    """A writer that keeps records in memory."""

    def write(self, record):
        self.append(record)


class Silent:
    """A progress that keeps only messages."""

    def __init__(self):
        self.messages = []

    def update(self, step, losses, images_per_second):
        pass

    def message(self, text):
        self.messages.append(text)


@contextmanager
def as_context(thing):
    yield thing


def mesh(devices: int = 1):
    return sharding.make_mesh(devices)


def train(loop, records=None):
    """Runs `loop` and returns its last state."""
    records = Records() if records is None else records
    return loop(lambda start: as_context(records), lambda start: as_context(Silent()))


def losses(method, variables, frozen, batch):
    """The method's losses, its teachers asked first."""
    return method.losses(variables, method.teach(frozen, batch.image), batch)


def filled(shapes, seed=0):
    """Random variables of these shapes, which nothing is compiled for."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if getattr(path[-1], 'key', '') in ('scale', 'var'):
            return jnp.ones(leaf.shape)
        values = rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)
