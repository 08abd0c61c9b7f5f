"""Counts, ranges and shares of what was stored in a split."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mtkd_jax.tasks import validity_by_name


@dataclass
class Range:
    """Smallest, mean and largest of the values seen."""

    least: float = np.inf
    most: float = -np.inf
    total: float = 0.0
    count: int = 0

    def add(self, other: 'Range') -> None:
        """Counts what `other` has counted."""
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.total += other.total
        self.count += other.count


@dataclass
class Summary:
    """What was seen of a split, or of a part of it.

    Attributes:
        examples: their number.
        labels: pixels that are void, then pixels of every class.
        ranges: by array, over its defined pixels.
        undefined: by target, the sum over examples of the share of undefined pixels.
    """

    examples: int = 0
    labels: list[int] = field(default_factory=list)
    ranges: dict[str, Range] = field(default_factory=dict)
    undefined: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, example: Mapping[str, Any], classes: int) -> 'Summary':
        """One example: arrays [h w c] in the stored conventions (papers.md E), `classes` of the segmentation."""
        ids = example['segmentation'].astype(np.int64)
        found = cls(1, np.bincount(ids.ravel() + 1, minlength=classes + 1).tolist())
        for name, array in example.items():
            if name in ('segmentation', 'index'):
                continue
            values = array / np.float32(255) if array.dtype == np.uint8 else array
            if name in validity_by_name():
                undefined = ~validity_by_name()[name](values)[..., 0]
                found.undefined[name] = float(undefined.mean())
                values = values[~undefined]
            found.ranges[name] = Range()
            if values.size:
                total = float(values.sum(dtype=np.float64))
                found.ranges[name] = Range(float(values.min()), float(values.max()), total, values.size)
        return found

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> 'Summary':
        """The summary that `state` was."""
        return cls(**{**state, 'ranges': {name: Range(**found) for name, found in state['ranges'].items()}})

    def state(self) -> dict[str, Any]:
        """All of it, as JSON that `read` takes."""
        return asdict(self)

    def add(self, other: 'Summary') -> None:
        """Counts what `other` has counted."""
        self.examples += other.examples
        self.labels = [a + b for a, b in zip(self.labels or [0] * len(other.labels), other.labels, strict=True)]
        for name, found in other.ranges.items():
            self.ranges.setdefault(name, Range()).add(found)
        for name, share in other.undefined.items():
            self.undefined[name] = self.undefined.get(name, 0.0) + share

    def as_dict(self) -> dict[str, Any]:
        """For people, as JSON: `ranges` are [smallest, mean, largest] over defined pixels (null where none is);
        shares in %.
        """
        every = max(sum(self.labels), 1)
        shares = [100 * count / every for count in self.labels]
        return {
            'examples': self.examples,
            'ranges': {k: [r.least, r.total / r.count, r.most] if r.count else None for k, r in self.ranges.items()},
            'undefined_percent': {
                'segmentation': shares[0] if shares else 0.0,
                **{k: 100 * total / max(self.examples, 1) for k, total in self.undefined.items()},
            },
            'class_percent': shares[1:],
        }


def merged(summaries: Sequence[Summary]) -> Summary:
    """All of them as one."""
    total = Summary()
    for summary in summaries:
        total.add(summary)
    return total
