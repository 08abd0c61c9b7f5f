"""A trained network as a program: `python -m mtkd_jax.export --model=DIR --branch=student --format=onnx --out=FILE`."""

import sys
from typing import Any

from absl import flags

from mtkd_jax import command
from mtkd_jax.errors import UserError
from mtkd_jax.exporting import formats
from mtkd_jax.places import place

MODEL = flags.DEFINE_string('model', None, 'A model folder.', allow_override=True)
OUT = flags.DEFINE_string('out', None, 'The file to write.', allow_override=True)
FORMAT = flags.DEFINE_enum(
    'format',
    'stablehlo',
    [*formats.FORMATS, 'tflite'],  # the last is answered with what to do instead
    'stablehlo: of jax.export, for CPUs, CUDA and TPUs, and FILE.json beside it; onnx: in float32 (extra onnx).',
    allow_override=True,
)
BRANCH = flags.DEFINE_string(
    'branch',
    None,
    'Only this branch of a self-distilled network (teacher, student or ensemble).',
    allow_override=True,
)
SIZE = flags.DEFINE_string(
    'size',
    None,
    'Height × width of the images, such as 288x384. Without it any, where the network allows that.',
    allow_override=True,
)
BATCH = flags.DEFINE_integer(
    'batch', None, 'How many images at a time. Without it any.', lower_bound=1, allow_override=True
)
INT8 = flags.DEFINE_bool(
    'int8',
    False,
    'Convolutions in 8 bits (onnx); says what that loses in every metric on the prepared test split.',
    allow_override=True,
)
DATA_DIR = flags.DEFINE_string(
    'data_dir',
    None,
    'Of --int8: where prepared data lie; default $TFDS_DATA_DIR or ~/tensorflow_datasets.',
    allow_override=True,
)
SPLIT = flags.DEFINE_string(
    'split', 'train', 'Of --int8: the split whose images say which values occur.', allow_override=True
)
CALIBRATION_IMAGES = flags.DEFINE_integer(
    'calibration_images', 64, 'Of --int8: how many of them.', lower_bound=1, allow_override=True
)
ALLOW_MODULES = flags.DEFINE_bool(
    'allow_modules',
    False,
    "Import a Python module that the model folder names (somebody's own backbone or data set), which runs its code.",
    allow_override=True,
)


sys.modules[__name__].__class__ = command.Function


def __getattr__(name: str) -> Any:
    """The command's functions. They are elsewhere, because they import what `--help` does without."""
    from mtkd_jax.experiment import exporting

    return getattr(exporting, name)


def main() -> None:
    """Exports, checks, writes, and says what was written."""
    model = place(command.value(MODEL))
    out = command.value(OUT)
    formats.check(FORMAT.value, INT8.value)
    alone = [flag.name for flag in (DATA_DIR, SPLIT, CALIBRATION_IMAGES) if flag.present and not INT8.value]
    if alone:
        raise UserError(f'--{alone[0]} is of --int8 only; leave it out, or add --int8.')
    size = None if SIZE.value is None else command.parse_size(SIZE.value)
    from mtkd_jax.experiment.exporting import export

    told = export(
        model,
        out,
        format=FORMAT.value,
        branch=BRANCH.value,
        size=size,
        batch=BATCH.value,
        int8=INT8.value,
        data_dir=DATA_DIR.value,
        split=SPLIT.value,
        calibration_images=CALIBRATION_IMAGES.value,
        allow_modules=ALLOW_MODULES.value,
    )
    print(told)


if __name__ == '__main__':
    command.start(main)
