"""Predicts for images: `python -m mtkd_jax.predict --model=DIR --inputs=a.png,b.png --out=DIR [--save=npz]`."""

from typing import Any

from absl import flags

from mtkd_jax import command
from mtkd_jax.places import local, place

MODEL = flags.DEFINE_string('model', None, 'A model folder.', allow_override=True)
INPUTS = flags.DEFINE_list(
    'inputs',
    [],
    "Image files, folders of them, or patterns, resized to the model's size, or one .npz with `image` [n h w 3].",
    allow_override=True,
)
OUT = flags.DEFINE_string('out', None, 'Folder for the pictures.', allow_override=True)
BRANCH = flags.DEFINE_string(
    'branch',
    None,
    'Only this branch of a self-distilled network (teacher, student or ensemble); the others are not computed.',
    allow_override=True,
)
SAVE = flags.DEFINE_enum(
    'save',
    'pictures',
    ['pictures', 'npz'],
    'npz: also predictions.npz, arrays by task, and `names`.',
    allow_override=True,
)
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
    from mtkd_jax.experiment.predictions import predict

    npz, allowed = SAVE.value == 'npz', ALLOW_MODULES.value
    print(predict(model, INPUTS.value, out, branch=BRANCH.value, npz=npz, allow_modules=allowed))


if __name__ == '__main__':
    command.start(main)
