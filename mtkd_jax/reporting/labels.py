"""How metrics and losses are called in tables and figures, in which unit, and with how many decimals."""

from typing import NamedTuple

LEGACY = '_per_image_legacy'


class Label(NamedTuple):
    """`title` with `unit` ('' where there is none); `decimals` as in the papers' tables."""

    title: str
    unit: str
    decimals: int

    def __str__(self) -> str:
        return f'{self.title} ({self.unit})' if self.unit else self.title


LABELS = {
    'miou': Label('mIoU', '%', 2),
    'pixel_accuracy': Label('pixel accuracy', '%', 2),
    'depth_abs': Label('depth error', 'm', 4),
    'depth_rel': Label('relative depth error', '', 4),
    'inverse_depth_abs': Label('inverse depth error', '', 4),
    'inverse_depth_rel': Label('relative inverse depth error', '%', 2),
    'normal_mean': Label('normals, mean', '°', 2),
    'normal_median': Label('normals, median', '°', 2),
    'normal_11.25': Label('within 11.25°', '%', 2),
    'normal_22.5': Label('within 22.5°', '%', 2),
    'normal_30': Label('within 30°', '%', 2),
    'svhn_accuracy': Label('SVHN accuracy', '%', 2),
    'omniglot_accuracy': Label('Omniglot accuracy', '%', 2),
    'digits_accuracy': Label('digits accuracy', '%', 2),
    'characters_accuracy': Label('characters accuracy', '%', 2),
    'normal_cosine': Label('normals, mean cosine', '', 4),
    'keypoints_abs': Label('keypoint error', '', 4),
    'edges_abs': Label('edge error', '', 4),
    'loss/segmentation': Label('segmentation loss: cross-entropy', 'nats', 4),
    'loss/depth': Label('depth loss: absolute error', '', 4),
    'loss/normals': Label('normals loss: 1 - cosine', '', 4),
    'loss/keypoints': Label('keypoint loss: absolute error', '', 4),
    'loss/edges': Label('edge loss: absolute error', '', 4),
    'loss/svhn': Label('SVHN loss: cross-entropy', 'nats', 4),
    'loss/omniglot': Label('Omniglot loss: cross-entropy', 'nats', 4),
    'loss/digits': Label('digits loss: cross-entropy', 'nats', 4),
    'loss/characters': Label('characters loss: cross-entropy', 'nats', 4),
    'loss/total': Label('total loss, weighted', '', 4),
}


# Of one task, of a pair, or of a task and a point.
OF_TASKS = {
    'weight': 'task weight, {0}',
    'weighting': 'weighting: {0} {1}',
    'gradient': 'norm of the task gradient, {0}',
    'cosine': 'cosine of task gradients, {0} and {1}',
    'cka': 'CKA with the teacher, {0}, {1}',
}


def label(name: str) -> Label:
    """The label of a metric or loss; one that is not listed is called by its own name."""
    if name.endswith(LEGACY):
        title, unit, decimals = label(name.removesuffix(LEGACY))
        return Label(f'{title}, per-image legacy', unit, decimals)
    if name.startswith('agreement/'):
        task = name.partition('/')[2]
        return Label(f'student and teacher, {task}', 'same class' if task == 'segmentation' else 'L2', 4)
    kind, _, rest = name.partition('/')
    if kind in OF_TASKS:
        return Label(OF_TASKS[kind].format(*rest.split('/'), '').strip(), '', 4)
    if name.startswith('distillation/'):
        return Label(f'distillation, {name.partition("/")[2]}', 'unweighted', 4)
    return LABELS.get(name, Label(name, '', 4))


def arrow(direction: int) -> str:
    """↑ where higher is better (+1), ↓ where lower is (-1)."""
    return '↑' if direction > 0 else '↓'


def number(name: str, value: float | None) -> str:
    """`value` with the decimals of its metric; a dash where there is none (missing, or NaN: nothing was defined)."""
    if value is None or value != value:
        return '–'
    return f'{value:.{label(name).decimals}f}'
