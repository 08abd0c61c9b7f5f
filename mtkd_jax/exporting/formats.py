"""What programs can be written as; known without jax."""

from mtkd_jax.errors import UserError
from mtkd_jax.names import choice

FORMATS = ('stablehlo', 'onnx')


def check(format: str, int8: bool) -> None:
    """Raises a UserError for a format that is not written, or not in 8 bits."""
    if format == 'tflite':
        raise UserError(
            '--format=tflite is not written. Use --format=onnx, and convert that file with onnx2tf in an environment '
            'of its own (docs/deploying.md).'
        )
    choice('format', format, FORMATS)
    if int8 and format != 'onnx':
        raise UserError(f'--int8 is written as ONNX only, not as {format}; use --format=onnx.')
