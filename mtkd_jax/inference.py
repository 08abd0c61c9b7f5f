"""Inference apart from training: a trained network's predictions for images."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float

from mtkd_jax import models
from mtkd_jax.data import images
from mtkd_jax.data.images import Picture
from mtkd_jax.names import choice
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN, UserError, Variables

Predictions = dict[str, dict[str, np.ndarray]]


def make_predictor(
    network: nn.Module,
    variables: Variables,
    batch_size: int = 8,
    made: Callable[[Any], Callable[..., Any]] = lambda jitted: jitted,
) -> Callable[[np.ndarray], Predictions]:
    """images [n h w 3] in [0, 1] → {branch: {task: [n h w c]}}, in evaluation mode, `batch_size` at a time.

    One image alone is computed alone. `made`: jitted function → what is called in its place.
    """
    variables = jax.device_put(variables)
    apply = made(jax.jit(lambda variables, image: models.predict(network, variables, image).predictions))

    def predict(images: np.ndarray) -> Predictions:
        parts: list[Any] = []
        size = 1 if len(images) == 1 else batch_size
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
        self._predictors: dict[str | None, Callable[[np.ndarray], Predictions]] = {}

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
        found = self.by_branch(x, branch=branch, at=at)
        return found if branch is None and len(self.branches) > 1 else found[branch or self.branches[0]]

    def by_branch(
        self, x: Picture | Sequence[Picture], *, branch: str | None = None, at: str = 'network'
    ) -> dict[str, dict[str, Any]]:
        """As `predict`, but always {branch: {task: ...}}."""
        choice('at', at, ('network', 'input'))
        predictor = self._predictor(branch)
        given = images.prepare(x, self.size)
        found = predictor(given.images)
        for name in (name for by_task in found.values() for name, array in by_task.items() if np.isnan(array).any()):
            raise UserError(f'The network predicts NaN for {name}; its training diverged, or its weights are damaged.')
        stacked = not isinstance(x, list | tuple)

        def finished(task: Task, predictions: np.ndarray) -> Any:
            if at == 'network':
                return predictions if given.many else predictions[0]
            each = _at_sizes(task, predictions, given.sizes)
            if not given.many:
                return each[0]
            return np.stack(each) if stacked else each

        return {b: {t.name: finished(t, by_task[t.name]) for t in self.tasks} for b, by_task in found.items()}

    def _predictor(self, branch: str | None) -> Callable[[np.ndarray], Predictions]:
        if branch is not None:
            choice('branch', branch, self.branches)
        if branch not in self._predictors:
            alone = branch is not None and len(self.branches) > 1
            network = self.network.clone(branches=(branch,)) if alone else self.network
            self._predictors[branch] = make_predictor(network, self.variables, self.batch_size)
        return self._predictors[branch]


def _at_sizes(
    task: Task, predictions: Float[np.ndarray, 'n h w c'], sizes: Sequence[tuple[int, int]]
) -> list[Float[np.ndarray, '_ _ c']]:
    # Where a second activation changes something (a sigmoid's), means of predictions are predictions as they are.
    sample = task.activate(3 * jax.random.normal(jax.random.key(0), (1, 2, 2, task.channels)))
    again = task.activate if np.allclose(task.activate(sample), sample, atol=1e-5) else lambda x: x

    def resized(prediction: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if task.words is not None or prediction.shape[:2] == size:
            return prediction
        return np.asarray(again(jax.image.resize(prediction[None], (1, *size, task.channels), 'bilinear'))[0])

    return [resized(prediction, size) for prediction, size in zip(predictions, sizes, strict=True)]
