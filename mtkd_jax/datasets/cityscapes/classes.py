"""The classes of the official table: 7 categories, or the 19 that are trained."""

import numpy as np

CATEGORIES = ('flat', 'construction', 'object', 'nature', 'sky', 'human', 'vehicle')
# Of each train id: its label id in the files, its name and its category.
TRAINED = (
    (7, 'road', 'flat'),
    (8, 'sidewalk', 'flat'),
    (11, 'building', 'construction'),
    (12, 'wall', 'construction'),
    (13, 'fence', 'construction'),
    (17, 'pole', 'object'),
    (19, 'traffic light', 'object'),
    (20, 'traffic sign', 'object'),
    (21, 'vegetation', 'nature'),
    (22, 'terrain', 'nature'),
    (23, 'sky', 'sky'),
    (24, 'person', 'human'),
    (25, 'rider', 'human'),
    (26, 'car', 'vehicle'),
    (27, 'truck', 'vehicle'),
    (28, 'bus', 'vehicle'),
    (31, 'train', 'vehicle'),
    (32, 'motorcycle', 'vehicle'),
    (33, 'bicycle', 'vehicle'),
)
LARGEST_LABEL = 33
COUNTS = (len(CATEGORIES), len(TRAINED))
NO_LABEL = 255  # how an 8-bit file holds -1, the licence plate's


def class_names(classes: int) -> tuple[str, ...]:
    """The 7 categories or the 19 trained classes, in the order of their ids."""
    return CATEGORIES if classes == len(CATEGORIES) else tuple(name for _, name, _ in TRAINED)


def class_of_label(classes: int) -> np.ndarray:
    """int8 [256]: label id → class id; -1 for labels that the official evaluation ignores, also among 7 classes."""
    table = np.full(256, -1, np.int8)
    for train_id, (label, _, category) in enumerate(TRAINED):
        table[label] = train_id if classes == len(TRAINED) else CATEGORIES.index(category)
    return table
