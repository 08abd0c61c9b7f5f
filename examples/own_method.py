"""A method of one's own, named in a recipe by its module: certainty costs (Pereyra et al. 2017)."""

import tempfile
from dataclasses import dataclass

import jax.numpy as jnp

import mtkd_jax as mt


@dataclass(frozen=True, kw_only=True)
class Settings(mt.methods.plan.Settings):
    weight: float = 0.1  # of the negative entropy of predictions


def stages(settings, run):
    method = Confidence(network=run.network(run.tasks), tasks=run.tasks, weight=settings.weight)
    return [mt.methods.plan.Plan(name='confidence', kind='own_method', method=method, settings=settings.record())]


@dataclass(frozen=True, kw_only=True)
class Confidence(mt.methods.Supervised):
    weight: float

    def losses(self, variables, taught, batch):
        outputs, stats = mt.models.train_outputs(self.network, self.network_variables(variables), batch.image)
        task = self.task_losses(outputs, batch)
        for name, score in outputs.predictions['main'].items():  # log-probabilities
            task[name] += self.weight * jnp.mean(jnp.sum(jnp.exp(score) * score, axis=-1))
        return mt.Losses(task, distillation={}, diagnostics={}), stats


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        config = mt.get_config('glyphs:method=own_method,weight=0.2')
        config.data.update(data_dir=folder, digits_train=100, digits_test=20, classes={'digits': 10, 'characters': 5})
        config.update(widths=(4, 8, 16, 16), batch_size=20, eval_batch_size=20, devices=1, epochs=20)
        (row,) = mt.results(mt.run(config, f'{folder}/run').parent)
    print(f'wrong: {100 - row["baseline.characters_accuracy"]:.1f} -> {100 - row["characters_accuracy"]:.1f}')
