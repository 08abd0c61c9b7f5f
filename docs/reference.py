"""The pages of the reference, written before Sphinx reads them: from the public names, so none can be missing.

Each page is a list of directives; what they show are the docstrings.
"""

import functools
import importlib
import inspect
import re
from pathlib import Path

from absl import flags

import mtkd_jax
from mtkd_jax import cli, configs, datasets, distill, methods, metrics, models, tasks, weighting
from mtkd_jax.training import optimizer

ROOT = Path(__file__).resolve().parents[1]

LIBRARY = [
    ('Gradients of several tasks', ('task_gradients', 'Terms')),
    ('Runs and results', ('get_config', 'run', 'results', 'evaluate')),
    ('Trained networks', ('load', 'Model', 'export')),
    ('Types', ('Weighting', 'Task', 'Outputs', 'Losses', 'Mixture', 'UserError')),
]
"""Headings of the first page, and the names of `mtkd_jax` below them; its modules have pages of their own."""

BESIDE = {
    'Gradients of several tasks': tuple(f'mtkd_jax.gradients.{name}' for name in ('TaskGradients', 'State', 'Report')),
    'Runs and results': tuple(
        f'mtkd_jax.training.stop.{name}' for name in ('StopRequest', 'StoppedError', 'NonFiniteLossError')
    ),
    'Types': ('mtkd_jax.types.Target', 'mtkd_jax.types.Batch', 'mtkd_jax.views.View', 'mtkd_jax.data.sources.Source'),
}
"""What those take, give and raise, too, by its own module."""

PLAN = ('Settings', 'Run', 'Plan', 'GivenPlan', 'Given')
PARTS = {
    'mtkd_jax.tasks': (
        'mtkd_jax.tasks.base.Constant',
        'mtkd_jax.tasks.base.carried',
        'mtkd_jax.tasks.strength.strength',
    ),
    'mtkd_jax.methods': (*(f'mtkd_jax.methods.plan.{name}' for name in PLAN), 'mtkd_jax.methods.sd_mtcnn.Branches'),
    'mtkd_jax.datasets': ('mtkd_jax.datasets.flags.Flag',),
}
"""What a module's page has beyond the module's public names: what one needs for parts of one's own."""


def write(folder):
    """Writes every page into `folder`; what has not changed is not touched, so that a second build is fast."""
    folder.mkdir(exist_ok=True)
    public = {name: getattr(mtkd_jax, name) for name in mtkd_jax.__all__}
    made = pages()
    vars(mtkd_jax).update(public)  # the module of a command, such as `export`, would stand for the function
    for old in folder.glob('*.rst'):
        if old.stem not in made:
            old.unlink()
    for name, lines in made.items():
        text, file = '\n'.join(lines) + '\n', folder / f'{name}.rst'
        if not file.is_file() or file.read_text() != text:
            file.write_text(text)


def pages():
    """Name of every page → its lines."""
    made = {'library': library(), 'weighting': weightings(), 'methods': method_pages(), 'datasets': data_sets()}
    for name, title, module in (
        ('distill', 'Distillation', distill),
        ('models', 'Networks', models),
        ('tasks', 'Tasks', tasks),
    ):
        made[name] = [*heading(f'{title}: ``{module.__name__}``'), *of_module(module), *parts(module)]
    made['metrics'] = [*heading('Metrics: ``mtkd_jax.metrics``'), *described('mtkd_jax.metrics'), *own(metrics)]
    made['training'] = [
        *heading('Optimisers and schedules: ``mtkd_jax.training.optimizer``'),
        *described('mtkd_jax.training.optimizer'),
        *[line for name in (*optimizer.OPTIMIZERS, *optimizer.SCHEDULES) for line in shown(optimizer, name)],
    ]
    return made | {'configs': config_pages(), 'commands': command_pages(), 'examples': examples()}


def heading(text, mark='='):
    """A heading, or, with another `mark`, one below it."""
    return [text, mark * len(text), '']


def described(module):
    """The docstring of a module."""
    return [f'.. automodule:: {module}', '   :no-index:', '']


def shown(module, name):
    """The directive that shows a public name of a module, by what it is."""
    found = getattr(module, name)
    path = f'{module.__name__}.{name}'
    if module is not mtkd_jax and getattr(mtkd_jax, name, None) is found:
        return [f'``{name}``: see :class:`mtkd_jax.{name}`.', '']
    if inspect.isclass(found):
        exception = issubclass(found, BaseException)
        return [
            f'.. auto{"exception" if exception else "class"}:: {path}',
            *([] if exception else ['   :members:']),
            '',
        ]
    if inspect.isroutine(found):
        return [f'.. autofunction:: {path}', '']
    return [f'.. autodata:: {path}', *(['   :no-value:'] if '<module' in repr(found) else []), '']


def at(path):
    """The directive of a name by its full path."""
    module, _, name = path.rpartition('.')
    return shown(importlib.import_module(module), name)


def of_module(module):
    """A module's docstring, then its public names."""
    return [*described(module.__name__), *[line for name in module.__all__ for line in shown(module, name)]]


def own(module):
    """The public classes and functions that a module defines, where it has no list of them."""
    here = [name for name, found in vars(module).items() if getattr(found, '__module__', '') == module.__name__]
    return [line for name in here if not name.startswith('_') for line in shown(module, name)]


def parts(module):
    """What a page has for parts of one's own."""
    found = PARTS.get(module.__name__, ())
    return [*heading('For parts of your own', '-'), *[line for path in found for line in at(path)]] if found else []


def library():
    """`mtkd_jax` itself."""
    lines = heading('The library: ``mtkd_jax``')
    lines += described('mtkd_jax')
    for title, names in LIBRARY:
        lines += heading(title, '-')
        lines += [line for name in names for line in shown(mtkd_jax, name)]
        lines += [line for path in BESIDE.get(title, ()) for line in at(path)]
    return lines


def weightings():
    """Every weighting: its module's docstring, which has the maths, then its constructor."""
    lines = heading('Weightings: ``mtkd_jax.weighting``')
    lines += described('mtkd_jax.weighting')
    lines += ['What a weighting is: :class:`mtkd_jax.Weighting`.', '']
    for name in weighting.__all__:
        if name != 'Weighting':
            lines += heading(f'``{name}``', '-')
            lines += described(f'mtkd_jax.weighting.{name}')
            lines += shown(weighting, name)
    return lines


def method_pages():
    """Every method: its module's docstring, and its settings."""
    lines = [*heading('Methods: ``mtkd_jax.methods``'), *of_module(methods)]
    for name, module in methods.NAMES.items():
        lines += heading(f'``{name}``', '-')
        lines += described(module.__name__)
        if module.Settings.__module__ == module.__name__:
            lines += shown(module, 'Settings')
        else:
            lines += ['It has no settings of its own.', '']
        lines += shown(module, 'stages')
    return [*lines, *parts(methods)]


def data_sets():
    """The data sets: what each is, and the fields of its configs."""
    lines = [*heading('Data sets: ``mtkd_jax.datasets``'), *of_module(datasets)]
    for name in datasets.NAMES:
        found = datasets.named(name)
        lines += [*heading(f'``{name}``', '-'), found.about, '']
        lines += [f'Tasks: {", ".join(f"``{task}``" for task in found.task_names)}.', '']
        lines += ['Fields of ``config.data`` and their defaults:', '']
        lines += [f'- ``{field}``: ``{default!r}``' for field, default in found.defaults.items()] + ['']
    return [*lines, *parts(datasets)]


def config_pages():
    """How configs are made, and the file that explains every field."""
    lines = [*heading('Configs: ``mtkd_jax.configs``'), *described('mtkd_jax.configs'), *own(configs)]
    lines += [*heading('Every field', '-'), '.. literalinclude:: ../../configs/base.py', '   :language: python', '']
    for name in configs.NAMES:
        lines += [
            *heading(f'``{name}``', '-'),
            f'.. literalinclude:: ../../configs/{name}.py',
            '   :language: python',
            '',
        ]
    return lines


def command_pages():
    """Every command: its docstring as it is, and its flags."""
    lines = heading('Commands')
    for name, what in cli.COMMANDS.items():
        module = importlib.import_module(f'mtkd_jax.{name}')
        said = [f'   {line}'.rstrip() for line in inspect.cleandoc(module.__doc__).splitlines()]
        lines += [*heading(f'``mtkd {name}``', '-'), f'``python -m mtkd_jax.{name}``: {what}.', '']
        lines += ['.. code-block:: text', '', *said, '']
        lines += [entry for flag in flags_of(module) for entry in flag_lines(flag)]
    return lines


def flags_of(module):
    """The flags that a command defines, in their order."""
    found = [*vars(module).values(), *getattr(module, 'OWN', {}).values()]
    return [flags.FLAGS[holder.name] for holder in found if isinstance(holder, flags.FlagHolder)]


def flag_lines(flag):
    """A flag as an entry of a list."""
    default = '' if flag.default in (None, [], '', False) else f' Default: ``{flag.default}``.'
    said = re.sub(r'(--\w+(=\w+)?)', r'``\1``', ' '.join(flag.help.split()).replace('.; ', '. '))
    return [f'``--{flag.name}``', f'   {said}{default}'.replace('*', r'\*'), '']


def examples():
    """The files of examples/, each as it is, under a target of its name."""
    lines = [*heading('Examples'), 'Each is a file of its own that runs as it is; the tests run all of them.', '']
    for file in sorted((ROOT / 'examples').glob('*.py')):
        lines += [f'.. _example-{file.stem}:', '', *heading(file.name, '-')]
        lines += [f'.. literalinclude:: ../../examples/{file.name}', '   :language: python', '']
    return lines


@functools.cache
def public_names():
    """Where something is defined → the public name under which the reference shows it."""
    found = {}
    for module in (mtkd_jax, weighting, distill, models, tasks, methods, datasets):
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                found.setdefault(f'{thing.__module__}.{thing.__qualname__}', f'{module.__name__}.{name}')
    return found
