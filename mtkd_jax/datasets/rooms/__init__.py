"""Rendered indoor scenes with exact targets, for machines without data."""

from typing import Any

from mtkd_jax.datasets import base
from mtkd_jax.datasets.flags import Flag

# Pixels, scenes, metres; NYUv2's classes.
DEFAULTS: dict[str, Any] = {
    'height': 64,
    'width': 96,
    'train_images': 480,
    'test_images': 120,
    'scene_seed': 0,
    'classes': 13,
    'depth_maximum': 8.0,
}
SPLIT_SEEDS = 1_000_000  # scene seeds set aside for one split
SEEDS = 1000  # a scene's own seed, at most about 2 SEEDS · SPLIT_SEEDS, is kept as int32
LIMITS = {
    **dict.fromkeys(('height', 'width'), (8, SPLIT_SEEDS)),
    **dict.fromkeys(('train_images', 'test_images'), (1, SPLIT_SEEDS)),
    'scene_seed': (0, SEEDS),
}


DATA_SET = base.DataSet(
    name='rooms',
    about='Rendered indoor scenes with exact targets, no photographs: nothing is known of a network on real '
    'images that learnt from them alone.',
    defaults=DEFAULTS,
    task_names=('segmentation', 'depth', 'normals', 'keypoints', 'edges'),
    check=lambda data: base.check_ranges('rooms', data, LIMITS),
    flags=(
        Flag('train', 'train_images', 'Training scenes'),
        Flag('test', 'test_images', 'Test scenes'),
        Flag('seed', 'scene_seed', 'Seed; other seeds give other rooms'),
    ),
    free=('depth_maximum',),
    **base.rendered(__name__),
)
