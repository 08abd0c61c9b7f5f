"""Metrics as additive statistics (papers.md C): measured per batch on the device, summed and finished on the host.

`Metrics.measure` returns statistics that add up over batches, or are of single examples (`accumulate.Accumulator`), so
a result depends neither on the batch size nor on how a split is divided between devices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from mtkd_jax.accumulate import EACH, Rows, mean_of_batches, ratio

ANGLE_BINS = 180_000  # of 0.001°: the median's error is below what float32 arccos can resolve
PER_IMAGE, PER_BATCH = '_per_image_legacy', '_per_batch_legacy'  # end the names of metrics in the papers' protocol
NEAREST = 0.001  # of depth, in the target's unit, where its logarithm or a ratio is taken
RATIOS = (1.25, 1.25**2, 1.25**3)  # of predicted and true depth, in one direction or the other
LEGACY = {PER_IMAGE: 'per-image legacy', PER_BATCH: 'per-batch legacy'}  # in words


@dataclass(frozen=True)
class Quantity:
    """How a number is shown: `title`, `unit` ('' where there is none), and decimals."""

    title: str
    unit: str = ''
    decimals: int = 4

    def __str__(self) -> str:
        return f'{self.title} ({self.unit})' if self.unit else self.title


@dataclass(frozen=True, kw_only=True)
class Metric(Quantity):
    """How a metric is shown and compared.

    Attributes:
        direction: +1 where higher is better, -1 where lower is.
        in_delta: whether it enters Δm; others stand beside those that do.
        section: the heading of the table of its own in reports; '' where it is a column of their main ones.
        per_image_legacy: whether it exists in the papers' protocol, too: per image (`NAME_per_image_legacy`).
        per_batch_legacy: the same: per batch of two images (`NAME_per_batch_legacy`).
    """

    direction: int
    in_delta: bool = True
    section: str = ''
    per_image_legacy: bool = False
    per_batch_legacy: bool = False

    @property
    def legacy(self) -> str:
        """What ends its name in the papers' protocol; '' where that is ours."""
        return PER_IMAGE if self.per_image_legacy else PER_BATCH if self.per_batch_legacy else ''


def without_legacy(name: str) -> str:
    """The name of a metric without what says that it is in the papers' protocol."""
    return name.removesuffix(PER_IMAGE).removesuffix(PER_BATCH)


@dataclass(frozen=True)
class Metrics:
    """A task's metrics.

    `measure(prediction [b h w c], target [b h w k], mask [b h w 1])` → statistics; `compute(sums)` → named results;
    `each`: what every result is, by name, in the order of tables (results in the legacy protocol have no entry);
    `of_batch`: see `Accumulator`, where there are metrics per batch.
    """

    measure: Callable[[Array, Array, Array], dict[str, Array]]
    compute: Callable[[Mapping[str, np.ndarray]], dict[str, float]]
    each: Mapping[str, Metric]
    of_batch: Callable[[Rows], Mapping[str, float]] | None = None


def per_example_sum(values: Float[Array, 'b h w 1'], mask: Bool[Array, 'b h w 1']) -> Float[Array, 'b']:
    """Sum of `values` where `mask` is true, for each example of the batch."""
    return jnp.sum(jnp.where(mask, values, 0.0), axis=(1, 2, 3), dtype=jnp.float32)


def unknown_images(prediction: Num[Array, 'b h w c'], mask: Bool[Array, 'b h w 1']) -> Float[Array, 'b']:
    """NaN for each example with NaN among the predictions where `mask` is true, otherwise 0.

    Added to what was counted, it keeps a class that was chosen from NaN from looking like an answer.
    """
    nan = jnp.any(jnp.isnan(prediction) & mask, axis=(1, 2, 3))
    return jnp.where(nan, jnp.nan, 0.0).astype(jnp.float32)


def class_ids(prediction: Num[Array, 'b h w c']) -> Num[Array, 'b h w']:
    """Class ids from logits or scores (argmax over channels), or from an array of ids with one channel."""
    if prediction.shape[-1] == 1:
        return prediction[..., 0].astype(jnp.int32)
    return jnp.argmax(prediction, axis=-1).astype(jnp.int32)


def segmentation_metrics(classes: int, names: Sequence[str] = ()) -> Metrics:
    """Pixel accuracy and mIoU in %, in both protocols (papers.md C), and the IoU of every class.

    `pixel_accuracy`, `miou`: one confusion matrix over the split; void pixels and classes absent from both prediction
    and labels are left out. `*_per_image_legacy`: the papers' code; IoU per image over the classes in prediction or
    label, where void pixels still count in the prediction, averaged over images with at least one labelled pixel.
    `iou_0`, `iou_1`, ...: accumulated, of every class by its id; NaN for an absent one. `names`: of the classes, where
    they have any; reports say them.
    """

    def measure(prediction: Array, target: Array, mask: Array) -> dict[str, Array]:
        predicted = class_ids(prediction)
        truth = jnp.where(mask[..., 0], target[..., 0], -1)
        valid = truth >= 0
        # Ids outside 0..classes-1 match no class, so they count as wrong, not as some other class.
        inside = (predicted >= 0) & (predicted < classes)
        cell = jnp.where(valid & inside, truth * classes + predicted, classes * classes)
        confusion = jnp.bincount(cell.ravel(), length=classes * classes + 1)[:-1]

        ids = jnp.arange(classes)
        is_predicted, is_true = predicted[..., None] == ids, truth[..., None] == ids
        both = jnp.sum(is_predicted & is_true, axis=(1, 2))
        either = jnp.sum(is_predicted | is_true, axis=(1, 2))
        present = either > 0
        iou = jnp.sum(jnp.where(present, both / jnp.maximum(either, 1), 0.0), axis=1) / jnp.maximum(
            jnp.sum(present, axis=1), 1
        )
        labelled = jnp.sum(valid, axis=(1, 2))
        accuracy = jnp.sum(both, axis=1) / jnp.maximum(labelled, 1)
        counts = labelled > 0
        return {
            'confusion': confusion.reshape(classes, classes),
            'labelled_per_class': jnp.sum(is_true, axis=(0, 1, 2)),
            'iou_of_images': jnp.where(counts, iou, 0.0),
            'accuracy_of_images': jnp.where(counts, accuracy, 0.0),
            'images': jnp.sum(counts),
            'unknown': unknown_images(prediction, mask),
        }

    def compute(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        correct = np.diag(sums['confusion'])
        labelled = sums['labelled_per_class']
        union = labelled + sums['confusion'].sum(axis=0) - correct
        iou = [ratio(c, u) for c, u in zip(correct, union, strict=True)]
        present = [value for value in iou if value == value]
        miou = float(np.mean(present)) if present else float('nan')
        found = {
            'pixel_accuracy': 100 * ratio(correct.sum(), labelled.sum()),
            'miou': 100 * miou,
            f'pixel_accuracy{PER_IMAGE}': 100 * ratio(sums['accuracy_of_images'], sums['images']),
            f'miou{PER_IMAGE}': 100 * ratio(sums['iou_of_images'], sums['images']),
            **{f'iou_{i}': 100 * value for i, value in enumerate(iou)},
        }
        return {name: value + float(sums['unknown']) for name, value in found.items()}

    titles = {'miou': 'mIoU', 'pixel_accuracy': 'pixel accuracy'}
    each = {name: Metric(title, '%', 2, direction=1, per_image_legacy=True) for name, title in titles.items()}
    for i, name in enumerate(names or map(str, range(classes))):
        each[f'iou_{i}'] = Metric(f'IoU, {name}', '%', 2, direction=1, in_delta=False, section='IoU per class')
    return Metrics(measure, compute, each)


def depth_metrics(inverse: bool = False) -> Metrics:
    """Mean absolute error in the target's unit and mean relative error over defined pixels (papers.md C).

    `depth_abs` in metres and `depth_rel`; of `inverse` depth, `inverse_depth_abs` and `inverse_depth_rel`, the latter
    in %, as the papers give it for Cityscapes. `*_per_batch_legacy`: the papers' code; the mean over batches of two
    images of the mean over a batch's defined pixels.

    Beyond the papers, over all defined pixels as well, and not in Δm: `depth_rmse`; `depth_log10`, the mean difference
    of decimal logarithms; `depth_delta1`, `depth_delta2`, `depth_delta3`, the share in % of pixels where the larger of
    prediction and truth is less than 1.25, 1.25², 1.25³ times the smaller (Eigen et al. 2014). In the last two, a
    prediction or truth below `NEAREST` counts as that, because what is 0 or negative has neither logarithm nor ratio.
    Of `inverse` depth all are named `inverse_depth_*`.
    """
    prefix, factor, title = ('inverse_', 100, 'inverse depth') if inverse else ('', 1, 'depth')
    unit = '' if inverse else 'm'

    def further(name: str, unit: str = '', decimals: int = 4, direction: int = -1) -> Metric:
        return Metric(name, unit, decimals, direction=direction, in_delta=False, section='Further numbers of depth')

    relative = ('%', 2) if inverse else ()
    each = {
        'depth_abs': Metric(f'{title} error', unit, direction=-1, per_batch_legacy=True),
        'depth_rel': Metric(f'relative {title} error', *relative, direction=-1, per_batch_legacy=True),
        'depth_rmse': further(f'{title}, RMSE', unit),
        'depth_log10': further(f'{title}, log₁₀ error'),
        **{
            f'depth_delta{i}': further(f'{title}, δ < 1.25{power}', '%', 2, 1)
            for i, power in enumerate(('', '²', '³'), 1)
        },
    }

    def measure(prediction: Array, target: Array, mask: Array) -> dict[str, Array]:
        error = jnp.abs(prediction - target)
        absolute, relative = per_example_sum(error, mask), per_example_sum(error / jnp.where(mask, target, 1.0), mask)
        rows = {'absolute': absolute, 'relative': relative, 'pixels': jnp.sum(mask, axis=(1, 2, 3))}
        ours, true = jnp.maximum(prediction, NEAREST), jnp.maximum(target, NEAREST)
        apart = jnp.maximum(ours / true, true / ours)
        return {
            'absolute': absolute,
            'relative': relative,
            'squared': per_example_sum(jnp.square(error), mask),
            'log10': per_example_sum(jnp.log10(apart), mask),
            **{f'delta{i}': jnp.sum(mask & (apart < most)) for i, most in enumerate(RATIOS, 1)},
            'pixels': jnp.sum(mask),
            **{EACH + name: row for name, row in rows.items()},
        }

    def of_batch(rows: Rows) -> dict[str, float]:
        pixels = int(rows['pixels'].sum())
        return {name: rows[name].sum(dtype=np.float64) / pixels for name in ('absolute', 'relative')} if pixels else {}

    def compute(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        pixels = sums['pixels']
        # Whether a ratio that is NaN is small is a number.
        unknown = float('nan') if np.isnan(sums['absolute']) else 0.0
        found = {
            'depth_abs': ratio(sums['absolute'], pixels),
            'depth_rel': factor * ratio(sums['relative'], pixels),
            f'depth_abs{PER_BATCH}': mean_of_batches(sums, 'absolute'),
            f'depth_rel{PER_BATCH}': factor * mean_of_batches(sums, 'relative'),
            'depth_rmse': float(np.sqrt(ratio(sums['squared'], pixels))),
            'depth_log10': ratio(sums['log10'], pixels),
            **{f'depth_delta{i}': 100 * ratio(sums[f'delta{i}'], pixels) + unknown for i in (1, 2, 3)},
        }
        return {prefix + name: value for name, value in found.items()}

    return Metrics(measure, compute, {prefix + name: metric for name, metric in each.items()}, of_batch)


def normals_metrics() -> Metrics:
    """Angle to the true normals: mean and median in degrees, % within 11.25°, 22.5° and 30° (papers.md C).

    `normal_cosine`, the mean cosine, is Taskonomy's; it is shown beside the others and stays out of Δm.

    Over all defined pixels of the split. `*_per_batch_legacy`: the papers' code; the mean over batches of two images of
    the mean, median or share over a batch's defined pixels. The prediction is normalised first; the target is used as
    it is, as the papers do (resized normals of the preprocessed NYUv2 are not exactly of unit length).
    """
    thresholds = (11.25, 22.5, 30.0)

    def measure(prediction: Array, target: Array, mask: Array) -> dict[str, Array]:
        length = jnp.linalg.norm(prediction, axis=-1, keepdims=True)
        cosine = jnp.sum(prediction * target, axis=-1, keepdims=True) / jnp.maximum(length, 1e-12)
        angle = jnp.degrees(jnp.arccos(jnp.clip(cosine, -1.0, 1.0)))
        cell = jnp.minimum((angle * (ANGLE_BINS / 180)).astype(jnp.int32), ANGLE_BINS - 1)
        histogram = jnp.bincount(jnp.where(mask, cell, ANGLE_BINS).ravel(), length=ANGLE_BINS + 1)[:-1]
        within = {f'within_{t:g}': jnp.sum(mask & (angle < t)) for t in thresholds}
        return {
            'angle': per_example_sum(angle, mask),
            'cosine': per_example_sum(cosine, mask),
            'histogram': histogram,
            'pixels': jnp.sum(mask),
            # -1 is no angle.
            f'{EACH}angle': jnp.where(mask, angle, -1.0).reshape(len(angle), -1),
            **within,
        }

    def of_batch(rows: Rows) -> dict[str, float]:
        angles = rows['angle'][rows['angle'] != -1]
        if not angles.size:
            return {}
        shares = {f'normal_{t:g}': 100 * float(np.mean(angles < t)) for t in thresholds}
        return {
            'normal_mean': float(angles.mean(dtype=np.float64)),
            'normal_median': float(np.median(angles)),
            **shares,
        }

    def compute(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        shares = {f'normal_{t:g}': 100 * ratio(sums[f'within_{t:g}'], sums['pixels']) for t in thresholds}
        found = {
            'normal_mean': ratio(sums['angle'], sums['pixels']),
            'normal_median': histogram_median(sums['histogram'], 180 / ANGLE_BINS),
            'normal_cosine': ratio(sums['cosine'], sums['pixels']),
            **shares,
            **{name + PER_BATCH: mean_of_batches(sums, name) for name, metric in each.items() if metric.legacy},
        }
        # The cell of an angle that is NaN, and whether it is small, are numbers.
        return dict.fromkeys(found, float('nan')) if np.isnan(sums['angle']) else found

    each = {
        'normal_mean': Metric('normals, mean', '°', 2, direction=-1, per_batch_legacy=True),
        'normal_median': Metric('normals, median', '°', 2, direction=-1, per_batch_legacy=True),
        **{f'normal_{t:g}': Metric(f'within {t:g}°', '%', 2, direction=1, per_batch_legacy=True) for t in thresholds},
        'normal_cosine': Metric('normals, mean cosine', direction=1, in_delta=False),
    }
    return Metrics(measure, compute, each, of_batch)


def absolute_metrics(name: str, title: str = '', unit: str = '') -> Metrics:
    """`<name>_abs`: mean absolute error over defined pixels (papers.md C: `keypoints_abs`, `edges_abs`).

    `title`: what it is called, by default '<name> error'; `unit`: that of the target's values.
    """

    def measure(prediction: Array, target: Array, mask: Array) -> dict[str, Array]:
        return {'absolute': per_example_sum(jnp.abs(prediction - target), mask), 'pixels': jnp.sum(mask)}

    def compute(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {f'{name}_abs': ratio(sums['absolute'], sums['pixels'])}

    return Metrics(measure, compute, {f'{name}_abs': Metric(title or f'{name} error', unit, direction=-1)})


def classification_metrics(name: str, title: str = '') -> Metrics:
    """`name`: the share of labelled images whose likeliest class is the true one, in % (papers.md C).

    `title`: what it is called, by default `name`.
    """

    def measure(prediction: Array, target: Array, mask: Array) -> dict[str, Array]:
        right = class_ids(prediction)[..., None] == target
        unknown = unknown_images(prediction, mask)
        return {'right': jnp.sum(mask & right), 'images': jnp.sum(mask), 'unknown': unknown}

    def compute(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {name: 100 * ratio(sums['right'], sums['images']) + float(sums['unknown'])}

    return Metrics(measure, compute, {name: Metric(title or name, '%', 2, direction=1)})


def histogram_median(histogram: np.ndarray, width: float) -> float:
    """Median of the values counted in bins of `width` from 0 upwards, to half a bin; NaN for an empty histogram."""
    total = int(histogram.sum())
    if total == 0:
        return float('nan')
    cumulative = np.cumsum(histogram)
    # The two middle values; they coincide for an odd count.
    lower = np.searchsorted(cumulative, (total - 1) // 2, side='right')
    upper = np.searchsorted(cumulative, total // 2, side='right')
    return float(((lower + upper) / 2 + 0.5) * width)
