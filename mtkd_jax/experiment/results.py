"""The results of any number of runs, as rows for a data frame."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from mtkd_jax import records
from mtkd_jax.names import matching
from mtkd_jax.places import is_dir
from mtkd_jax.types import UserError


def results(patterns: str | Path | Sequence[str | Path]) -> list[dict[str, Any]]:
    """A row for every branch of every finished stage, as plain dictionaries (`pandas.DataFrame(rows)`).

    Columns (docs/library.md): `workdir`, `stage`, `branch` ('' where a network has one), `method`, `weighting`,
    `backbone`, `dataset`, `tasks` (joined with +), `seed`, `epochs`, `steps`, `selection`, every setting as
    `settings.NAME`, what the constant predictor gives as `baseline.METRIC`, and every metric by its name.

    Args:
        patterns: workdirs, or patterns of them such as `'runs/*'`.

    Raises:
        UserError: nothing matches, no stage there is finished, or a results file is damaged.
    """
    given = [patterns] if isinstance(patterns, str | Path) else list(patterns)
    rows = [row for workdir in workdirs(given) for row in _rows(workdir)]
    if not rows:
        raise UserError(f'{", ".join(map(str, given))} has no finished stage (stages/STAGE/results.json); train first.')
    return rows


def workdirs(patterns: Sequence[str | Path]) -> list[Path]:
    """The folders that exist by these names, or match them as patterns.

    Raises:
        UserError: one of them matches nothing.
    """
    found: list[Path] = []
    for pattern in map(str, patterns):
        folders = matching('workdirs', pattern, is_dir, 'folder')
        found += [path for path in folders if path not in found]
    return found


def _rows(workdir: Path) -> Iterator[dict[str, Any]]:
    for stage in records.finished_stages(workdir).values():
        about = {name: stage.get(name) for name in ('stage', 'method', 'weighting', 'backbone', 'dataset')}
        about |= {'tasks': '+'.join(stage['tasks']), 'seed': stage.get('seed')}
        about |= {'epochs': stage.get('epochs'), 'steps': stage.get('steps')}
        about['selection'] = (stage.get('selection') or {}).get('rule')
        settings = {
            f'settings.{name}': value for name, value in flatten_dict(stage.get('settings') or {}, sep='.').items()
        }
        for found in (stage.get('baselines') or {}).values():
            about |= {f'baseline.{name}': value for name, value in found.items() if name != 'predictor'}
        for branch, metrics in records.by_branch(stage['results']).items():
            yield {'workdir': str(workdir), 'branch': branch, **about, **settings, **metrics}
