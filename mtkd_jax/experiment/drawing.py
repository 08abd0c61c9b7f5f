"""The pictures of a workdir: curves, and predictions beside the truth."""

from pathlib import Path
from typing import Any

import numpy as np

from mtkd_jax.data.pipeline import first_examples
from mtkd_jax.experiment.columns import columns, places
from mtkd_jax.experiment.comparing import Drawn
from mtkd_jax.experiment.comparing import draw as compare
from mtkd_jax.experiment.models import open_model
from mtkd_jax.experiment.plans import model_spec
from mtkd_jax.experiment.stages import Experiment
from mtkd_jax.files import read_json, write_json
from mtkd_jax.inference import make_predictor
from mtkd_jax.records import COMPARED, MODEL, RESULTS, stage_folder
from mtkd_jax.reporting.curves import draw_losses, draw_workdir
from mtkd_jax.reporting.panels import prediction_panel
from mtkd_jax.training.given import GivenTeacher
from mtkd_jax.training.programs import Compile, Program
from mtkd_jax.training.stop import StopRequest
from mtkd_jax.types import UserError


def draw(made: Experiment, compiled: Compile, stop: StopRequest) -> None:
    """Draws all there is to draw of a workdir whose stages are finished."""
    for stage in made.stages:
        if not isinstance(stage, GivenTeacher):
            draw_panel(stage.name, made, compiled)
    draw_workdir(made.workdir, made.tasks)
    last = made.stages[-1]
    if not isinstance(last, GivenTeacher):
        draw_losses(made.workdir, last.name, last.method.tasks)
    if made.config.panel_images:
        _draw_compared(made, compiled, stop)


def _draw_compared(made: Experiment, compiled: Compile, stop: StopRequest) -> None:
    """Draws all networks of the workdir side by side where one has several tasks: again where one is newer, another
    decides or a picture is missing. Removes pictures that are no longer drawn.
    """
    given = {stage.name: stage.folder for stage in made.stages if isinstance(stage, GivenTeacher)}
    names = [task.name for task in made.tasks]
    found = places(made.workdir, names, given)
    if all(place.method == 'stl' for place in found):
        found = []
    # The last decides which images are shown: what this run is about.
    found.sort(key=lambda place: place.stage == made.stages[-1].name)
    written = [[place.stage, (stage_folder(made.workdir, place.stage) / RESULTS).stat().st_mtime_ns] for place in found]
    folder = made.workdir / 'figures'
    file = folder / f'{COMPARED}.json'
    before = _drawn(file)
    if not (found or before):
        return
    state, old = {'tasks': names, 'results': written}, before.get('pictures', [])
    if before == {**state, 'pictures': old} and all((folder / name).is_file() for name in old):
        return
    own: Any = made.config.backbone, made.config.data.dataset
    shown = columns(found, model_spec(made.config, names, {})['data'], own)
    pictures = [path.name for path in compare(shown, Drawn(made.data.test, made.tasks, compiled, stop, own), folder)]
    for path in folder.glob(f'{COMPARED}_*.png'):
        if path.name in old and path.name not in pictures:
            path.unlink()
    write_json(file, {**state, 'pictures': pictures})


def _drawn(file: Path) -> dict[str, Any]:
    """What pictures were drawn from, and their names; {} where that is not known. A damaged file is as good as none."""
    try:
        content = read_json(file, f'remove {file}') if file.is_file() else {}
    except UserError:
        return {}
    return content if isinstance(content.get('pictures'), list) else {}


def draw_panel(stage: str, made: Experiment, compiled: Compile) -> None:
    """Draws truth and predictions of a finished stage for the first test images, once."""
    config, workdir = made.config, made.workdir
    images: Any = config.panel_images
    file, results = workdir / 'figures' / f'{stage}.png', stage_folder(workdir, stage) / RESULTS
    # A stage that was removed and trained again has newer results than its old picture.
    if images == 0 or (file.exists() and file.stat().st_mtime_ns >= results.stat().st_mtime_ns):
        return
    own = config.backbone, config.data.dataset
    opened = open_model(stage_folder(workdir, stage) / MODEL, allow_modules=own)
    source = made.data.test.source
    batch = first_examples(source, opened.tasks, min(images, len(source)))
    image = np.asarray(batch.image)
    predict = make_predictor(opened.network, opened.variables, made=lambda jitted: Program(jitted, compiled))
    prediction_panel(
        images=image,
        truths={name: np.asarray(target.value) for name, target in batch.targets.items()},
        masks={name: np.asarray(target.mask) for name, target in batch.targets.items()},
        predictions=predict(image),
        tasks=opened.tasks,
        path=file,
        title=stage,
    )
