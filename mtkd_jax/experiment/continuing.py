"""Training longer: the stages of a run begin where those of a finished run ended."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from mtkd_jax.places import Stored, place
from mtkd_jax.records import MODEL, read_results, read_settings, stage_folder
from mtkd_jax.training.continuing import saved
from mtkd_jax.training.folder import weights_digest
from mtkd_jax.types import UserError

MAY_DIFFER = ('epochs', 'learning_rate', 'schedule', 'schedule_settings')
"""Settings of the finished run that a longer one may have otherwise."""

CONTINUED = 'continued'
"""The setting that says which training a stage continues."""


def of_stage(
    continue_from: str, workdir: Path, name: str, settings: Mapping[str, Any]
) -> tuple[Path | None, dict[str, Any] | None]:
    """The folder of the finished stage that the stage `name` in `workdir` is to continue, and what is recorded of it.

    No folder once it has begun, which needs nothing of the other run any more; neither where it continues none.

    Args:
        continue_from: as in the config: a finished workdir, '' for none.
        workdir: of the longer run, another one.
        name: of the stage.
        settings: what decides its outcome, but for what it continues.

    Raises:
        UserError: there is no such stage, it is not finished, has other settings, or was not trained for less.
    """
    if not continue_from:
        return None, None
    given = place(continue_from)
    if isinstance(given, Stored) or isinstance(workdir, Stored):
        raise UserError(
            f'`continue_from` is {given}, the workdir {workdir}; trainings go on in folders of this machine only.'
        )
    if (recorded := _begun(stage_folder(workdir, name))) is not None:
        return None, recorded
    if given.resolve() == workdir.resolve():
        raise UserError(f'`continue_from` is {given}, the run itself; choose another --workdir for the longer one.')
    folder = stage_folder(given, name).resolve()
    before, results = read_settings(folder), read_results(folder)
    if before is None or results is None:
        raise UserError(
            f'`continue_from` is {given}, but {folder} is no finished stage; finish that run first, or name another.'
        )
    _check_same(folder, before, settings)
    if before['epochs'] >= settings['epochs']:
        raise UserError(
            f'`epochs` is {settings["epochs"]}, but {folder} was trained for {before["epochs"]}; give more, all in all.'
        )
    return folder, _said(folder)


def _said(folder: Path) -> dict[str, Any]:
    """What a stage that continues the one in `folder` records of it.

    That is what may differ, a digest of its model's weights, and what it continued itself.
    """
    before = read_settings(folder)
    assert before is not None
    kept = {name: before[name] for name in (*MAY_DIFFER, CONTINUED) if name in before}
    return {**kept, 'weights': weights_digest(folder / MODEL)}


def _begun(folder: Path) -> Any:
    """What the stage in `folder` records of the one that it continues, once it has all of that; None before."""
    return (read_settings(folder) or {}).get(CONTINUED) if saved(folder) else None


def _check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in settings.items() if name not in (*MAY_DIFFER, CONTINUED)}
        return flatten_dict(json.loads(json.dumps(kept)), sep='.')

    old, new = flat(before), flat(now)
    for field in sorted({*old, *new}):
        if old.get(field) != new.get(field):
            raise UserError(
                f'`continue_from`: {folder} was trained with `{field}` {old.get(field)!r}, now it is '
                f'{new.get(field)!r}; only {", ".join(MAY_DIFFER)} may differ.'
            )
