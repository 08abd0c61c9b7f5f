"""A workdir as a finished KD-MTL run leaves it, with made-up but plausible numbers."""

from pathlib import Path

import numpy as np

from mtkd_jax import records as stage_records
from mtkd_jax import tasks

TASKS = {task.name: task for task in (tasks.segmentation(13), tasks.depth(), tasks.normals())}

SINGLE = {
    'segmentation': {
        'loss/segmentation': 1.31,
        'miou': 20.0,
        'pixel_accuracy': 50.0,
        'miou_per_image_legacy': 16.0,
        'pixel_accuracy_per_image_legacy': 49.0,
    },
    'depth': {'loss/depth': 0.66, 'depth_abs': 0.5, 'depth_rel': 0.25},
    'normals': {
        'loss/normals': 0.21,
        'normal_mean': 30.0,
        'normal_median': 24.0,
        'normal_11.25': 25.0,
        'normal_22.5': 50.0,
        'normal_30': 60.0,
    },
}
MULTI = {
    'loss/segmentation': 1.22,
    'miou': 22.0,
    'pixel_accuracy': 51.0,
    'miou_per_image_legacy': 17.6,
    'pixel_accuracy_per_image_legacy': 49.98,
    'loss/depth': 0.6,
    'depth_abs': 0.45,
    'depth_rel': 0.26,
    'loss/normals': 0.22,
    'normal_mean': 31.5,
    'normal_median': 24.0,
    'normal_11.25': 26.0,
    'normal_22.5': 50.0,
    'normal_30': 60.0,
}


def legacy(results):
    """`results` and depth and normals in the papers' protocol: twice the number."""
    twice = {f'{name}_per_batch_legacy': 2 * x for name, x in results.items() if name.startswith(('depth', 'normal'))}
    return results | twice


SINGLE = {task: legacy(results) for task, results in SINGLE.items()}
MULTI = legacy(MULTI)
BASELINES = {
    'segmentation': {'predictor': 'majority class of the training set', 'pixel_accuracy': 25.0},
    'depth': {'predictor': 'median depth of the training set', 'depth_rel': 0.5},
    'normals': {'predictor': 'mean normal of the training set', 'normal_mean': 45.0},
}


def stage(name: str, method: str, names: list[str], results: dict[str, float], **changes) -> dict:
    """One stage's results.json."""
    parameters = {'network': 1_234_567, 'adaptors': 45_000} if method == 'kd_mtl' else {'network': 987_654}
    settings = {'method': method, 'tasks': names, 'epochs': 12, 'learning_rate': 2e-3, 'compute_dtype': 'float32'}
    if method == 'kd_mtl':
        settings['distillation'] = {'points': ['mid', 'last'], 'weights': dict.fromkeys(names, 1.0)}
    return {
        'stage': name,
        'method': method,
        'backbone': 'segnet',
        'tasks': names,
        'dataset': 'rooms',
        'seed': 0,
        'epochs': 12,
        'steps': 720,
        'selection': {'rule': 'last', 'split': 'test', 'note': 'Metrics of the last epoch; nothing was chosen on it.'},
        'results': dict(results),
        'parameters': parameters,
        'timing': {
            'step_seconds': 0.05,
            'images_per_second': 160.0,
            'peak_memory_bytes': 3 * 2**29,
            'train_seconds': 65.0,
            'compile_seconds': 9.0,
            'device': 'cpu ×1',
        },
        'papers': [],
        'baselines': {n: BASELINES[n] for n in names if n in BASELINES},
        'settings': settings,
        **changes,
    }


def stages(**changes) -> list[dict]:
    """Three single-task stages and a multi-task one."""
    single = [stage(f'stl_{name}', 'stl', [name], results, **changes) for name, results in SINGLE.items()]
    return [*single, stage('kd_mtl', 'kd_mtl', list(TASKS), MULTI, **changes)]


def write(workdir: Path, chosen: list[dict]) -> Path:
    """Writes stages as training does."""
    for one in chosen:
        folder = stage_records.stage_folder(workdir, one['stage'])
        stage_records.write_settings(folder, one['settings'])
        stage_records.write_results(folder, one)
    return workdir


def records(one: dict, epochs: int = 12, seed: int = 0) -> list[dict]:
    """What a stage's metrics.jsonl holds: falling losses, metrics that end at the stage's results."""
    rng = np.random.default_rng([seed, len(one['stage'])])
    found = []
    for step in range(20, epochs * 60 + 1, 20):
        decay = 0.4 + 1.6 * np.exp(-step / 200)
        record = {'step': step, 'epoch': step / 60, 'split': 'train', 'steps': 20, 'seconds': 1.0, 'gradient_norm': 1.0}
        for name in one['tasks']:
            record[f'loss/{name}'] = decay * rng.uniform(0.9, 1.1)
            if one['method'] == 'kd_mtl':
                record[f'distillation/{name}'] = 0.5 * decay * rng.uniform(0.9, 1.1)
        record['loss/total'] = sum(v for k, v in record.items() if k.startswith('loss/'))
        found.append(record)
        if step % 180 == 0:
            approach = 1 - 0.5 * np.exp(-step / 200)
            metrics = {k: v * (approach if v > 1 else 1 / approach) for k, v in one['results'].items()}
            found.append({'step': step, 'epoch': step / 60, 'split': 'test', **metrics})
    return found


def examples(count: int = 3, height: int = 32, width: int = 48, seed: int = 0) -> dict:
    """Arguments of a panel: a ball before a wall, with a part of every truth undefined."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    given = {name: [] for name in ('image', *TASKS, 'mask')}
    for i in range(count):
        ball = ((x - width * (0.3 + 0.2 * i)) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2)[..., None]
        given['image'].append(
            np.where(ball, [0.8, 0.3, 0.2], [0.5, 0.6, 0.7]) + 0.05 * rng.standard_normal((height, width, 3))
        )
        given['segmentation'].append(np.where(ball, 3, 12))
        given['depth'].append(np.where(ball, 2.0, 4.0 + 2 * x[..., None] / width))
        given['normals'].append(np.where(ball, [0.0, 0.6, 0.8], [0.0, 0.0, 1.0]))
        given['mask'].append(((x + y) > height // 3)[..., None])
    arrays = {name: np.stack(values) for name, values in given.items()}
    truths = {name: arrays[name] for name in TASKS}
    scores = np.eye(13)[np.roll(arrays['segmentation'][..., 0], 2, axis=2)]
    predicted = {
        'segmentation': scores,
        'depth': arrays['depth'] * 1.1,
        'normals': np.roll(arrays['normals'], 2, axis=2),
    }
    return {
        'images': arrays['image'],
        'truths': truths,
        'masks': dict.fromkeys(TASKS, arrays['mask']),
        'predictions': {'main': predicted},
        'tasks': list(TASKS.values()),
    }
