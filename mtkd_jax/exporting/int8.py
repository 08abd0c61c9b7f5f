"""An ONNX program whose convolutions compute in integers of 8 bits, calibrated on images (onnxruntime.quantization)."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quant_pre_process, quantize_static

OPERATIONS = ('Conv', 'ConvTranspose')
"""Nearly all the work. What unpools by comparing values, logarithms and normalisation stay in float32."""

HOW = 'convolutions: weights 7 bits by channel, activations 8 bits by tensor, from the least to the largest value'


class Reader(CalibrationDataReader):
    """Images as onnxruntime asks for them."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None: there are no more."""
        image = next(self._images, None)
        return None if image is None else {'image': image}


def quantised(content: bytes, images: Iterable[np.ndarray]) -> bytes:
    """The ONNX model `content` in 8 bits, calibrated on `images`, batches [b h w 3] that it takes."""
    with tempfile.TemporaryDirectory(prefix='mtkd_jax') as folder:
        plain, ready, made = (str(Path(folder) / f'{name}.onnx') for name in ('plain', 'ready', 'made'))
        Path(plain).write_bytes(content)
        # Joins convolutions with what normalises them; shapes are known from the conversion.
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            made,
            Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATIONS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # 7 bits of weights: with 8, sums overflow on x86 processors without VNNI, and another machine would lose
            # more than was measured on this one.
            reduce_range=True,
        )
        return Path(made).read_bytes()


def described(content: bytes, said: Mapping[str, str]) -> bytes:
    """The same model with `said` as its metadata, which quantisation adds to, and only the operators that it has."""
    model = onnx.load_from_string(content)
    used = {node.domain for node in model.graph.node}
    kept = [operators for operators in model.opset_import if operators.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    helper.set_model_props(model, dict(said))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
