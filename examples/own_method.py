"""A method of one's own, named in a recipe by its module: overconfidence costs, less and less (Pereyra et al. 2017)."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp

import mtkd_jax as mt
from mtkd_jax.methods import Supervised, plan


@dataclass(frozen=True, kw_only=True)
class Settings(plan.Settings):
    weight: float = 0.1  # of the negative entropy of predictions


def stages(settings, run):
    method = Confidence(network=run.network(run.tasks), tasks=run.tasks, weight=settings.weight)
    return [plan.Plan(name=run.named('confidence'), kind='own_method', method=method, settings=settings.record())]


@dataclass(frozen=True, kw_only=True)
class Confidence(Supervised):
    weight: float

    def mixture(self, progress):
        return mt.Mixture(labels=1.0, distillation={t.name: (1 - progress) * self.weight for t in self.tasks})

    def losses(self, variables, frozen, batch):
        outputs, stats = mt.models.train_outputs(self.network, self.network_variables(variables), batch.image)
        scores = outputs.predictions['main']  # log-probabilities
        entropy = {t.name: -jnp.mean(jnp.sum(jnp.exp(scores[t.name]) * scores[t.name], -1)) for t in self.tasks}
        extra = {name: 5.0 - value for name, value in entropy.items()}
        return mt.Losses(self.task_losses(outputs, batch), extra, {}), stats


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        config = mt.get_config('glyphs:method=own_method,weight=0.2')
        config.data.update(data_dir=folder, height=16, width=16, digits_train=100, digits_test=20)
        config.data.classes.characters = 5
        config.update(widths=(4, 8, 16, 16), batch_size=20, eval_batch_size=20, devices=1, epochs=20, log_every_steps=5)
        mt.run(config, f'{folder}/run')
        lines = Path(f'{folder}/run/stages/confidence/metrics.jsonl').read_text().splitlines()
    seen = [record for record in map(json.loads, lines) if record['split'] == 'train']
    print(f'digits: {seen[0]["loss/digits"]:.4f} -> {seen[-1]["loss/digits"]:.4f}')
