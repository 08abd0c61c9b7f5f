"""Indoor scenes by ray casting, with exact depth, normals and classes: data for machines that have none.

NumPy alone; everything follows from the seed.
"""

import numpy as np

from mtkd_jax.datasets.files.surfaces import stored_axes
from mtkd_jax.datasets.rooms.scenes import annotations, trace
from mtkd_jax.datasets.rooms.scenes.furniture import CLASSES
from mtkd_jax.datasets.rooms.scenes.layout import make_scene

__all__ = ['CLASSES', 'render']

CORNERS = ((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0))  # (x, y) of a pixel's four quarters, and of the lamp's


def render(seed: int, height: int, width: int) -> dict[str, np.ndarray]:
    """A furnished room seen from eye height.

    Returns:
        image: uint8 [h w 3], 2×2 sub-pixels averaged, a little sensor noise.
        depth: float32 [h w 1], metres along the optical axis (as a Kinect gives it), of the ray through the pixel's
            centre; 0 where undefined.
        normals: float32 [h w 3], unit, in the camera's frame with NYUv2's axes (x right, y away from the viewer, z up);
            zero where undefined.
        segmentation: int8 [h w 1], 0..12 in the order of `CLASSES` (NYUv2's 13); -1 = void.
        edges, keypoints: float32 [h w 1] in [0, 1], computed from the image.
    """
    scene = make_scene(seed)
    rng = np.random.default_rng([seed, 2])
    shape = (height, width)

    # All rays in one call: most of the time is in calls for each solid, and not in arithmetic.
    shifts = [(x / 4, y / 4) for x, y in CORNERS]
    rays = np.concatenate([trace.camera_rays(scene, height, width, shift) for shift in (*shifts, (0.0, 0.0))])
    hits = trace.cast(scene, rays)
    centres = slice(len(CORNERS) * height * width, None)
    around = slice(centres.start)
    corners = np.repeat(np.array(CORNERS), height * width, axis=0)
    shades = trace.shade(scene, hits.at(around), rays[around], corners, rng)
    light = np.zeros((height * width, 3), np.float32)
    for sub_pixels in np.split(shades, len(CORNERS)):
        light += sub_pixels / len(CORNERS)
    colour = np.clip(light, 0, 1) ** (1 / 1.5) + rng.normal(0, 0.008, light.shape)
    image = (np.clip(colour, 0, 1) * 255).round().astype(np.uint8).reshape(*shape, 3)

    rays, hits = rays[centres], hits.at(centres)
    forward = -scene.rotation[2].astype(np.float32)
    depth = (hits.distance * (rays @ forward)).reshape(shape)
    normals = (hits.normal @ scene.rotation.T.astype(np.float32)).reshape(*shape, 3)
    view = (rays @ scene.rotation.T.astype(np.float32)).reshape(*shape, 3)
    gloss = trace.gloss(scene, hits).reshape(shape)
    unseen = annotations.undefined_depth(rng, depth, normals, gloss, view)[..., None]
    void = annotations.void_labels(rng, hits.thing.reshape(shape))[..., None]
    classes = trace.labels(scene, hits).reshape(*shape, 1)
    return {
        'image': image,
        'depth': np.where(unseen, 0, depth[..., None]).astype(np.float32),
        'normals': np.where(unseen, 0, stored_axes(normals)).astype(np.float32),
        'segmentation': np.where(void, -1, classes).astype(np.int8),
        'edges': annotations.edges(image),
        'keypoints': annotations.keypoints(image),
    }
