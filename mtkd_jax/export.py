"""A trained network as a program: `python -m mtkd_jax.export --model=DIR --branch=student --format=onnx --out=FILE`."""

import sys
from typing import Any

from absl import flags

from mtkd_jax import command
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
    formats.check(FORMAT.value)
    size = None if SIZE.value is None else command.parse_size(SIZE.value)
    from mtkd_jax.experiment.exporting import export

    allowed = ALLOW_MODULES.value
    print(
        export(
            model, out, format=FORMAT.value, branch=BRANCH.value, size=size, batch=BATCH.value, allow_modules=allowed
        )
    )


if __name__ == '__main__':
    command.start(main)
