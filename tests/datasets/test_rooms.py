"""Rendered rooms: what is drawn follows from the seed, and agrees with geometry worked out by hand."""

import subprocess
import sys
import zlib

import numpy as np
import pytest

from mtkd_jax.datasets.files.surfaces import stored_axes
from mtkd_jax.datasets.rooms import scenes
from mtkd_jax.datasets.rooms.scenes import primitives, trace
from mtkd_jax.datasets.rooms.scenes.layout import make_scene
from mtkd_jax.datasets.rooms.scenes.primitives import FAR, Primitive

FORMS = {
    'image': (3, np.uint8),
    'depth': (1, np.float32),
    'normals': (3, np.float32),
    'segmentation': (1, np.int8),
    'edges': (1, np.float32),
    'keypoints': (1, np.float32),
}


@pytest.fixture(scope='module')
def many() -> list[dict[str, np.ndarray]]:
    return [scenes.render(seed, 48, 64) for seed in range(40)]


def _solid(
    kind: str, centre: tuple[float, float, float], half: tuple[float, float, float], yaw: float = 0.0
) -> Primitive:
    return Primitive(kind, centre, half, yaw, 0, 'plain', (0.5, 0.5, 0.5), (0.4, 0.4, 0.4))


@pytest.mark.parametrize(('height', 'width'), [(32, 64), (96, 128), (37, 51)])
def test_forms_and_ranges(height: int, width: int) -> None:
    frame = scenes.render(3, height, width)
    assert {k: (v.shape, v.dtype) for k, v in frame.items()} == {
        k: ((height, width, c), np.dtype(t)) for k, (c, t) in FORMS.items()
    }
    assert frame['segmentation'].min() >= -1
    assert frame['segmentation'].max() < len(scenes.CLASSES) == 13
    assert frame['depth'].min() >= 0
    assert frame['depth'].max() < 10
    for name in ('edges', 'keypoints'):
        assert 0 <= frame[name].min() < frame[name].max() <= 1


def test_other_process_draws_the_same() -> None:
    here = scenes.render(5, 33, 47)
    code = (
        'import zlib; from mtkd_jax.datasets.rooms import scenes; f = scenes.render(5, 33, 47);'
        'print(*[zlib.crc32(f[k].tobytes()) for k in sorted(f)])'
    )
    there = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert there == [str(zlib.crc32(here[k].tobytes())) for k in sorted(here)]
    assert not np.array_equal(here['image'], scenes.render(6, 33, 47)['image'])


def test_normals_are_unit_and_face_the_viewer(many: list[dict[str, np.ndarray]]) -> None:
    normals = np.concatenate([f['normals'].reshape(-1, 3) for f in many])
    length = np.linalg.norm(normals, axis=1)
    defined = length > 0
    np.testing.assert_allclose(length[defined], 1, atol=1e-4)
    # Near the border of a 66° view a visible surface may turn a little away from the optical axis.
    assert normals[defined, 1].max() < 0.75


def test_floors_face_up_and_ceilings_down(many: list[dict[str, np.ndarray]]) -> None:
    for name, up in (('floor', 1), ('ceiling', -1)):
        seen = [f['normals'][f['segmentation'][..., 0] == scenes.CLASSES.index(name)] for f in many]
        defined = np.concatenate([n[n.any(axis=-1)] for n in seen])
        # The camera looks down by at most 18°.
        assert (up * defined[:, 2]).min() > np.cos(np.radians(25))


@pytest.mark.parametrize(('name', 'value'), [('depth', 0), ('segmentation', -1)])
def test_share_left_undefined(many: list[dict[str, np.ndarray]], name: str, value: int) -> None:
    assert 0.03 < np.mean([(f[name] == value).mean() for f in many]) < 0.15


@pytest.mark.parametrize('label', range(13))
def test_every_class_appears(many: list[dict[str, np.ndarray]], label: int) -> None:
    seen = sum((f['segmentation'] == label).sum() >= 10 for f in many)
    assert seen >= 4, f'{scenes.CLASSES[label]} in {seen} of 40 scenes'


def test_size_does_not_change_the_scene() -> None:
    # Three times finer: the middle pixel of every 3 × 3 has the coarse pixel's ray.
    small, large = scenes.render(7, 32, 48), scenes.render(7, 96, 144)
    middle = {k: v[1::3, 1::3] for k, v in large.items()}
    both = (small['depth'] > 0) & (middle['depth'] > 0)
    assert both.mean() > 0.7
    np.testing.assert_allclose(small['depth'][both], middle['depth'][both], rtol=1e-4)
    known = (small['segmentation'] >= 0) & (middle['segmentation'] >= 0)
    assert (small['segmentation'] == middle['segmentation'])[known].all()


@pytest.mark.parametrize(
    ('solid', 'expected'),
    [
        (_solid('box', (5, 0, 0), (1, 1, 1)), 4.0),
        (_solid('box', (5, 0, 0), (1, 1, 1), np.pi / 4), 5 - np.sqrt(2)),
        (_solid('sphere', (5, 0.6, 0), (1, 1, 1)), 5 - 0.8),
        (_solid('cylinder', (5, 0.6, 0), (1, 1, 2)), 5 - 0.8),
        (_solid('box', (-5, 0, 0), (1, 1, 1)), float(FAR)),
        (_solid('sphere', (5, 1.1, 0), (1, 1, 1)), float(FAR)),
    ],
)
def test_distance_along_a_known_ray(solid: Primitive, expected: float) -> None:
    ray = np.array([[1, 0, 0]], np.float32)
    found = primitives.distances(solid, np.zeros((1, 3), np.float32), ray)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


@pytest.mark.parametrize('seed', [2, 4, 11])
def test_normals_agree_with_the_depth(seed: int) -> None:
    height, width = 96, 128
    frame, scene = scenes.render(seed, height, width), make_scene(seed)
    spread = 2 * np.tan(scene.field_of_view / 2) / width
    x, y = np.meshgrid((np.arange(width) + 0.5 - width / 2) * spread, (height / 2 - np.arange(height) - 0.5) * spread)
    point = np.concatenate([x[..., None], y[..., None], -np.ones((height, width, 1))], axis=-1) * frame['depth']
    across, down = point[1:-1, 2:] - point[1:-1, :-2], point[:-2, 1:-1] - point[2:, 1:-1]
    measured = np.cross(across, down)
    measured /= np.maximum(np.linalg.norm(measured, axis=-1, keepdims=True), 1e-12)
    # Flat, judged by depth alone: along a plane, the inverse of the depth is linear over the image.
    defined = frame['depth'][..., 0] > 0
    inverse = 1 / np.where(defined, frame['depth'][..., 0], 1).astype(np.float64)
    centre, flat = inverse[1:-1, 1:-1], defined[1:-1, 1:-1].copy()
    for one, other in (((1, 2), (1, 0)), ((0, 1), (2, 1)), ((0, 0), (2, 2)), ((0, 2), (2, 0))):
        pair = [(slice(i, i + height - 2), slice(j, j + width - 2)) for i, j in (one, other)]
        flat &= defined[pair[0]] & defined[pair[1]]
        flat &= np.abs(inverse[pair[0]] + inverse[pair[1]] - 2 * centre) < 1e-5 * centre
    inner = frame['normals'][1:-1, 1:-1]
    flat &= np.linalg.norm(inner, axis=-1) > 0
    assert flat.mean() > 0.4
    cosine = np.sum(stored_axes(measured) * inner, axis=-1)[flat]
    assert np.mean(cosine > 0.999) > 0.995


def test_depth_is_along_the_optical_axis() -> None:
    """An eye facing a wall squarely sees it at one depth, though its rays have different lengths."""
    scene = make_scene(0)
    level = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)  # looks along +y
    empty = type(scene)(**{**vars(scene), 'solids': [], 'rotation': level, 'eye': np.array([2.0, 0.5, 1.5])})
    rays = trace.camera_rays(empty, 5, 5)
    hits = trace.cast(empty, rays)
    wall = np.abs(hits.normal[:, 1]) > 0.5
    assert wall.sum() >= 5
    depth = (hits.distance * (rays @ np.array([0, 1, 0], np.float32)))[wall]
    np.testing.assert_allclose(depth, scene.size[1] - 0.5, rtol=1e-5)
    assert np.ptp(hits.distance[wall]) > 0.05
