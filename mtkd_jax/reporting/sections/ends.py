"""The section that says where the losses of distillation end, beside what Li & Bilen (2020) say of theirs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtkd_jax.records import losses_of, read_records, stage_folder
from mtkd_jax.reporting.sections.account import picture
from mtkd_jax.reporting.tables import markdown

CONVERGED = {
    'svhn': (0.137, 0.089),
    'omniglot': (1.492, 0.041),
    'segmentation': (0.027, 0.534),
    'depth': (0.127, 0.381),
    'normals': (0.039, 0.364),
}
"""Task → where the task loss and the distillation loss end on the training set (the text to figures 4 and 5): of SVHN &
Omniglot, and of NYUv2."""

NOTE = (
    "Means over the last recorded steps of training; distillation before λ. The paper's are what its text says "
    'of figures 4 and 5 (SVHN & Omniglot, NYUv2): beside ours they mean something on these data sets and with its '
    "protocol only. A task loss far above the paper's says that training has not converged."
)


def ends(workdir: Path, stages: Sequence[Mapping[str, Any]]) -> str:
    """A row for every task of the stages that distil features; '' where there is none."""
    body = []
    for stage in (stage for stage in stages if stage['method'] == 'kd_mtl'):
        last: Mapping[str, Any] = {}
        for record in read_records(stage_folder(workdir, stage['stage'])):
            last = record if record['split'] == 'train' else last
        for task in stage['tasks']:
            ours = last.get(f'loss/{task}'), last.get(f'distillation/{task}')
            theirs = CONVERGED.get(task, (None, None))
            body.append([stage['stage'], task, *(_number(x) for pair in zip(ours, theirs, strict=True) for x in pair)])
    if not body:
        return ''
    heads = ['stage', 'task', 'task loss', "the paper's", 'distillation', "the paper's"]
    drawn = [picture(workdir, losses_of(stage)) for stage in dict.fromkeys(row[0] for row in body)]
    return '\n\n'.join([markdown(heads, body), NOTE, *filter(None, drawn)])


def _number(value: float | None) -> str:
    return '–' if value is None else f'{value:.3f}'
