"""The gate for targets: what a task demands of an array, wherever it enters (prepared files, own data, `evaluate`).

A check takes an array [... h w k] as it was given, of any type, and returns what is wrong with it and what to do, to be
put behind the array's name; None where nothing is.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from mtkd_jax.types import UserError

Check = Callable[[np.ndarray], str | None]

FARTHEST = 100.0  # metres; a median above it is in another unit
LENGTHS = (0.95, 1.05)  # of the median normal
ALIKE = 0.98  # length of the mean of unit vectors; those of one surface, with noise of 10°, have more
SLACK = 0.001  # of a normal's component: float16 rounds 1 to no more


def admit(name: str, array: np.ndarray, check: Check, error: type[UserError] = UserError) -> None:
    """Raises `error` unless `array`, called `name`, passes `check`."""
    fault = check(array)
    if fault is not None:
        raise error(f'{name} {fault}.')


def numbers(array: np.ndarray) -> str | None:
    """Any finite numbers: the least that a task can demand."""
    # NumPy writes bfloat16 as bytes without a meaning, which it reads as the type V2.
    if array.dtype.kind not in 'biuf' and not jnp.issubdtype(array.dtype, jnp.floating):
        return f'is of the type {array.dtype}, which holds no numbers; save it as float32, or labels as int32'
    if array.dtype.kind not in 'biu' and not np.isfinite(array).all():
        return 'has NaN or infinite values; mark undefined pixels as 0 (depth, normals) or -1 (labels, strengths)'
    return None


def typed(array: np.ndarray) -> str | None:
    """Numbers of any kind, NaN as well: what a task demands that says nothing else."""
    return numbers(np.zeros(1, array.dtype))


def class_ids(classes: int) -> Check:
    """Whole numbers 0..`classes`-1, or -1 where nothing is labelled."""
    remedy = f'labels must be 0..{classes - 1}, or -1 where nothing is labelled'

    def check(array: np.ndarray) -> str | None:
        fault = numbers(array) or _outside(array, -1, classes - 1, remedy)
        if fault is None and array.dtype.kind not in 'biu' and (array != np.round(array)).any():
            return 'has labels that are not whole numbers, as after a resize that blends; resize labels to the nearest'
        return fault

    return check


def depths(farthest: float = FARTHEST) -> Check:
    """Not negative, 0 where undefined; the median of what is defined is not above `farthest` metres."""

    def check(array: np.ndarray) -> str | None:
        fault = numbers(array) or _outside(
            array, 0, np.inf, "depth must be positive (metres, or Cityscapes' inverse depth), 0 where undefined"
        )
        # Counting instead of sorting: this runs for every example that is read.
        if fault is None and 2 * np.count_nonzero(array > farthest) > np.count_nonzero(array):
            median = float(np.median(array[array > 0].astype(np.float64)))
            return (
                f'has a median depth of {median:g}, above {farthest:g} m: probably millimetres or raw values; give '
                'metres (divide millimetres by 1000)'
            )
        return fault

    return check


def directions(array: np.ndarray) -> str | None:
    """Unit vectors, 0 where undefined.

    The median length of those that are defined is 1 to 5 %. Some component is negative, unless all normals are parallel
    to an axis or nearly the same.
    """
    fault = numbers(array)
    if fault is not None:
        return fault
    remedy = 'normals must be unit vectors, 0 where undefined'
    wide = array.astype(np.float32)
    # Before squaring, which overflows where the values are very large.
    fault = _outside(array, -1 - SLACK, 1 + SLACK, remedy)
    if fault is not None:
        return fault
    squared = np.einsum('...c,...c->...', wide, wide)
    defined = np.count_nonzero(squared)
    low, high = (length**2 for length in LENGTHS)
    short, long = np.count_nonzero(squared < low) - (squared.size - defined), np.count_nonzero(squared > high)
    if 2 * max(short, long) > defined:
        median = float(np.median(np.sqrt(squared[squared > 0])))
        return f'has normals of the median length {median:.3g}; {remedy}: decode pictures in 0..1 by 2x - 1, and divide'
    positive = defined and wide.min() >= 0 and (np.count_nonzero(wide, axis=-1) > 1).any()
    # A picture of a single slanted surface may have none, but then all its normals are nearly the same.
    if positive and np.linalg.norm(wide.reshape(-1, 3).sum(axis=0)) < ALIKE * np.sqrt(squared).sum():
        return f'has no negative component, as if coded in 0..1; {remedy}: decode by 2x - 1'
    return None


def strengths(array: np.ndarray) -> str | None:
    """In [0, 1], or -1 where undefined."""
    remedy = 'strengths must be in [0, 1], -1 where undefined'
    fault = numbers(array) or _outside(array, -1, 1, remedy)
    if fault is None and array.size and ((array < 0) & (array != -1)).any():
        return f'has values between -1 and 0; {remedy}'
    return fault


def _outside(array: np.ndarray, low: float, high: float, remedy: str) -> str | None:
    if not array.size:
        return None
    least, most = float(array.min()), float(array.max())
    return f'has values from {least:g} to {most:g}; {remedy}' if least < low or most > high else None
