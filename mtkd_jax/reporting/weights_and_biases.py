"""Numbers of a stage on Weights & Biases: a run for each stage, a group for each workdir."""

import os
import re
import secrets
import tempfile
from pathlib import Path

import wandb

from mtkd_jax.files import read_json, write_json
from mtkd_jax.places import Stored
from mtkd_jax.records import Record, numbers, read_settings
from mtkd_jax.types import UserError

PROJECT = 'mtkd_jax'
KEPT = 'wandb.json'  # in the stage's folder: which run is the stage's


class WeightsAndBiases:
    """Logs `SPLIT/NAME` over `step`, with the stage's settings as the run's config.

    The package's own variables hold: WANDB_PROJECT (else `mtkd_jax`), WANDB_ENTITY, WANDB_MODE=offline, WANDB_API_KEY.
    A stage that continues from a checkpoint goes on in its run. The steps between its checkpoint and its end are logged
    again, with the values that they had.

    Raises:
        UserError: the run cannot be begun, for example because nobody is logged in.
    """

    def __init__(self, folder: Path, resume_step: int | None) -> None:
        file, project = folder / KEPT, os.environ.get('WANDB_PROJECT') or PROJECT
        continued = resume_step != 0 and file.is_file()
        which = read_json(file, f'remove {file}')['id'] if continued else secrets.token_hex(8)
        write_json(file, {'id': which, 'project': project})
        # What the package keeps beside its service stays on this machine where the stage is in a store.
        self._place = tempfile.TemporaryDirectory(prefix='mtkd_jax_') if isinstance(folder, Stored) else None
        run = folder.parent.parent
        # A seed of several is a workdir in the run's.
        workdir = run.parent.name if re.fullmatch(r'seed\d+', run.name) else run.name
        seed = f'/{run.name}' if workdir != run.name else ''
        try:
            self._run = wandb.init(
                project=project,
                id=which,
                name=f'{workdir}{seed}/{folder.name}',
                group=workdir,
                config=read_settings(folder),
                resume='allow',
                dir=self._place.name if self._place else str(folder),
                # Seeds that train at the same time have a run each.
                reinit='create_new',
                settings=wandb.Settings(silent=True, console='off', save_code=False),
            )
        except wandb.errors.Error as error:
            reason = ' '.join(str(error).split())
            raise UserError(
                f'Weights & Biases cannot begin a run ({reason}); log in with `wandb login`, set WANDB_MODE=offline, '
                "or leave 'wandb' out of `writers`."
            ) from error
        self._run.define_metric('*', step_metric='step')

    def write(self, record: Record) -> None:
        """Logs one record."""
        named = {f'{record["split"]}/{name}': value for name, value in numbers(record).items()}
        self._run.log({'step': record['step'], 'epoch': record['epoch'], **named})

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()
        if self._place is not None:
            self._place.cleanup()
