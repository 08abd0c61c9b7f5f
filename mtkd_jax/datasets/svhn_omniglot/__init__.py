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


def _builder() -> Any:
    # Not before it is needed: tensorflow-datasets takes seconds to import.
    from mtkd_jax.datasets.svhn_omniglot import builder

    return builder


DATA_SET = base.DataSet(
    name='svhn_omniglot',
    defaults=DEFAULTS,
    task_names=TASKS,
    tasks=_tasks,
    check=lambda data: None,
    open=lambda data, data_dir: _builder().opened(data, data_dir),
    ready=lambda data, data_dir, progress: _builder().opened(data, data_dir),
    prepare=lambda data, how: _builder().prepared(data, how),
    flags=(SOURCE, Flag('partial', 'partial', 'Accept less than the official images')),
    per_image=True,
)
