"""The single-task networks that a network is measured against, among all there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtkd_jax.records import by_branch
from mtkd_jax.reporting.conditions import differences, of_stage
from mtkd_jax.reporting.rows import SINGLE, network_of
from mtkd_jax.reporting.told_apart import ABSENT, Settings
from mtkd_jax.types import UserError

# In these, a single-task network is never as a multi-task one is.
OF_SEVERAL = ('method', 'tasks', 'weighting', 'task_weights', 'cache_dtype', 'teacher_dtype', 'modules')


@dataclass(frozen=True)
class Found:
    """A finished stage: its results, its settings by dotted names, the workdirs that have it or a link to it."""

    stage: Mapping[str, Any]
    settings: Settings
    workdirs: list[Path]

    @property
    def name(self) -> str:
        """What a row of it is called."""
        return SINGLE if self.stage['method'] == 'stl' else str(self.stage['stage'])

    @property
    def seed(self) -> Any:
        """None where the results do not say it."""
        return self.stage.get('seed')

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it is trained for."""
        return tuple(self.stage['tasks'])


def base_results(network: Found, branch: str, single: Sequence[Found]) -> dict[str, float] | None:
    """The results that Δm of a branch of `network` is relative to, of all its tasks; None where a task has none.

    A base has the same seed, budget, data, backbone, and settings of the backbone. Of several, the one whose other
    settings differ least from the network's; then the one in the same workdir.

    Raises:
        UserError: several are left.
    """
    merged: dict[str, float] = {}
    for task in network.tasks:
        fitting = [one for one in single if task in one.tasks and _fits(one, network, task)]
        if not fitting:
            return None
        branches = by_branch(_closest(fitting, network, task).stage['results'])
        results = branches.get('', branches.get(branch))
        if results is None:
            return None
        merged |= results
    return merged


def _fits(one: Found, network: Found, task: str) -> bool:
    widths = [k for k in one.settings if k == 'widths' or k.startswith('backbone_settings.')]
    return (
        one.seed == network.seed
        and network_of(one.stage) == network_of(network.stage)
        and all(one.settings[k] == network.settings.get(k, one.settings[k]) for k in widths)
        and not differences({task: of_stage(one.stage)}, {task: of_stage(network.stage)}, [task])
    )


def _closest(fitting: Sequence[Found], network: Found, task: str) -> Found:
    apart = [_differing(one.settings, network.settings) for one in fitting]
    exact = [one for one, count in zip(fitting, apart, strict=True) if count == min(apart)]
    near = [one for one in exact if set(one.workdirs) & set(network.workdirs)] or exact
    if len(near) > 1:
        places = ' and '.join(str(one.workdirs[0]) for one in near)
        raise UserError(f'{places} have different single-task networks of {task} that fit; leave one out.')
    return near[0]


def _differing(a: Settings, b: Settings) -> int:
    """In how many settings a single-task and a multi-task network differ that both could have."""
    names = (name for name in {*a, *b} if name.partition('.')[0].removesuffix('_settings') not in OF_SEVERAL)
    return sum(a.get(name, ABSENT) != b.get(name, ABSENT) for name in names)
