"""Counts, ranges and shares of what was stored in a split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Range:
    """Smallest, mean and largest of the values seen."""

    least: float = np.inf
    most: float = -np.inf
    total: float = 0.0
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        """Counts some values."""
        if values.size:
            self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))
            self.total += float(values.sum(dtype=np.float64))
            self.count += values.size


class Summary:
    """Looks at every example of a split as it is stored; `classes` is the number of classes of the segmentation."""

    def __init__(self, classes: int) -> None:
        self._examples = 0
        self._labels = np.zeros(classes + 1, np.int64)
        self._ranges: dict[str, Range] = {}
        self._undefined: dict[str, list[float]] = {}

    def add(self, example: Mapping[str, Any]) -> None:
        """Counts one example: arrays [h w c] in the stored conventions (spec E)."""
        self._examples += 1
        ids = example['segmentation'].astype(np.int64)
        self._labels += np.bincount(ids.ravel() + 1, minlength=len(self._labels))
        for name, array in example.items():
            if name not in ('segmentation', 'index'):
                values = array / np.float32(255) if array.dtype == np.uint8 else array
                if name in ('depth', 'normals'):
                    undefined = (values == 0).all(-1)
                    self._undefined.setdefault(name, []).append(float(undefined.mean()))
                    values = values[~undefined]
                self._ranges.setdefault(name, Range()).add(values)

    def as_dict(self) -> dict[str, Any]:
        """As JSON: `ranges` are [smallest, mean, largest] over defined pixels (null where none is); shares in %."""
        shares = 100 * self._labels / max(int(self._labels.sum()), 1)
        return {
            'examples': self._examples,
            'ranges': {k: [r.least, r.total / r.count, r.most] if r.count else None for k, r in self._ranges.items()},
            'undefined_percent': {
                'segmentation': float(shares[0]),
                **{k: 100 * float(np.mean(v)) for k, v in self._undefined.items()},
            },
            'class_percent': [float(share) for share in shares[1:]],
        }
