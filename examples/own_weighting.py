"""A weighting of one's own, named in a recipe by its module: tasks whose gradients are large weigh less."""

import tempfile

import jax.numpy as jnp

import mtkd_jax as mt


def weighting(power: float = 0.5) -> mt.Weighting:
    """w_t = ‖g_t‖^-power, scaled to the number of tasks that have a label."""

    def update(state, losses, gramian, labelled):
        norm = jnp.sqrt(jnp.diagonal(gramian))
        weights = jnp.where(labelled & (norm > 0), jnp.where(norm > 0, norm, 1.0) ** -power, 0.0)
        return weights * labelled.sum() / jnp.maximum(weights.sum(), 1e-12), state

    return mt.Weighting(init=lambda tasks: (), update=update, needs='gramian')


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        config = mt.get_config('glyphs:method=mtl,weighting=own_weighting,power=0.8')
        config.data.update(data_dir=folder, height=16, width=16, digits_train=100, digits_test=20)
        config.data.classes.characters = 5
        config.update(widths=(4, 8, 16, 16), batch_size=20, eval_batch_size=20, devices=1, epochs=20)
        mt.run(config, f'{folder}/run')
        (row,) = mt.results(f'{folder}/run')
    wrong = [100 - row[name] for name in ('baseline.characters_accuracy', 'characters_accuracy')]
    print(f'characters, % wrong: {wrong[0]:.1f} -> {wrong[1]:.1f}')
