"""Multi-task learning with knowledge distillation in JAX and Flax.

    import mtkd_jax as mt

Names below are imported when they are first used (docs/library.md).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtkd_jax import datasets, distill, methods, models, tasks, weighting
    from mtkd_jax.configs import load as get_config
    from mtkd_jax.errors import UserError
    from mtkd_jax.experiment.evaluation import evaluate
    from mtkd_jax.experiment.exporting import export
    from mtkd_jax.experiment.loading import load
    from mtkd_jax.experiment.results import results
    from mtkd_jax.experiment.run import run
    from mtkd_jax.gradients import task_gradients
    from mtkd_jax.inference import Model
    from mtkd_jax.jacobian import Terms
    from mtkd_jax.methods.method import Mixture
    from mtkd_jax.tasks import Task
    from mtkd_jax.types import Losses, Outputs
    from mtkd_jax.weighting import Weighting

__version__ = '0.1.0'

_WHERE = {
    'Losses': 'types:Losses',
    'Mixture': 'methods.method:Mixture',
    'Model': 'inference:Model',
    'Outputs': 'types:Outputs',
    'Task': 'tasks:Task',
    'Terms': 'jacobian:Terms',
    'UserError': 'errors:UserError',
    'Weighting': 'weighting:Weighting',
    'datasets': 'datasets:',
    'distill': 'distill:',
    'evaluate': 'experiment.evaluation:evaluate',
    'export': 'experiment.exporting:export',
    'get_config': 'configs:load',
    'load': 'experiment.loading:load',
    'methods': 'methods:',
    'models': 'models:',
    'results': 'experiment.results:results',
    'run': 'experiment.run:run',
    'task_gradients': 'gradients:task_gradients',
    'tasks': 'tasks:',
    'weighting': 'weighting:',
}

__all__ = [
    'Losses',
    'Mixture',
    'Model',
    'Outputs',
    'Task',
    'Terms',
    'UserError',
    'Weighting',
    'datasets',
    'distill',
    'evaluate',
    'export',
    'get_config',
    'load',
    'methods',
    'models',
    'results',
    'run',
    'task_gradients',
    'tasks',
    'weighting',
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    place, _, attribute = _WHERE[name].partition(':')
    module = importlib.import_module(f'{__name__}.{place}')
    return getattr(module, attribute) if attribute else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
