"""SVHN (Netzer et al. 2011) and Omniglot (Lake et al. 2015) of the Visual Decathlon, made from the user's files."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax import tasks
from mtkd_jax.datasets import base
from mtkd_jax.datasets.flags import SOURCE, Flag
from mtkd_jax.tasks import Task

TITLES = {'svhn': 'SVHN', 'omniglot': 'Omniglot'}
TASKS = tuple(TITLES)
# Pixels: the papers give no size; the challenge's images are 72 on their shorter side. Classes by task (papers.md A4).
DEFAULTS: dict[str, Any] = {'height': 64, 'width': 64, 'partial': False, 'classes': {'svhn': 10, 'omniglot': 1623}}


def _tasks(data: Mapping[str, Any]) -> dict[str, Task]:
    classes = {**DEFAULTS, **data}['classes']
    return base.by_name(*(tasks.classification(name, classes[name], title=TITLES[name]) for name in TASKS))


DATA_SET = base.DataSet(
    name='svhn_omniglot',
    defaults=DEFAULTS,
    task_names=TASKS,
    tasks=_tasks,
    check=lambda data: None,
    flags=(SOURCE, Flag('partial', 'partial', 'Accept less than the official images')),
    per_image=True,
    **base.from_files(__name__),
)
