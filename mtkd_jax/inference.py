"""Inference apart from training: a trained network's predictions for images."""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float

from mtkd_jax import models
from mtkd_jax.data import images
from mtkd_jax.data.ahead import ahead, batches
from mtkd_jax.data.images import Picture
from mtkd_jax.names import choice
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, UserError, Variables

Predictions = dict[str, dict[str, np.ndarray]]
PLACES = ('network', 'input')
"""Sizes that predictions may have: the network's, or that of the image."""
READERS = 4  # threads that read images of a stream
PIXELS = 65536  # that are activated at a time


def make_predictor(
    network: nn.Module,
    variables: Variables,
    batch_size: int = 8,
    made: Callable[[Any], Callable[..., Any]] = lambda jitted: jitted,
) -> Callable[..., Predictions]:
    """images [n h w 3] in [0, 1] → {branch: {task: [n h w c]}}, in evaluation mode, `batch_size` at a time.

    One image alone is computed alone, but for `filled=True`. `made`: jitted function → what is called in its place.
    """
    variables = jax.device_put(variables)
    apply = made(jax.jit(lambda variables, image: models.predict(network, variables, image).predictions))

    def predict(images: np.ndarray, filled: bool = False) -> Predictions:
        parts: list[Any] = []
        size = 1 if len(images) == 1 and not filled else batch_size
        for i in range(0, len(images), size):
            chunk = images[i : i + size].astype(np.float32)
            # A last, shorter batch is filled up: the network is compiled for two sizes at most.
            padding = [(0, size - len(chunk)), (0, 0), (0, 0), (0, 0)]
            found = jax.device_get(apply(variables, np.pad(chunk, padding)))
            parts.append(jax.tree.map(operator.itemgetter(slice(len(chunk))), found))
        return jax.tree.map(lambda *x: np.concatenate(x), *parts)

    return predict


class Model:
    """A trained network, ready for images; compiled when first used, for the branches that are asked for.

    Attributes:
        network: returns `Outputs`; its `branches`, where it has several, can be computed apart.
        tasks: what it predicts.
        variables: the network's, `{'params': ..., 'batch_stats': ...}`.
        size: (height, width) that images are resized to.
        batch_size: how many images are computed at a time.
    """

    def __init__(
        self,
        network: nn.Module,
        tasks: Sequence[Task],
        variables: Variables,
        size: tuple[int, int],
        batch_size: int = 8,
    ) -> None:
        """Raises a `UserError` where the network cannot take images of `size`."""
        stride = getattr(network, 'STRIDE', 1)
        if any(pixels < stride or pixels % stride for pixels in size):
            raise UserError(f'`size` is {size}; the network takes multiples of {stride} only.')
        self.network, self.tasks, self.variables = network, tuple(tasks), jax.device_put(variables)
        self.size, self.batch_size = (size[0], size[1]), batch_size
        self._predictors: dict[str | None, Callable[..., Predictions]] = {}
        self._again: dict[str, Callable[[np.ndarray], np.ndarray]] = {}

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that the network has."""
        return tuple(getattr(self.network, 'branches', (MAIN,)))

    def predict(
        self, x: Picture | Sequence[Picture], *, branch: str | None = None, at: str = 'network'
    ) -> dict[str, Any]:
        """What the network says of one image or of many: {task: prediction}, NumPy arrays, float32.

        Args:
            x: one image: a picture file, or an array [h w 3] of uint8 or of floats in [0, 1]; or many: a list of these,
                of any sizes, or an array [n h w 3]. Images of other sizes than the network's are resized by area.
            branch: of a network with several branches, the one to compute; None: all, as {branch: {task: ...}}.
            at: 'network': predictions have the network's size; 'input': each that of its image, by bilinear
                interpolation, and a prediction again (normals have unit length, log-probabilities are normalised).
                Tasks with one answer per image stay [1 1 c].

        Returns:
            Predictions [h w c] of one image; of many (a list of one image, too) [n h w c], but for a list with
            at='input', whose images may differ in size: a list of [h w c] by task. What numbers mean: `Task.activate`.

        Raises:
            UserError: there is no such branch, a file cannot be read, an array has the wrong shape, type or range, or
                the network predicts NaN.
        """
        return self._by_task(self.by_branch(x, branch=branch, at=at), branch)

    def by_branch(
        self, x: Picture | Sequence[Picture], *, branch: str | None = None, at: str = 'network'
    ) -> dict[str, dict[str, Any]]:
        """As `predict`, but always {branch: {task: ...}}."""
        choice('at', at, PLACES)
        predictor = self._predictor(branch)
        given = images.prepare(x, self.size)
        found = _numbers(predictor(given.images))
        stacked = not isinstance(x, list | tuple)

        def finished(task: Task, predictions: np.ndarray) -> Any:
            if at == 'network':
                return predictions if given.many else predictions[0]
            each = [self._at_size(task, *pair) for pair in zip(predictions, given.sizes, strict=True)]
            if not given.many:
                return each[0]
            return np.stack(each) if stacked else each

        return {b: {t.name: finished(t, by_task[t.name]) for t in self.tasks} for b, by_task in found.items()}

    def stream(
        self, x: Iterable[Picture], *, branch: str | None = None, at: str = 'network', threads: int = READERS
    ) -> Iterator[dict[str, Any]]:
        """What `predict` says of each image in `x`, in order, for any number of them: memory does not grow with it.

        Images are read by `threads` threads, a few ahead of their use, and computed `batch_size` at a time.

        Args:
            x: images as `predict` takes one; a generator, too.
            branch, at: see `predict`.
            threads: that read, at least 1.

        Raises:
            UserError: see `predict`; of an image, after the predictions for those before it. At once, where `x` is one
                file or there is no thread.
        """
        return (self._by_task(found, branch) for _, found in self.seen(x, branch=branch, at=at, threads=threads))

    def seen(
        self, x: Iterable[Picture], *, branch: str | None = None, at: str = 'network', threads: int = READERS
    ) -> Iterator[tuple[np.ndarray, Predictions]]:
        """As `stream`, but (image, {branch: {task: prediction}}), where the image has the size of the predictions: as
        the network saw it, float32 in [0, 1], or as it was given.
        """
        choice('at', at, PLACES)
        if isinstance(x, str | Path):
            raise UserError(f'`x` is {x!r}, one image; give several, such as [{x!r}], or call `predict`.')
        if threads < 1:
            raise UserError(f'`threads` is {threads}; give at least 1.')
        return self._seen(x, self._predictor(branch), at, threads)

    def _seen(
        self, x: Iterable[Picture], predictor: Callable[..., Predictions], at: str, threads: int
    ) -> Iterator[tuple[np.ndarray, Predictions]]:
        def read(numbered: tuple[int, Picture]) -> tuple[str, np.ndarray, np.ndarray]:
            i, picture = numbered
            given = images.as_array(f'`x[{i}]`', picture)
            resized = images.at_size(given, self.size)
            name = str(picture) if isinstance(picture, str | Path) else f'`x[{i}]`'
            # The picture as it was given may be much larger: it is not kept where nobody asks for it.
            return name, (given if at == 'input' else resized), resized

        alone = True
        for batch in batches(ahead(read, enumerate(x), threads, self.batch_size + threads), self.batch_size):
            # A single image left over is no reason to compile for one.
            found = predictor(np.stack([resized for _, _, resized in batch]), filled=not alone)
            alone = False
            for i, (name, image, _) in enumerate(batch):
                _numbers(jax.tree.map(operator.itemgetter(i), found), f' of {name}')
                yield image, {b: self._of_image(by_task, i, image.shape) for b, by_task in found.items()}

    def _of_image(self, by_task: dict[str, np.ndarray], i: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {t.name: self._at_size(t, by_task[t.name][i], (shape[0], shape[1])) for t in self.tasks}

    def _at_size(
        self, task: Task, prediction: Float[np.ndarray, 'h w c'], size: tuple[int, int]
    ) -> Float[np.ndarray, '_ _ c']:
        """`prediction` at `size` (height, width), a prediction again; an answer for the whole image stays as it is."""
        if task.words is not None or prediction.shape[:2] == size:
            return prediction
        if task.name not in self._again:
            self._again[task.name] = _second_activation(task)
        return self._again[task.name](images.interpolated(prediction, size))

    def _by_task(self, found: dict[str, dict[str, Any]], branch: str | None) -> dict[str, Any]:
        return found if branch is None and len(self.branches) > 1 else found[branch or self.branches[0]]

    def _predictor(self, branch: str | None) -> Callable[..., Predictions]:
        if branch is not None:
            choice('branch', branch, self.branches)
        if branch not in self._predictors:
            alone = branch is not None and len(self.branches) > 1
            network = self.network.clone(branches=(branch,)) if alone else self.network
            self._predictors[branch] = make_predictor(network, self.variables, self.batch_size)
        return self._predictors[branch]


def _numbers(found: Predictions, where: str = '') -> Predictions:
    for name in (name for by_task in found.values() for name, array in by_task.items() if np.isnan(array).any()):
        raise UserError(
            f'The network predicts NaN for {name}{where}; its training diverged, or its weights are damaged.'
        )
    return found


def _second_activation(task: Task) -> Callable[[np.ndarray], np.ndarray]:
    """What makes interpolated predictions [h w c] of `task` predictions again."""
    activate = jax.jit(task.activate)
    sample = jax.random.normal(jax.random.key(0), (1, 4, 4, task.channels))
    once = activate(3 * sample)
    # Where a second activation changes something (a sigmoid's), means of predictions are predictions already.
    if not np.allclose(activate(once), once, atol=1e-5):
        return lambda x: x
    if not np.allclose(activate(sample)[:, :1], activate(sample[:, :1]), atol=1e-5):
        return lambda x: np.asarray(activate(x[None])[0])

    # Pixels by themselves, always equally many: for each size of image, the compiler would take time and memory.
    def by_pixel(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(-1, x.shape[-1])
        result = np.empty_like(flat)
        for i in range(0, len(flat), PIXELS):
            part = flat[i : i + PIXELS]
            padded = np.pad(part, [(0, PIXELS - len(part)), (0, 0)])
            result[i : i + PIXELS] = np.asarray(activate(padded[None, None])[0, 0])[: len(part)]
        return result.reshape(x.shape)

    return by_pixel
