"""Batches: every example once, repeatable, in any number of shares."""

import numpy as np
import pytest

from mtkd_jax.data import pipeline
from mtkd_jax.types import UserError
from tests import small


def numbered(count):
    """Examples whose image is their number."""
    examples = small.source(count)
    return [{**e, 'image': np.full_like(e['image'], i / 100)} for i, e in enumerate(examples)]


def numbers(batches):
    return [[round(float(image[0, 0, 0]) * 100) for image in batch.image] for batch in batches]


def split(count, batch_size, **more):
    return pipeline.Split(numbered(count), small.TASKS, batch_size, **more)


def test_an_epoch_has_every_example_at_most_once_and_full_batches():
    found = numbers(split(10, 3).epoch(0))
    assert [len(batch) for batch in found] == [3, 3, 3]
    flat = [n for batch in found for n in batch]
    assert len(set(flat)) == 9
    assert flat != sorted(flat)


def test_order_follows_seed_and_epoch():
    assert numbers(split(12, 3).epoch(1)) == numbers(split(12, 3).epoch(1))
    assert numbers(split(12, 3).epoch(1)) != numbers(split(12, 3).epoch(2))
    assert numbers(split(12, 3, seed=1).epoch(1)) != numbers(split(12, 3).epoch(1))


@pytest.mark.parametrize('start', [0, 1, 3, 4])
def test_an_epoch_can_be_entered_anywhere(start):
    assert numbers(split(12, 3).epoch(5, start)) == numbers(split(12, 3).epoch(5))[start:]


@pytest.mark.parametrize('processes', [2, 3])
def test_processes_read_neighbouring_rows_of_the_same_batches(processes):
    """Put together, they are those of one process: shuffled, in order and filled up, and by number."""
    whole = split(16, 6)
    shares = [split(16, 6, process_index=i, process_count=processes) for i in range(processes)]

    def together(found):
        return [[n for row in rows for n in row] for rows in zip(*found, strict=True)]

    for epoch in (0, 3):
        assert together([numbers(share.epoch(epoch)) for share in shares]) == numbers(whole.epoch(epoch))
        assert all((share.order(epoch) == whole.order(epoch)).all() for share in shares)
    assert together([numbers(share.epochs(0, 3, 1)) for share in shares]) == numbers(whole.epochs(0, 3, 1))
    masks = [[batch.targets['depth'].mask for batch in one.ordered()] for one in (whole, *shares)]
    assert together([numbers(share.ordered()) for share in shares]) == numbers(whole.ordered())
    for ours, *theirs in zip(*masks, strict=True):
        np.testing.assert_array_equal(ours, np.concatenate(theirs))
    assert numbers(shares[1].whole.ordered()) == numbers(whole.ordered())


def test_padding_is_masked_for_every_task():
    *_, last = split(10, 8).ordered()
    assert last.image.shape[0] == 8
    for target in last.targets.values():
        assert target.mask[:2].any()
        assert not target.mask[2:].any()


def test_examples_become_batches_with_masks():
    stored = small.source(1)[0]
    stored['image'] = (stored['image'] * 255).astype(np.uint8)
    batch = pipeline.to_example(stored, small.TASKS)
    np.testing.assert_allclose(batch.image, stored['image'] / 255, rtol=1e-6)
    assert batch.targets['segmentation'].value.dtype == np.int32
    np.testing.assert_array_equal(batch.targets['depth'].mask, stored['depth'] > 0)


def test_hold_out_is_a_partition():
    train, validation = pipeline.hold_out(numbered(20), 0.1, seed=0)
    assert (len(train), len(validation)) == (18, 2)
    assert sorted(np.concatenate([train.indices, validation.indices])) == list(range(20))
    again, _ = pipeline.hold_out(numbered(20), 0.1, seed=0)
    np.testing.assert_array_equal(train.indices, again.indices)
    with pytest.raises(UserError, match=r'`validation_fraction` is 1.5'):
        pipeline.hold_out(numbered(20), 1.5, seed=0)


def test_too_large_batches_are_refused():
    with pytest.raises(UserError, match=r'`batch_size` 8 is larger than the split, which has 4'):
        _ = split(4, 8).steps_per_epoch
