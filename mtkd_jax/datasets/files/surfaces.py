"""Depth images without holes bleeding: resizing, and the normals of the surface they show."""

import numpy as np
from PIL import Image

# Focal lengths and principal point of the Kinect's colour camera in pixels (1-based) of 480×640 images: NYU toolbox.
FOCAL = (518.857901, 519.469611)
CENTRE = (325.582449, 253.736166)
FULL_SIZE = (480, 640)

RADIUS = 3  # of the window a plane is fitted in, in pixels
STEEPEST = 6.0  # relative change of depth per radian; more is a jump to another surface (seen at 80°, a plane has 6)
ENOUGH = 10  # pixels a plane is fitted to, at least


def resize_defined(array: np.ndarray, defined: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`array` [h w c] averaged over its `defined` [h w] pixels to `size`; zero where less than half is defined."""
    height, width = size

    def shrink(channel: np.ndarray) -> np.ndarray:
        image = Image.fromarray(channel.astype(np.float32))
        return np.asarray(image.resize((width, height), Image.Resampling.BOX))

    share = shrink(defined)
    channels = [shrink(np.where(defined, array[..., c], 0)) for c in range(array.shape[-1])]
    mean = np.stack(channels, axis=-1) / np.maximum(share, 1e-6)[..., None]
    return np.where((share >= 0.5)[..., None], mean, 0).astype(np.float32)


def stored_axes(normals: np.ndarray) -> np.ndarray:
    """Normals [... 3] of the camera frame (x right, y up, z towards the viewer) in the axes that data sets store.

    Those are x right, y away from the viewer, z up: the preprocessed NYUv2's. (In four of its frames, normals computed
    from depth have a mean cosine of 0.58 with the stored ones in these axes, and at most 0.32 in any others.)
    """
    x, y, z = np.moveaxis(normals, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def normals_from_depth(depth: np.ndarray) -> np.ndarray:
    """Unit normals [h w 3] of the surface that a Kinect's depth image [h w] shows (metres, 0 undefined).

    The image may have any size but must show the camera's whole field of view. Camera frame: x right, y up, z towards
    the viewer. Zero where depth is undefined or too few pixels around belong to the same surface.

    In a plane n·p = d, seen along rays r with p = z r, inverse depth is 1/z = n·r / d: linear in pixel coordinates.
    So q = 1/z is fitted by least squares, q ≈ q₀ + a u + b v, to the pixels around that are defined and do not jump.
    """
    height, width = depth.shape
    q = np.divide(1, depth, out=np.zeros(depth.shape, np.float32), where=depth > 0)
    fx, fy = FOCAL[0] * width / FULL_SIZE[1], FOCAL[1] * height / FULL_SIZE[0]
    a, b, q0, fitted = _fit_planes(q, STEEPEST / min(fx, fy))
    # Pixel centres: 1-based in the toolbox, at halves here, so that they scale with the image.
    cx, cy = (CENTRE[0] - 0.5) * width / FULL_SIZE[1], (CENTRE[1] - 0.5) * height / FULL_SIZE[0]
    v, u = np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)
    ahead = q0 + a * (cx - u) + b * (cy - v)
    # With r = ((u - cx) / fx, -(v - cy) / fy, -1), and turned to the viewer.
    normals = np.stack([-a * fx, b * fy, ahead], axis=-1)
    length = np.linalg.norm(normals, axis=-1)
    fitted &= length > 0
    return np.where(fitted[..., None], normals / np.where(fitted, length, 1)[..., None], 0).astype(np.float32)


def _fit_planes(q: np.ndarray, jump: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Slopes a (per column), b (per row) and value of the plane fitted around every pixel of `q`, and where one is.

    `jump`: relative change per pixel that is too much for one surface.
    """
    height, width = q.shape
    padded = np.pad(q, RADIUS)
    # Differences to the middle pixel, not values: sums of squares in float32 keep their digits.
    n, su, sv, suu, suv, svv, sq, suq, svq = (np.zeros(q.shape, np.float32) for _ in range(9))
    offsets = range(-RADIUS, RADIUS + 1)
    for dv in offsets:
        for du in offsets:
            other = padded[RADIUS + dv : RADIUS + dv + height, RADIUS + du : RADIUS + du + width]
            distance = max(abs(du), abs(dv))
            difference = other - q
            near = ((other > 0) & (np.abs(difference) <= jump * distance * q)).astype(np.float32)
            difference *= near
            n += near
            sq += difference
            for total, factor in ((su, du), (sv, dv), (suu, du * du), (suv, du * dv), (svv, dv * dv)):
                total += factor * near
            suq += du * difference
            svq += dv * difference
    fitted = (q > 0) & (n >= ENOUGH)
    count = np.maximum(n, 1)
    # Moments about the mean.
    suu -= su * su / count
    suv -= su * sv / count
    svv -= sv * sv / count
    suq -= su * sq / count
    svq -= sv * sq / count
    determinant = suu * svv - suv * suv
    # Pixels in one line leave the plane free to turn about it.
    fitted &= determinant > 0.01 * np.maximum(suu, svv) ** 2
    determinant = np.where(fitted, determinant, 1)
    a = (suq * svv - svq * suv) / determinant
    b = (svq * suu - suq * suv) / determinant
    return a, b, q + (sq - a * su - b * sv) / count, fitted


def unit(vectors: np.ndarray) -> np.ndarray:
    """`vectors` [... c] brought to unit length, float32; zero where they are zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros(vectors.shape, np.float32), where=length > 0)
