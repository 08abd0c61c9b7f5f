"""From a finished run to numbers and predictions: a model folder loaded, and results as rows of a table."""

import tempfile

import numpy as np

import mtkd_jax as mt


def main(folder):
    config = mt.get_config('rooms:method=stl,tasks=depth')
    config.data.update(data_dir=folder, height=32, width=32, train_images=32, test_images=8)
    config.update(widths=(4, 4, 4, 4, 4), epochs=10, eval_batch_size=4, devices=1, learning_rate=1e-2)
    mt.run(config, f'{folder}/run')

    model = mt.load(f'{folder}/run/stages/stl_depth/model')
    photograph = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    depth = model.predict(photograph, at='input')['depth']  # [120 160 1], in metres
    print(f'Depth of {depth.shape}: {depth.min():.2f} to {depth.max():.2f} m')

    (row,) = mt.results(f'{folder}/run')  # pandas.DataFrame(mt.results('runs/*'))
    constant = row['baseline.depth_rel']  # what the median of the training set gives
    print(f'{row["stage"]}, seed {row["seed"]}, relative error of depth: {constant:.4f} -> {row["depth_rel"]:.4f}')


if __name__ == '__main__':  # rooms are rendered by processes of their own, which import this file
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
