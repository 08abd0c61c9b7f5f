"""How a step would scale over 1 to 256 chips, by arithmetic: nothing is measured, and no accelerator is needed.

    python -m benchmarks.scaling [--recipes=nyuv2:method=kd_mtl,...] [--chips=1,8,64,256] [--batch=8]
        [--global_batch=256] [--share=0.3] [--latency_us=10]

Prints one JSON object, and below it two Markdown tables: the bytes of a step and their time on every link, and the
efficiency of every step by kind and number of chips, where every chip takes `batch` images (the global batch grows),
and where all take `global_batch` images together (as `config.batch_size` does).

- Operations of a step: as XLA counts them before it optimises, at the recipe's size, in proportion to the images. Chips
  compute at `share` of their peak in bfloat16; which share is reached was not measured.
- Bytes: of the gradients in float32 (`exchanged`), counted from the shapes of the parameters, as compiled programs show
  them (tests/training/test_collectives.py).
- Time of an all-reduce of B bytes: a chip sends 2 B (n − 1)/n over its links in one direction. A TPU slice below a
  whole pod is taken for a mesh, whose corners have two of the four links. Beyond a node, GPUs first reduce within it,
  then each an eighth of the bytes between nodes.
- Batch normalisation waits for four small sums a layer, two forward and two in every pass back, `latency_us` each: a
  guess. Nothing else overlaps, so the efficiency is a lower bound for these shares and links: computing ÷ (computing +
  reducing + waiting). XLA may send gradients while it computes others.
"""

import functools
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict

from benchmarks.ours import EPOCH, EPOCHS, operations
from mtkd_jax import command, configs, datasets
from mtkd_jax.data.examples import first_examples
from mtkd_jax.datasets.blank import blank
from mtkd_jax.experiment import balance
from mtkd_jax.experiment.checks import check
from mtkd_jax.experiment.plans import plans, tasks_of
from mtkd_jax.reporting.tables import markdown
from mtkd_jax.training import optimizer
from mtkd_jax.training.state import state_maker
from mtkd_jax.training.step import train_step
from mtkd_jax.types import UserError

FLOAT = 4  # bytes
MEGA, GIGA, TERA = 1e6, 1e9, 1e12
MILLI, MICRO = 1e-3, 1e-6


@dataclass(frozen=True)
class Chip:
    """What its vendor says of a chip.

    Attributes:
        peak: operations per second in bfloat16, without sparsity.
        links: bytes per second that it sends to chips of its node or slice.
        node: how many chips are joined by `links`.
        network: bytes per second that it sends to other nodes.
        mesh: below `node` chips, only half of the links join it to others.
    """

    name: str
    peak: float
    links: float
    node: int
    network: float = math.inf
    mesh: bool = False

    def seconds(self, count: int, size: float) -> float:
        """Of an all-reduce of `size` bytes over `count` chips."""
        within = min(count, self.node)
        links = self.links / 2 if self.mesh and count < self.node else self.links
        nodes = count / within
        return 2 * size * ((within - 1) / within / links + (nodes - 1) / nodes / within / self.network)


CHIPS = (
    Chip('TPU v5e', 197 * TERA, 200 * GIGA, 256, mesh=True),
    Chip('TPU v6e', 918 * TERA, 400 * GIGA, 256, mesh=True),
    Chip('H100 SXM', 989 * TERA, 450 * GIGA, 8, network=50 * GIGA),
)

RECIPES = flags.DEFINE_list(
    'recipes',
    [
        'nyuv2:method=uniform',
        'nyuv2:method=kd_mtl',
        'nyuv2:method=mgda',
        'nyuv2:method=sd_mtcnn',
        'nyuv2:method=uniform+backbone=mtan',
        'svhn_omniglot:method=kd_mtl',
    ],
    'Recipes, with + for the commas in them.',
)
COUNTS = flags.DEFINE_list('chips', ['1', '8', '64', '256'], 'Numbers of chips.')
BATCH = flags.DEFINE_integer('batch', 8, 'Images a chip.', allow_override=True)
SHARE = flags.DEFINE_float('share', 0.3, 'Share of the peak that chips compute at.', 0, 1)
GLOBAL = flags.DEFINE_integer('global_batch', 256, 'Images of all chips, where their number does not change them.')
LATENCY = flags.DEFINE_float('latency_us', 10, 'Microseconds of a small all-reduce.', 0)


@dataclass(frozen=True)
class Step:
    """What a step costs.

    Attributes:
        parameters: numbers that are trained.
        exchanged: numbers that are summed over the devices (`exchanged`).
        waits: small all-reduces that computing waits for.
        operations: of `images` images.
    """

    parameters: int
    exchanged: int
    waits: int
    operations: float
    images: int

    def seconds(self, chip: Chip, images: float, share: float) -> float:
        """Of computing so many images."""
        return self.operations * images / self.images / (share * chip.peak)

    def efficiency(self, chip: Chip, count: int, images: float, share: float, latency: float) -> float:
        """Of `count` chips that take `images` images each; see the head of this file."""
        computing = self.seconds(chip, images, share)
        waiting = self.waits * latency if count > 1 else 0.0
        return computing / (computing + chip.seconds(count, FLOAT * self.exchanged) + waiting)


def passes_of(method: Any, weighting: Any, gramian_of: str) -> tuple[int, int]:
    """(backward passes through the shared parameters, through heads that are one convolution)."""
    if weighting.needs == 'losses' or gramian_of == 'features':
        return 1, 1
    tasks = len(method.tasks)
    return tasks + (1 if hasattr(method, 'weights') else 0), tasks


def exchanged(method: Any, variables: Any, weighting: Any, gramian_of: str) -> int:
    """How many numbers of a step are summed over the devices; of variables, or their shapes.

    A gradient of the shared parameters and two sums a normalised channel for every backward pass, two such sums
    forward, the gradients of tasks' own parameters once, and the Gramian where it is one of features. Of a head it is
    the gradient of one kernel, the product of its two (`models.blocks.Head`).
    """
    shared_passes, head_passes = passes_of(method, weighting, gramian_of)
    if getattr(method.network, 'SHARED_FEATURE', None) != 'last':
        head_passes = 1
    total, heads = 0, 0
    for keys, leaf in jax.tree_util.tree_flatten_with_path(variables['params'])[0]:
        path = tuple(key.key for key in keys)
        parent = functools.reduce(lambda tree, part: tree[part], path[:-2], variables['params'])
        if set(parent) != {'conv', 'out'}:
            total += leaf.size * (shared_passes if method.shared(path) and path[0] == 'network' else 1)
        elif path[-2:] == ('out', 'kernel'):
            heads += (math.prod(parent['conv']['kernel'].shape[:-1]) + 1) * leaf.shape[-1]
    channels = sum(leaf.size for leaf in jax.tree.leaves(variables['batch_stats'])) // 2
    products = len(method.tasks) ** 2 if gramian_of == 'features' else 0
    return total + head_passes * heads + 2 * channels * (1 + shared_passes) + products


def step_of(config: ConfigDict) -> Step:
    """Of the config's last stage."""
    data, planned = config.data.to_dict(), plans(config)
    plan: Any = planned[-1]
    offered = list(tasks_of(config))
    has_pools = datasets.named(config.data.dataset).per_image
    counts = {task.name: config.batch_size for task in offered} if has_pools else config.batch_size
    source = blank(data, offered, counts).sources['train']
    batch = first_examples(source, plan.method.tasks, config.batch_size)
    weighting, gramian_of = balance.maker(config, plan.balance)(EPOCH), balance.gramian_of(config)
    # Which optimiser follows costs next to nothing beside a network.
    updates = optimizer.OPTIMIZERS['adam'](lambda step: 1e-4)
    state = jax.eval_shape(state_maker(plan.method, weighting, updates, batch.image.shape), jax.random.key(0))
    methods = {plan.name: plan.method for plan in planned}
    frozen = {key: _shapes(methods[stage], batch.image.shape) for key, stage in plan.teachers.items()}
    step = train_step(plan.method, weighting, updates, EPOCHS * EPOCH, gramian_of)
    passes, _ = passes_of(plan.method, weighting, gramian_of)
    layers = len(jax.tree.leaves(state.batch_stats)) // 2
    return Step(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        exchanged=exchanged(plan.method, state.variables, weighting, gramian_of),
        waits=2 * layers * (1 + passes),
        operations=operations(step, (state, frozen, batch)),
        images=config.batch_size,
    )


def _shapes(method: Any, shape: tuple[int, ...]) -> Any:
    return jax.eval_shape(lambda: method.network_variables(method.init(jax.random.key(0), jnp.zeros(shape))))


def bytes_table(steps: dict[str, Step]) -> str:
    """A row for every step: its parameters, its bytes, and the milliseconds of their all-reduce on some links."""
    places = [(chip, count) for chip in CHIPS for count in (8, 256)]
    heads = ['step', 'parameters', 'MB reduced', *(f'{chip.name} ×{count} (ms)' for chip, count in places)]
    body = []
    for name, step in steps.items():
        size = FLOAT * step.exchanged
        times = [f'{chip.seconds(count, size) / MILLI:.2f}' for chip, count in places]
        body.append([name, f'{step.parameters:,}', f'{size / MEGA:.1f}', *times])
    return markdown(heads, body)


def efficiencies(step: Step, chip: Chip, counts: Sequence[int]) -> dict[str, dict[int, float]]:
    """By number of chips, where the global batch grows with them, and where it does not; see the head of this file."""
    given = SHARE.value, LATENCY.value * MICRO
    return {
        'growing': {n: round(step.efficiency(chip, n, BATCH.value, *given), 3) for n in counts},
        'constant': {n: round(step.efficiency(chip, n, GLOBAL.value / n, *given), 3) for n in counts},
    }


def efficiency_table(steps: dict[str, Step], counts: Sequence[int]) -> str:
    """A row for every step and chip: milliseconds of computing, and the efficiencies by number of chips."""
    several = [count for count in counts if count > 1]
    heads = ['step', 'chip', '10¹² operations an image', f'{BATCH.value} images (ms)']
    heads += [f'{words} ×{n}' for words in (f'{BATCH.value} each', f'{GLOBAL.value} in all') for n in several]
    body = []
    for (name, step), chip in itertools.product(steps.items(), CHIPS):
        found = efficiencies(step, chip, several)
        shares = [f'{100 * found[kind][n]:.0f} %' for kind in found for n in several]
        computing = f'{step.seconds(chip, BATCH.value, SHARE.value) / MILLI:.3g}'
        body.append([name, chip.name, f'{step.operations / step.images / TERA:.3g}', computing, *shares])
    return markdown(heads, body)


def measure() -> None:
    """Counts, prints."""
    if not all(count.isdecimal() and int(count) for count in COUNTS.value):
        raise UserError(f'`chips` is {",".join(COUNTS.value)}; give numbers above 0, such as 1,8,64,256.')
    counts = [int(count) for count in COUNTS.value]
    if min(BATCH.value, GLOBAL.value) < 1 or not SHARE.value:
        raise UserError('`batch`, `global_batch` and `share` must be above 0.')
    steps = {}
    for recipe in RECIPES.value:
        config = configs.load(recipe.replace('+', ','))
        config.batch_size = BATCH.value
        check(config)
        dataset, _, chosen = recipe.partition(':')
        name = chosen.replace('method=', '').replace('+backbone=', ', ')
        steps[name if dataset == 'nyuv2' else f'{name}, {dataset}'] = step_of(config)
    found = {
        name: {
            'parameters': step.parameters,
            'bytes': FLOAT * step.exchanged,
            'waits': step.waits,
            'operations_per_image': step.operations / step.images,
            'efficiency': {chip.name: efficiencies(step, chip, counts) for chip in CHIPS},
        }
        for name, step in steps.items()
    }
    given = {'images_a_chip': BATCH.value, 'global_batch': GLOBAL.value, 'share_of_peak': SHARE.value}
    print(json.dumps({'jax': jax.__version__, **given, 'latency_us': LATENCY.value, 'steps': found}, indent=1))
    print(bytes_table(steps))
    print()
    print(efficiency_table(steps, counts))


if __name__ == '__main__':
    command.start(measure)
