"""Data sets with a pool per task: what a batch holds, in which order, in any number of processes."""

import collections

import numpy as np
import pytest

from mtkd_jax import tasks
from mtkd_jax.data import pipeline
from mtkd_jax.data.pipeline import Pools
from mtkd_jax.types import UserError

TASKS = (tasks.classification('digits', 3), tasks.classification('characters', 5))
CLASSES = {'digits': 3, 'characters': 5}


def pool(name, count):
    """Examples of one task whose image is their number."""
    return [
        {
            'image': np.full((2, 2, 3), i / 255, np.float32),
            **{t: np.full((1, 1, 1), i % CLASSES[t] if t == name else -1, np.int16) for t in CLASSES},
        }
        for i in range(count)
    ]


def split(digits=20, characters=7, batch_size=8, chosen=TASKS, **more):
    source = Pools.whole({'digits': pool('digits', digits), 'characters': pool('characters', characters)})
    return pipeline.Split(source, chosen, batch_size, **more)


def seen(batches):
    """(task, number) of every image, by batch."""
    return [
        [
            (name, round(float(image[0, 0, 0]) * 255))
            for i, image in enumerate(batch.image)
            for name, target in batch.targets.items()
            if target.mask[i].all()
        ]
        for batch in batches
    ]


def test_every_batch_takes_the_same_number_of_each_pool():
    batches = list(split().epoch(0))
    # Once through the longest pool: 20 digits in fours.
    assert len(batches) == 5 == split().steps_per_epoch
    for batch in batches:
        masks = [batch.targets[task.name].mask.ravel() for task in TASKS]
        # Every image carries one label, and the tasks alternate, so that any share of the batch has both.
        np.testing.assert_array_equal(masks[0], [True, False] * 4)
        np.testing.assert_array_equal(masks[1], [False, True] * 4)
        for task in TASKS:
            value = batch.targets[task.name].value.ravel()
            numbers = np.round(batch.image[:, 0, 0, 0] * 255).astype(int)
            own = masks[TASKS.index(task)]
            np.testing.assert_array_equal(value[own], numbers[own] % CLASSES[task.name])
            np.testing.assert_array_equal(value[~own], -1)


def test_the_longest_part_is_read_once_and_the_other_is_cycled():
    counts = collections.Counter(image for batch in seen(split().epoch(3)) for image in batch)
    assert {counts['digits', i] for i in range(20)} == {1}
    characters = [counts['characters', i] for i in range(7)]
    assert sum(characters) == 20
    assert set(characters) <= {2, 3}
    order = [i for batch in seen(split().epoch(3)) for name, i in batch if name == 'characters']
    # Shuffled anew in every pass.
    assert order[:7] != order[7:14]


def test_order_follows_seed_and_epoch_and_can_be_entered_anywhere():
    assert seen(split().epoch(1)) == seen(split().epoch(1))
    assert seen(split().epoch(1)) != seen(split().epoch(2))
    assert seen(split(seed=1).epoch(1)) != seen(split().epoch(1))
    for start in range(6):
        assert seen(split().epoch(1, start)) == seen(split().epoch(1))[start:]


@pytest.mark.parametrize('name', list(CLASSES))
def test_a_single_task_reads_its_own_images_in_the_same_batches(name):
    alone = split(chosen=[task for task in TASKS if task.name == name])
    assert alone.train_batch_size == 4
    own = [[image for image in batch if image[0] == name] for batch in seen(split().epoch(2))]
    assert seen(alone.epoch(2)) == own
    assert [batch.image.shape[0] for batch in alone.epoch(2)] == [4] * 5
    assert {image for batch in seen(alone.ordered()) for image in batch} == {
        (name, i) for i in range(len(alone.source.pools[name]))
    }


def test_processes_read_neighbouring_rows_of_the_same_batches():
    whole = split(26, 9, 6)
    shares = [split(26, 9, 6, process_index=i, process_count=3) for i in range(3)]
    for read in (lambda one: one.epoch(2), lambda one: one.ordered()):
        rows = zip(*[seen(read(share)) for share in shares], strict=True)
        assert [[image for row in each for image in row] for each in rows] == seen(read(whole))


def test_a_part_that_is_smaller_than_its_share_of_a_batch_is_cycled_within_it():
    (batch,) = seen(split(4, 2).epoch(0))
    assert sorted(i for name, i in batch if name == 'characters') == [0, 0, 1, 1]


def test_hold_out_takes_its_share_of_every_pool():
    train, held = pipeline.hold_out(split(20, 10).source, 0.1, seed=0)
    assert {task: len(p) for task, p in train.pools.items()} == {'digits': 18, 'characters': 9}
    assert {task: len(p) for task, p in held.pools.items()} == {'digits': 2, 'characters': 1}
    assert train.longest == 18


def test_examples_for_pictures_are_of_every_part_and_spread():
    batch = pipeline.first_examples(split(20, 10).source, TASKS, 5)
    assert seen([batch]) == [[('digits', 0), ('characters', 0), ('digits', 12), ('characters', 6), ('digits', 4)]]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'batch_size': 7}, r'`batch_size` 7 does not divide into equal shares of digits, characters.*multiple of 2'),
        ({'batch_size': 64}, r'`batch_size` 64 is larger than the split'),
    ],
)
def test_what_cannot_be_divided_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        split(**arguments).check_trains()


def test_numbers_beyond_the_end():
    with pytest.raises(IndexError):
        split().source[27]
