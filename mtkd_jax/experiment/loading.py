"""A model folder as something that predicts."""

from pathlib import Path

from mtkd_jax.experiment.models import open_model
from mtkd_jax.inference import Model
from mtkd_jax.places import place


def load(folder: str | Path, *, allow_modules: bool = False) -> Model:
    """The network in a model folder, ready for images: `load('runs/nyuv2/stages/kd_mtl/model').predict('room.png')`.

    Args:
        folder: written by training (WORKDIR/stages/STAGE/model) or by `convert`.
        allow_modules: whether a Python module that the folder names (a backbone or data set of somebody's own) may be
            imported. That runs its code, so a folder from elsewhere is refused unless you say so.

    Raises:
        UserError: it is no model folder, is damaged, or names a module that is not allowed.
    """
    opened = open_model(place(folder), allow_modules=allow_modules)
    data = opened.spec['data']
    return Model(opened.network, opened.tasks, opened.variables, (data['height'], data['width']))
