"""A study: several recipes, each with several seeds, in one folder. Equal stages are trained once, by any number of
processes that work in the folder at the same time."""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from mtkd_jax.datasets import Progress
from mtkd_jax.experiment.stages import Experiment, Opened, experiments
from mtkd_jax.places import local
from mtkd_jax.records import RESULTS, STAGES, stage_folder
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.lock import free
from mtkd_jax.training.run import finished_results
from mtkd_jax.training.stage import Stage
from mtkd_jax.training.stop import NonFiniteLossError, StoppedError, StopRequest
from mtkd_jax.types import UserError

RUNS = 'runs'
POLL_SECONDS = 1.0

Train = Callable[[Experiment, Stage | GivenTeacher], None]


@dataclass(frozen=True)
class Job:
    """A stage that is trained once: `place` is its folder; the others that want it have a link to that."""

    place: Path
    experiment: Experiment
    stage: Stage | GivenTeacher

    @property
    def finished(self) -> bool:
        """Whether it has results."""
        return (self.place / RESULTS).is_file()

    @property
    def ready(self) -> bool:
        """Whether all its teachers are trained."""
        teachers = {} if isinstance(self.stage, GivenTeacher) else self.stage.teachers
        return all(path.is_dir() and _is_whole(path) for path in teachers.values())


def _is_whole(model: Path) -> bool:
    """Whether the stage that writes the model folder has ended; a given model folder has no stage."""
    stage = model.parent
    return (stage / RESULTS).is_file() or stage.parent.name != STAGES


class Study:
    """The runs of several configs.

    Each run is a workdir, `FOLDER/runs/NAME` or, of several seeds, `FOLDER/runs/NAME/seedN`: reports, models and
    `compare` work there as in any other. Its stages are links into `FOLDER/stages`, where a stage is called by its name
    and a digest of its settings.

    Args:
        folder: keeps everything.
        configs: name → config, `seeds` among its fields.
        progress: is told of examples that are rendered first.
        opened: has the data.

    Raises:
        UserError: a config does not fit, or a stage there is damaged.
    """

    def __init__(
        self, folder: Path, configs: Mapping[str, ConfigDict], progress: Progress, opened: Opened | None = None
    ) -> None:
        self.folder = local(folder, 'workdir', 'a search or study shares stages by links, which stores do not have')
        opened = opened or Opened()
        self.runs: dict[str, list[Experiment]] = {
            name: experiments(config, folder / RUNS / name, progress, opened) for name, config in configs.items()
        }
        self.jobs = self._jobs()

    def _jobs(self) -> list[Job]:
        """Every stage once, seed by seed: after the first seed there is something of every run."""
        found: dict[Path, Job] = {}
        most = max(map(len, self.runs.values()), default=0)
        by_seed = [made[i] for i in range(most) for made in self.runs.values() if i < len(made)]
        for one in by_seed:
            for stage in one.stages:
                place = self.folder / STAGES / f'{stage.name}.{_digest(stage)}'
                found.setdefault(place, Job(place, one, stage))
        return list(found.values())

    def link(self) -> None:
        """Makes the folders of all runs, with a link for every stage."""
        for made in self.runs.values():
            for one in made:
                for stage in one.stages:
                    _link(
                        stage_folder(one.workdir, stage.name), self.folder / STAGES / f'{stage.name}.{_digest(stage)}'
                    )

    def train(self, train: Train, stop: StopRequest) -> list[NonFiniteLossError]:
        """Trains what is not finished, and returns the errors of stages whose losses were not finite.

        A stage that another process trains is left to it. Returns when all stages are finished, but those that failed
        and those they should have taught.

        Raises:
            StoppedError: a stop was requested.
        """
        self.link()
        for job in self.jobs:
            finished_results(job.experiment.workdir, job.stage.name, job.stage.settings)
        failed: dict[Path, NonFiniteLossError] = {}
        while left := [job for job in self.jobs if not job.finished and job.place not in failed]:
            if stop.requested:
                raise StoppedError('Stopped on request; what is finished is saved. Run the same command to continue.')
            ready = [job for job in left if job.ready]
            mine = next((job for job in ready if free(job.place)), None)
            if mine is not None:
                try:
                    train(mine.experiment, mine.stage)
                except NonFiniteLossError as error:
                    failed[mine.place] = error
            elif ready:
                time.sleep(POLL_SECONDS)
            else:
                break
        return list(failed.values())


def _digest(stage: Stage | GivenTeacher) -> str:
    return hashlib.sha256(json.dumps(stage.settings, sort_keys=True).encode()).hexdigest()[:10]


def _link(link: Path, place: Path) -> None:
    """Makes `link` lead to `place`, relative, so that the study can be moved."""
    place.mkdir(parents=True, exist_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(place, link.parent)
    if link.is_symlink() and os.readlink(link) == target:
        return
    if link.is_dir() and not link.is_symlink():
        raise UserError(f'{link} is a stage of a run of its own; give the study another folder, or remove that one.')
    if link.is_symlink() and link.is_dir() and not free(link.resolve()):
        raise UserError(
            f'{link} is being trained with other settings by another process; wait for its end, or give the study '
            'another folder.'
        )
    # Not among the stages, where a folder of any name is one.
    fresh = link.parent.parent / f'{link.name}.{secrets.token_hex(4)}.tmp'
    fresh.symlink_to(target, target_is_directory=True)
    fresh.replace(link)
