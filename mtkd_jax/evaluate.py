"""Evaluates a model folder or a workdir on a prepared split, or predictions from any framework; prints JSON.

    python -m mtkd_jax.evaluate --model=DIR [--split=test] [--data_dir=DIR] [--branch=student]
    python -m mtkd_jax.evaluate --workdir=DIR [--branch=student]
    python -m mtkd_jax.evaluate --predictions=FILE.npz --targets=FILE.npz

Names and units are those of the metrics (docs/metrics.md): accuracies and IoU in %, depth in metres, angles in degrees.
"""

import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any

from absl import flags

from mtkd_jax import command
from mtkd_jax.errors import UserError
from mtkd_jax.places import place

MODEL = flags.DEFINE_string('model', None, 'A model folder.', allow_override=True)
WORKDIR = flags.DEFINE_string('workdir', None, 'A workdir: every model in it is evaluated.', allow_override=True)
DATA_DIR = flags.DEFINE_string(
    'data_dir',
    None,
    'Where prepared data lie; default $TFDS_DATA_DIR or ~/tensorflow_datasets.',
    allow_override=True,
)
SPLIT = flags.DEFINE_string('split', 'test', 'The split to evaluate on.', allow_override=True)
BATCH_SIZE = flags.DEFINE_integer(
    'batch_size', 8, 'Images at a time; the results do not depend on it.', lower_bound=1, allow_override=True
)
BRANCH = flags.DEFINE_string(
    'branch',
    None,
    'Only this branch of a self-distilled network (teacher, student or ensemble); the others are not computed.',
    allow_override=True,
)
PREDICTIONS = flags.DEFINE_string(
    'predictions', None, '.npz with arrays [n h w c] named by task, or branch/task.', allow_override=True
)
TARGETS = flags.DEFINE_string(
    'targets', None, '.npz with arrays named by task: label -1, depth 0, normal 0 undefined.', allow_override=True
)
CLASSES = flags.DEFINE_integer(
    'classes', 13, 'Classes of predictions that are class ids.', lower_bound=2, allow_override=True
)

ALLOW_MODULES = flags.DEFINE_bool(
    'allow_modules',
    False,
    "Import a Python module that a model folder names (somebody's own backbone or data set), which runs its code.",
    allow_override=True,
)


sys.modules[__name__].__class__ = command.Function


def __getattr__(name: str) -> Any:
    """`evaluate`, `score` and its parts. They are elsewhere, because they import what `--help` does without."""
    place = 'evaluation' if name == 'evaluate' else 'scoring'
    return getattr(importlib.import_module(f'mtkd_jax.experiment.{place}'), name)


def to_json(results: Any) -> str:
    """JSON, with null for a metric that is no number: nothing was defined, or a network predicts NaN or infinity."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(clean(results), indent=1)


def main() -> None:
    """Chooses what to evaluate from the flags."""
    chosen = [flag.name for flag in (MODEL, WORKDIR, PREDICTIONS) if flag.value]
    if len(chosen) != 1 or bool(PREDICTIONS.value) != bool(TARGETS.value):
        raise UserError('Give one of --model=DIR, --workdir=DIR, or --predictions=FILE with --targets=FILE.')
    if PREDICTIONS.value:
        if BRANCH.value:
            raise UserError('--branch is of networks; of --predictions, give the file that holds this branch alone.')
        from mtkd_jax.experiment.scoring import score

        print(to_json(score(Path(PREDICTIONS.value), Path(command.value(TARGETS)), CLASSES.value)))
        return
    from mtkd_jax.experiment.evaluation import evaluate, evaluate_all

    data = SPLIT.value, DATA_DIR.value, BATCH_SIZE.value
    options: Any = {'branch': BRANCH.value, 'allow_modules': ALLOW_MODULES.value}
    if MODEL.value:
        print(to_json(evaluate(place(MODEL.value), *data, **options)))
        return
    results, without = evaluate_all(place(command.value(WORKDIR)), *data, **options)
    if without:
        print(f'Left out, having no branch {BRANCH.value!r}: {", ".join(without)}.', file=sys.stderr)
    print(to_json(results))


if __name__ == '__main__':
    command.start(main)
