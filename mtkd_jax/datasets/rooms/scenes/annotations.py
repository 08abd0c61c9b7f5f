"""What a sensor and an annotator would leave out, and edges and keypoints computed from the image."""

import numpy as np

from mtkd_jax.datasets.rooms.scenes.textures import noise


def gray(image: np.ndarray) -> np.ndarray:
    """Luminance [h w] in [0, 1] of a uint8 image [h w 3]."""
    return (image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)) / 255


def _blur(x: np.ndarray, kernel: tuple[float, ...]) -> np.ndarray:
    """Separable filter with an odd symmetric kernel; the border is repeated."""
    reach = len(kernel) // 2
    for axis in (0, 1):
        pad = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        wide = np.pad(x, pad, mode='edge')
        n = x.shape[axis]
        x = np.sum([k * np.take(wide, range(i, i + n), axis=axis) for i, k in enumerate(kernel)], axis=0)
    return x


def _gradients(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives along x and y of the slightly smoothed luminance."""
    smooth = np.pad(_blur(gray(image), (0.25, 0.5, 0.25)), 1, mode='edge')
    rows = (smooth[:, 2:] - smooth[:, :-2]) / 2
    columns = (smooth[2:] - smooth[:-2]) / 2
    dx = (rows[:-2] + 2 * rows[1:-1] + rows[2:]) / 4
    dy = (columns[:, :-2] + 2 * columns[:, 1:-1] + columns[:, 2:]) / 4
    return dx, dy


def edges(image: np.ndarray) -> np.ndarray:
    """Thin edges [h w 1] in [0, 1]: the Sobel gradient's size where largest across the edge (as in Canny, 1986)."""
    dx, dy = _gradients(image)
    size = np.hypot(dx, dy)
    p = np.pad(size, 1)
    h, w = size.shape
    neighbours = {
        0: (p[1 : h + 1, 2:], p[1 : h + 1, :w]),
        1: (p[2:, 2:], p[:h, :w]),
        2: (p[2:, 1 : w + 1], p[:h, 1 : w + 1]),
        3: (p[2:, :w], p[:h, 2:]),
    }
    sector = np.round(np.arctan2(dy, dx) / (np.pi / 4)).astype(int) % 4
    keep = np.zeros(size.shape, bool)
    for k, (a, b) in neighbours.items():
        keep |= (sector == k) & (size >= a) & (size > b)
    return np.clip(4 * np.where(keep, size, 0), 0, 1).astype(np.float32)[..., None]


def keypoints(image: np.ndarray) -> np.ndarray:
    """Corner strength [h w 1] in [0, 1]: root of the structure tensor's smaller eigenvalue (Shi & Tomasi, 1994)."""
    dx, dy = _gradients(image)
    kernel = (0.06, 0.24, 0.4, 0.24, 0.06)
    xx, yy, xy = _blur(dx * dx, kernel), _blur(dy * dy, kernel), _blur(dx * dy, kernel)
    smaller = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    return np.clip(12 * np.sqrt(np.maximum(smaller, 0)), 0, 1).astype(np.float32)[..., None]


def _blobs(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Smooth noise [h w] over the image; `scale` in image widths, so that it does not depend on the size."""
    y, x = (np.mgrid[0:height, 0:width] + 0.5) / width
    points = np.stack([x.ravel(), y.ravel()], axis=1) + rng.uniform(0, 50, 2)
    return noise(points.astype(np.float32), scale).reshape(height, width)


def undefined_depth(
    rng: np.random.Generator, depth: np.ndarray, normals: np.ndarray, gloss: np.ndarray, view: np.ndarray
) -> np.ndarray:
    """Where a depth sensor would see nothing [h w]: glossy things, jumps in depth, grazing surfaces, some blobs.

    `depth`, `gloss` [h w]; `normals` and `view` (directions from the eye) [h w 3] in one frame.
    """
    height, width = depth.shape
    grazing = np.abs(np.sum(normals * view, axis=-1)) < 0.08
    jump = np.zeros(depth.shape, bool)
    jump[:, 1:] |= np.abs(np.diff(depth, axis=1)) > 0.5
    blobs = _blobs(rng, height, width, 0.11) > 0.9
    reflecting = (gloss > 0.5) & (_blobs(rng, height, width, 0.06) > 0.25)
    return grazing | jump | blobs | reflecting


def void_labels(rng: np.random.Generator, thing: np.ndarray) -> np.ndarray:
    """Where an annotator left nothing [h w]: some borders between things, and some patches."""
    height, width = thing.shape
    border = np.zeros(thing.shape, bool)
    border[:, 1:] |= thing[:, 1:] != thing[:, :-1]
    border[1:] |= thing[1:] != thing[:-1]
    careless = _blobs(rng, height, width, 0.15) > 0.5
    return (border & careless) | (_blobs(rng, height, width, 0.13) > 0.9)
