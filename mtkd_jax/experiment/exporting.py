"""A model folder as a program for other runtimes: what can be exported, what it says of itself, and its file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from mtkd_jax.errors import UserError
from mtkd_jax.experiment import quantising
from mtkd_jax.experiment.models import Opened, open_model
from mtkd_jax.exporting import formats, programs
from mtkd_jax.exporting.programs import ANY, Output, Sizes
from mtkd_jax.files import whole, write_json
from mtkd_jax.models.backbone import per_image
from mtkd_jax.places import local, place
from mtkd_jax.types import MAIN

FORMAT = 1
"""Of what a program says of itself."""


def _fixed(opened: Opened, size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of images that have one size.

    Raises:
        UserError: the network cannot take `size`.
    """
    stride, trained = (
        getattr(opened.network, 'STRIDE', 1),
        (opened.spec['data']['height'], opened.spec['data']['width']),
    )
    if size is None:
        return trained
    if any(side < stride or side % stride for side in size):
        raise UserError(f'`size` is {size[0]}x{size[1]}; the network takes multiples of {stride} only.')
    if per_image(type(opened.network)) and size != trained:
        raise UserError(f'`size` is {size[0]}x{size[1]}; the network takes {trained[0]}x{trained[1]} only.')
    return size


def _sizes(
    opened: Opened, predict: programs.Function, size: tuple[int, int] | None, batch: int | None, stride: int
) -> Sizes:
    """Any size where the network allows it and none is asked for; else the one asked for, or that of the training."""
    height, width = _fixed(opened, size)
    count = ANY[0] if batch is None else batch
    several = (count, *ANY[1:])
    if size is None and not per_image(type(opened.network)) and programs.refusal(predict, several, stride) is None:
        return several
    why = programs.refusal(predict, (count, height, width), stride) if batch is None else None
    if why is not None:
        raise UserError('The network cannot be traced for any number of images; give --batch=N, such as 1.') from why
    return count, height, width


def describe(opened: Opened, found: Sequence[Output], sizes: Sizes, stride: int, computed: str) -> dict[str, Any]:
    """What a program says of itself: JSON."""
    data = opened.spec['data']

    def of(output: Output) -> dict[str, Any]:
        task = output.task
        sides = [1, 1] if task.words is not None else list(sizes[1:])
        said = {'task': task.name, 'branch': output.branch, 'shape': [sizes[0], *sides, task.channels]}
        # Classes are what is right or wrong; other tasks have marks of a scale in their legend.
        classes = [word for word, _ in task.legend] if task.mistakes is not None else []
        return {**said, 'values': task.predicts, 'unit': task.unit, 'classes': classes}

    return {
        'format': FORMAT,
        'backbone': opened.spec['backbone'],
        'dataset': data['dataset'],
        'computed_in': computed,
        'input': {
            'name': 'image',
            'shape': [*sizes, 3],
            'type': 'float32',
            'layout': 'NHWC, red green blue',
            'normalisation': '0 to 1: bytes divided by 255, nothing subtracted',
            'trained_at': [data['height'], data['width']],
            'multiples_of': stride,
        },
        'outputs': {output.name: of(output) for output in found},
    }


def export(
    model: str | Path,
    out: str | Path,
    *,
    format: str,
    branch: str | None = None,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    int8: bool = False,
    data_dir: str | None = None,
    split: str = 'train',
    calibration_images: int = 64,
    allow_modules: bool = False,
) -> str:
    """Writes the network in a model folder as a program, checks it against the network, and says what was written.

    The program takes `image` [b h w 3] float32 in [0, 1] and gives predictions as `Model.predict` does, by task; of
    several branches, by branch/task. Nothing is written unless all has been checked.

    Args:
        model: a model folder.
        out: the file to write. Beside it, FILE.json says what inputs and outputs are; an ONNX file says so itself.
        format: 'stablehlo' (`jax.export`, in the network's compute type) or 'onnx' (in float32).
        branch: only this branch of a network that has several.
        size: height and width of images. None: any that the network can take; where its layers need one, that of the
            training.
        batch: how many images. None: any.
        int8: whether convolutions compute in 8 bits ('onnx'). What that loses in every metric is measured on the test
            split, said, and kept in the metadata; the program is written, however much it is.
        data_dir: where the prepared data of 8 bits lie; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
        split: whose images say which values occur; not the test split.
        calibration_images: how many of them, spread over the split; fewer where it has fewer.
        allow_modules: whether a Python module that the folder names may be imported, which runs its code.

    Raises:
        UserError: the model cannot be opened, cannot be exported in that way, or `out` cannot be written.
        DataNotPrepared: with `int8`, the data are not in `data_dir`.
    """
    model, out = place(model), local(out, 'out', 'programs are written to files')
    _check(out, format, batch, int8)
    opened = open_model(model, allow_modules=allow_modules, branch=branch)
    given = quantising.data(opened, data_dir, split, calibration_images, size, batch) if int8 else None
    network, stride = opened.network, getattr(opened.network, 'STRIDE', 1)
    if format == 'onnx':
        network = network.clone(dtype=jnp.float32)  # runtimes on CPUs do not convolve in bfloat16
    found = programs.outputs(opened.tasks, getattr(network, 'branches', (MAIN,)))
    predict = programs.function(network, opened.variables, found)
    sizes = _sizes(opened, predict, size, batch, stride)
    computed = 'float32' if format == 'onnx' else opened.spec['compute_dtype']
    said = describe(opened, found, sizes, stride, computed)
    if format == 'onnx':
        program = programs.onnx(predict, sizes, stride, [output.name for output in found], _words(said))
    else:
        program = programs.stablehlo(predict, sizes, stride)
    apart = programs.differences(predict, program, _tried(sizes, _fixed(opened, size), stride))
    told = _told(sizes, stride, apart)
    if given is not None:
        program, of_int8, lost = quantising.quantised(program, found, given)
        said |= {'computed_in': 'int8 and float32', 'int8': of_int8}
        program = program._replace(content=quantising.described(program.content, _words(said)))
        told = f'{told} (in float32)\n{lost}'
    _write(out, program.content, None if format == 'onnx' else {**said, 'difference': apart})
    return f'{out}: {format}, {len(program.content) / 1e6:.1f} MB, {told}'


def _words(said: Mapping[str, Any]) -> dict[str, str]:
    """What a program says of itself as metadata: words, or JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()}


def _told(sizes: Sizes, stride: int, apart: Mapping[str, Mapping[str, float]]) -> str:
    multiples = f', height and width multiples of {stride}' if 'height' in sizes and stride > 1 else ''
    listed = ', '.join(f'{name} {x["largest"]:.2g} (on average {x["mean"]:.2g})' for name, x in apart.items())
    return f'image {"×".join(map(str, (*sizes, 3)))}{multiples}; largest difference from the network: {listed}'


def _check(out: Path, format: str, batch: int | None, int8: bool) -> None:
    formats.check(format, int8)
    if batch is not None and batch < 1:
        raise UserError(f'`batch` is {batch}; give at least 1, or None for any.')
    if out.is_dir():
        raise UserError(f'`out` is {out}, a folder; give the file to write.')


def _tried(sizes: Sizes, fixed: tuple[int, int], stride: int) -> list[tuple[int, ...]]:
    """Shapes of images that the program is compared for: of unknown sizes, two."""
    first = tuple(value if isinstance(size, str) else size for size, value in zip(sizes, (1, *fixed), strict=True))
    other = (3, fixed[0] + stride, fixed[1] + 2 * stride)
    second = tuple(value if isinstance(size, str) else size for size, value in zip(sizes, other, strict=True))
    return [(*shape, 3) for shape in dict.fromkeys((first, second))]


def _write(out: Path, content: bytes, beside: Mapping[str, Any] | None) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if beside is not None:
            write_json(out.with_name(out.name + '.json'), beside)
        with whole(out) as stream:
            stream.write(content)
    except OSError as error:
        raise UserError(f'`out` {out} cannot be written ({error}); make room there, or give another.') from error
