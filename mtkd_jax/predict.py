"""Predicts for images, any number of them.

python -m mtkd_jax.predict --model=DIR --inputs=a.png,FOLDER,'*.jpg' --out=DIR [--save=side_by_side] [--at=input]
"""

import sys
from typing import Any

from absl import flags

from mtkd_jax import command
from mtkd_jax.errors import UserError
from mtkd_jax.places import local, place
from mtkd_jax.training.stop import StoppedError, StopRequest

MODEL = flags.DEFINE_string('model', None, 'A model folder.', allow_override=True)
INPUTS = flags.DEFINE_list(
    'inputs',
    [],
    "Image files, folders of them, or patterns, resized to the model's size, or one .npz with `image` [n h w 3].",
    allow_override=True,
)
RECURSIVE = flags.DEFINE_bool(
    'recursive', False, 'Of folders, also the images in their sub-folders; names keep these.', allow_override=True
)
OUT = flags.DEFINE_string('out', None, 'Folder for what is written.', allow_override=True)
SAVE = flags.DEFINE_list(
    'save',
    ['pictures'],
    'What to write: pictures (NAME_TASK.png), side_by_side (NAME.png: the image beside all tasks, with legends), npz '
    '(predictions.npz: arrays by task, and `names`); several with commas.',
    allow_override=True,
)
AT = flags.DEFINE_enum(
    'at',
    'network',
    ['network', 'input'],
    "The size of predictions: the network's, or each image's own (arrays are then NAME.npz).",
    allow_override=True,
)
BRANCH = flags.DEFINE_string(
    'branch',
    None,
    'Only this branch of a self-distilled network (teacher, student or ensemble); the others are not computed.',
    allow_override=True,
)
BATCH_SIZE = flags.DEFINE_integer('batch_size', 8, 'Images at a time.', lower_bound=1, allow_override=True)
ALLOW_MODULES = flags.DEFINE_bool(
    'allow_modules',
    False,
    "Import a Python module that the model folder names (somebody's own backbone or data set), which runs its code.",
    allow_override=True,
)


def __getattr__(name: str) -> Any:
    """The command's functions. They are elsewhere, because they import what `--help` does without."""
    from mtkd_jax.experiment import predictions

    return getattr(predictions, name)


def main() -> None:
    """Reads, predicts, writes, and says what was written."""
    model = place(command.value(MODEL))
    out = local(command.value(OUT), 'out', 'pictures are written to files')
    for pattern in INPUTS.value:
        local(pattern, 'inputs', 'images are read from files')
    from mtkd_jax.experiment.predictions import Options, predict

    options = Options(BRANCH.value, SAVE.value, AT.value, RECURSIVE.value, BATCH_SIZE.value, ALLOW_MODULES.value)
    with StopRequest() as stop:
        try:
            print(predict(model, INPUTS.value, out, options))
        except (UserError, StoppedError) as error:
            if not stop.requested:
                raise
            said = error if isinstance(error, UserError) else 'Interrupted.'
            print(f'error: {said}', file=sys.stderr)
            sys.exit(stop.status)


if __name__ == '__main__':
    command.start(main)
