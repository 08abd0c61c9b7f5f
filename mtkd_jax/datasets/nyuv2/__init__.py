"""NYU-Depth V2 (Silberman et al. 2012): indoor scenes, 795 to train and 654 to test, made from the user's files."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax import tasks
from mtkd_jax.datasets import base
from mtkd_jax.datasets.flags import SOURCE
from mtkd_jax.datasets.nyuv2.files import class_names
from mtkd_jax.tasks import Task

# Pixels (papers.md A4), metres.
DEFAULTS: dict[str, Any] = {'height': 288, 'width': 384, 'classes': 13, 'depth_maximum': 10.0}


def _tasks(data: Mapping[str, Any]) -> dict[str, Task]:
    full = {**DEFAULTS, **data}
    return base.by_name(
        tasks.segmentation(full['classes'], base.known(class_names(), full['classes'])),
        tasks.depth(full['depth_maximum']),
        tasks.normals(),
    )


DATA_SET = base.DataSet(
    name='nyuv2',
    defaults=DEFAULTS,
    task_names=('segmentation', 'depth', 'normals'),
    tasks=_tasks,
    check=lambda data: None,
    flags=(SOURCE,),
    free=('depth_maximum',),
    **base.from_files(__name__),
)
