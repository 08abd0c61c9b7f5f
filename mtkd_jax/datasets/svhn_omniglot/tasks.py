"""The tasks of SVHN & Omniglot."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax.datasets.svhn_omniglot import DEFAULTS, TASKS, TITLES
from mtkd_jax.tasks import Task, classification


def tasks(data: Mapping[str, Any]) -> tuple[Task, ...]:
    """What it offers, for `DataSet.tasks`."""
    classes = {**DEFAULTS, **data}['classes']
    return tuple(classification(name, classes[name], title=TITLES[name]) for name in TASKS)
