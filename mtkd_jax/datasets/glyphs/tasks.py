"""The tasks of glyphs."""

from collections.abc import Mapping
from typing import Any

from mtkd_jax.datasets.base import known
from mtkd_jax.datasets.glyphs import DEFAULTS, TASKS
from mtkd_jax.datasets.glyphs.classes import CHARACTERS, DIGITS
from mtkd_jax.tasks import Task, classification


def tasks(data: Mapping[str, Any]) -> tuple[Task, ...]:
    """What it offers, for `DataSet.tasks`."""
    classes = {**DEFAULTS, **data}['classes']
    # Fewer characters are the first of all.
    names = {'digits': DIGITS, 'characters': CHARACTERS[: classes['characters']]}
    return tuple(classification(name, classes[name], known(names[name], classes[name])) for name in TASKS)
