"""The card of a model: README.md beside its weights, from what is recorded of it and nothing else."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flax.traverse_util import flatten_dict

from mtkd_jax import datasets
from mtkd_jax.metrics import without_legacy
from mtkd_jax.recipe import BACKBONES
from mtkd_jax.records import AVERAGES, by_branch
from mtkd_jax.reporting import sections
from mtkd_jax.reporting.labels import Labels
from mtkd_jax.reporting.tables import NOTHING, markdown
from mtkd_jax.tasks import Task
from mtkd_jax.types import MAIN

CLASSES = 60  # names of classes that are listed

Results = Mapping[str, Any]

LOAD = """\
```python
import mtkd_jax as mt

model = mt.load('FOLDER'{allowed})  # this folder
predictions = model.predict('image.png')
```

```bash
python -m mtkd_jax.predict --model=FOLDER --inputs=image.png --out=PICTURES{flag}
python -m mtkd_jax.evaluate --model=FOLDER --data_dir=PREPARED{flag}
python -m mtkd_jax.export --model=FOLDER --format=onnx --out=model.onnx{flag}
```"""

LICENCE = (
    'None is stated here: that is for whoever passes the weights on. Look first at the terms of the data set, and of '
    'networks that this one learnt from.'
)


def trained(results: Results, averages: bool, *, spec: Mapping[str, Any], tasks: Sequence[Task], chosen: bool) -> str:
    """The card of a network that was trained here.

    Args:
        results: of its stage (`results.json`).
        averages: whether its weights are the moving averages, whose metrics stand beside those of the weights.
        spec: what its model folder says of it.
        tasks: what it predicts.
        chosen: whether the weights are those of an epoch that the selection rule chose, not those of the last one.
    """
    found = _of(results['results'], averages)
    network = (results.get('parameters') or {}).get('network')
    return _document(
        f'{results["stage"]}, moving averages' if averages else results['stage'],
        {
            'Network': _network(spec, network, results.get('branches') or {}),
            'Predictions': _predictions(tasks),
            'Training': _training(results, averages, chosen),
            'Data': _data(spec, (results.get('settings') or {}).get('data', {}).get('made', {})),
            'Metrics': _metrics(results, found, tasks),
            'Use': _use(spec),
            'Limits': _limits(results, found, tasks, spec),
            'Licence': LICENCE,
            'Settings': sections.settings([results]),
        },
    )


def converted(spec: Mapping[str, Any], tasks: Sequence[Task], parameters: int, published: str) -> str:
    """The card of a network whose weights are those of the `published` model of that name."""
    return _document(
        published,
        {
            'Network': _network(spec, parameters, {}),
            'Predictions': _predictions(tasks),
            'Training': f'Not trained here: converted from a checkpoint of `{published}` (`python -m '
            'mtkd_jax.convert`). How it was trained is not recorded.',
            'Data': f'Evaluated with `{spec["data"]["dataset"]}`: {datasets.named(spec["data"]["dataset"]).about} '
            'Which images it was trained on is not recorded.',
            'Metrics': 'None are recorded; `evaluate` (below) measures them.',
            'Use': _use(spec),
            'Licence': LICENCE,
        },
    )


def _document(title: str, parts: Mapping[str, str]) -> str:
    return '\n'.join([f'# {title}\n', *(f'## {heading}\n\n{body}\n' for heading, body in parts.items() if body)])


def _of(results: Mapping[str, float], averages: bool) -> dict[str, dict[str, float]]:
    """{branch: results} of the weights, or of their moving averages."""
    # `ema/miou`, of a branch `ema_student/miou`.
    of_averages = {name: name.startswith((f'{AVERAGES}/', f'{AVERAGES}_')) for name in results}
    own = {name: value for name, value in results.items() if of_averages[name] == averages}
    return by_branch({name[len(AVERAGES) + 1 :] if averages else name: value for name, value in own.items()})


def _network(spec: Mapping[str, Any], parameters: int | None, branches: Mapping[str, Any]) -> str:
    data = spec['data']
    widths = f', widths {", ".join(map(str, spec["widths"]))}' if spec.get('widths') else ''
    counted = f'; {parameters:,} parameters' if parameters is not None else ''
    options = ''.join(f'; {name}: {_listed(value)}' for name, value in spec['network'].items() if value != [MAIN])
    lines = [
        f'- `{spec["backbone"]}`{widths}{counted}; computes in {spec["compute_dtype"]}{options}.',
        f'- Takes images of {data["height"]}×{data["width"]}, red green blue, bytes divided by 255; other sizes are '
        'resized by area.',
    ]
    costs = {name: cost for name, cost in branches.items() if name != MAIN or len(branches) > 1}
    for name, cost in costs.items():
        operations = f', {cost["operations"] / 1e9:,.2f}·10⁹ operations an image' if cost.get('operations') else ''
        lines.append(f'- Deployed as `{name}`: {cost["parameters"]:,} parameters{operations}.')
    return '\n'.join(lines)


def _listed(value: Any) -> str:
    return ', '.join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _predictions(tasks: Sequence[Task]) -> str:
    lines = []
    for task in tasks:
        size = 'one answer an image' if task.words is not None else 'every pixel'
        unit = f' in {task.unit}' if task.unit else ''
        channels = f'{task.channels} channel{"s" if task.channels > 1 else ""}'
        lines.append(f'- **{task.name}**, {size}, {channels}: {task.predicts or "values"}{unit}.')
        words = [word for word, _ in task.legend] if task.mistakes is not None else []
        if words and len(words) <= CLASSES:
            lines[-1] += f' Classes: {", ".join(words)}.'
    return '\n'.join(lines)


def _training(results: Results, averages: bool, chosen: bool) -> str:
    settings, machine = results.get('settings') or {}, results.get('machine')
    weights = 'those of the epoch that the selection rule chose' if chosen else 'those after the last step'
    if averages:
        weights = f'moving averages (decay {settings.get("ema_decay")}) after the last step'
    weighting = f', weighting `{results["weighting"]}`' if results.get('weighting', 'none') != 'none' else ''
    named = {'batch_size': ', batches of ', 'optimizer': ', ', 'learning_rate': ', learning rate '}
    how = ''.join(f'{words}{settings[name]}' for name, words in named.items() if name in settings)
    lines = [
        f'- Method `{results["method"]}`{weighting}, tasks {", ".join(results["tasks"])}, seed {results.get("seed")}.',
        f'- {results["epochs"]} epochs, {results["steps"]:,} steps{how}.',
        f'- The weights are {weights}.',
    ]
    if (before := settings.get('continued')) is not None:
        lines.insert(2, f'- The first {before["epochs"]} epochs: another run, learning rate {before["learning_rate"]}.')
    if machine:
        lines.append(f'- On {sections.machine(machine)}.')
    return '\n'.join(lines)


def _data(spec: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    name = spec['data']['dataset']
    lines = [f'`{name}`: {datasets.named(name).about or "nothing is recorded of what its images are."}']
    rest = {key: value for key, value in made.items() if key != 'examples'}
    how = [f'{key} {value}' for key, value in flatten_dict(rest, sep='.').items()]
    if how:
        lines.append(f'As it was prepared: {", ".join(how)}.')
    if 'examples' in made:
        lines.append(f'Images: {", ".join(f"{split} {count}" for split, count in made["examples"].items())}.')
    return ' '.join(lines)


def _metrics(results: Results, found: Mapping[str, Mapping[str, float]], tasks: Sequence[Task]) -> str:
    labels, selection = Labels.of(tasks), results['selection']
    names = sorted(dict.fromkeys(name for own in found.values() for name in own), key=labels.order)
    constants = {
        name: value for of_task in (results.get('baselines') or {}).values() for name, value in of_task.items()
    }
    columns = [f'branch {branch}' if branch else 'value' for branch in found]
    body = [
        [
            labels.with_arrow(name),
            *(labels.number(name, own.get(name)) for own in found.values()),
            labels.number(name, constants[name]) if name in constants else NOTHING,
        ]
        for name in names
    ]
    split = selection.get('split', 'test')
    notes = [
        f'On the {split} split. {selection["note"]}',
        f'This is one network, of seed {results.get("seed")}: how much another seed would change is not measured here.',
        markdown(['metric', *columns, 'constant predictor'], body),
        'Constant predictor: one prediction for every pixel (or image), taken from the training set.'
        if constants
        else 'No constant predictor was evaluated.',
    ]
    if any(without_legacy(name) != name for name in names):
        notes.append(f'Legacy: the protocol of the papers. {sections.legacy_in_words(tasks)}')
    return '\n\n'.join(notes)


def _use(spec: Mapping[str, Any]) -> str:
    modules = [
        name
        for name, known in ((spec['backbone'], BACKBONES), (spec['data']['dataset'], datasets.NAMES))
        if name not in known
    ]
    if not modules:
        return LOAD.format(allowed='', flag='')
    named = ' and '.join(f'`{name}`' for name in modules)
    needs = f'It needs the Python modules {named}, which are not part of mtkd_jax; to allow them runs their code.'
    return f'{LOAD.format(allowed=", allow_modules=True", flag=" --allow_modules")}\n\n{needs}'


def _limits(
    results: Results, found: Mapping[str, Mapping[str, float]], tasks: Sequence[Task], spec: Mapping[str, Any]
) -> str:
    data = spec['data']
    lines = [
        f'- Measured on images like those it was trained on, at {data["height"]}×{data["width"]}; on others, and at '
        'other sizes, it has not been measured here.'
    ]
    labels = Labels.of(tasks)
    for task in tasks:
        constant = (results.get('baselines') or {}).get(task.name, {})
        for branch, own in found.items():
            for name in (name for name in task.metrics.each if name in constant and name in own):
                better = task.metrics.each[name].direction * (own[name] - constant[name])
                if better > 0 or not math.isfinite(better):
                    continue
                of = f'Branch `{branch}`' if branch else 'The network'
                lines.append(f'- {of} is not better than the constant predictor by {labels[name]} ({task.name}).')
    return '\n'.join(lines)
