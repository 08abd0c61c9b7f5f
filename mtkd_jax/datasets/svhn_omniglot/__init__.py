"""SVHN (Netzer et al. 2011) and Omniglot (Lake et al. 2015) of the Visual Decathlon, made from the user's files."""

from typing import Any

from mtkd_jax.datasets import base
from mtkd_jax.datasets.flags import SOURCE, Flag

TITLES = {'svhn': 'SVHN', 'omniglot': 'Omniglot'}
TASKS = tuple(TITLES)
# Images (papers.md A4).
OFFICIAL = {'svhn': {'train': 47_217, 'test': 26_040}, 'omniglot': {'train': 19_476, 'test': 6_492}}
# Pixels: the papers give no size; the challenge's images are 72 on their shorter side. Classes by task (papers.md A4).
DEFAULTS: dict[str, Any] = {'height': 64, 'width': 64, 'partial': False, 'classes': {'svhn': 10, 'omniglot': 1623}}


DATA_SET = base.DataSet(
    name='svhn_omniglot',
    about='SVHN (Netzer et al. 2011), house numbers, and Omniglot (Lake et al. 2015), handwritten characters, '
    'of the Visual Decathlon.',
    defaults=DEFAULTS,
    task_names=TASKS,
    check=lambda data: None,
    flags=(SOURCE, Flag('partial', 'partial', 'Accept less than the official images')),
    per_image=True,
    training={task: counts['train'] for task, counts in OFFICIAL.items()},
    **base.from_files(__name__),
)
