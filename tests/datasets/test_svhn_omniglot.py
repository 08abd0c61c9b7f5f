"""SVHN & Omniglot from the Visual Decathlon's files: every pixel and label, and what is wrong with a file."""

import json

import numpy as np
import pytest
from PIL import Image

from mtkd_jax.data.pipeline import Pools
from mtkd_jax.datasets.errors import DataError, DataNotPrepared
from mtkd_jax.datasets.svhn_omniglot import decathlon
from tests.datasets import decathlon_source as source
from tests.datasets import prepared

PARTIAL = {'height': 32, 'width': 32, 'partial': True}

SPLITS = {'train': 'train', 'test': 'val'}


def resized(name, split, i):
    """The original picture at 32×32; JPEG is off by a little."""
    return np.asarray(Image.fromarray(source.picture(name, split, i)).resize((32, 32), Image.Resampling.BOX), int)


@pytest.mark.parametrize('layout', ['downloaded', 'tars', 'folders'])
def test_what_was_written_is_read_back(tmp_path, layout):
    folder = source.write(tmp_path / 'files', layout)
    data = prepared.prepare('svhn_omniglot', tmp_path / 'out', PARTIAL, folder)
    assert data.counts == {'train': 32, 'test': 14}
    assert data.class_count == source.CLASSES
    for split, theirs in SPLITS.items():
        whole = data.sources[split]
        assert isinstance(whole, Pools)
        for name, pool in whole.pools.items():
            assert len(pool) == source.COUNTS[name][theirs]
            other = next(task for task in source.CLASSES if task != name)
            for example in (pool[i] for i in range(len(pool))):
                i = int(example['index'])
                assert example['image'].dtype == np.uint8
                assert example[name].ravel() == source.label(name, i)
                assert example[other].ravel() == -1
                assert np.abs(example['image'] - resized(name, theirs, i)).max() <= 8
            assert {int(pool[i]['index']) for i in range(len(pool))} == set(range(len(pool)))
    again = prepared.opened('svhn_omniglot', str(tmp_path / 'out'), height=32, width=32, partial=True)
    assert again.metadata['parts'] == {'train': {'svhn': 20, 'omniglot': 12}, 'test': {'svhn': 10, 'omniglot': 4}}
    assert 'WARNING: svhn train has 20 images of 10 classes; official are 47217 of 10.' in again.metadata['notes']
    with pytest.raises(DataNotPrepared, match='--dataset=svhn_omniglot --source=DIR --size=32x32'):
        prepared.opened('svhn_omniglot', str(tmp_path / 'out'), height=32, width=32)


def test_less_than_the_official_data_must_be_asked_for(tmp_path, monkeypatch):
    folder = source.write(tmp_path, 'folders')
    with pytest.raises(DataError, match=r'svhn train has 20 images.*official are 47217 of 10.*give --partial'):
        decathlon.Decathlon(folder, (32, 32))
    complete = {name: {s: source.COUNTS[name][t] for s, t in SPLITS.items()} for name in source.CLASSES}
    monkeypatch.setattr(decathlon, 'OFFICIAL', complete)
    monkeypatch.setattr(decathlon, 'CLASSES', source.CLASSES)
    assert decathlon.Decathlon(folder, (32, 32)).notes == []


def read_all(folder):
    reader = decathlon.Decathlon(folder, (32, 32), partial=True)
    return [list(reader.images(name, split)) for name in source.CLASSES for split in SPLITS]


def edit(folder, name, change):
    """Applies `change` to a JSON."""
    file = folder / 'decathlon-1.0/annotations' / name
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


def truncated(folder):
    file = folder / 'data/svhn.tar'
    file.write_bytes(file.read_bytes()[:20_000])


def without(folder, name='svhn/train/0002/000000.jpg'):
    files = source.images('svhn')
    del files[name]
    (folder / 'data/svhn.tar').write_bytes(source.pack(files))


def twice(folder):
    one = source.pack(source.images('svhn'))
    # Two archives one after the other, the end mark of the first removed.
    (folder / 'data/svhn.tar').write_bytes(one.rstrip(b'\0') + b'\0' * (-len(one.rstrip(b'\0')) % 512) + one)


def no_image(folder):
    files = source.images('svhn') | {'svhn/train/0002/000000.jpg': b'no picture'}
    (folder / 'data/svhn.tar').write_bytes(source.pack(files))


MALFORMED = {
    'truncated tar': (truncated, r'svhn.tar(: \S+)? cannot be read|images of .*svhn_train.json are not in the data'),
    'missing image': (
        without,
        r'1 of the 20 images of .*svhn_train.json are not in the data of svhn, first svhn/train',
    ),
    'image twice': (twice, r'svhn.tar holds svhn/train/\S+ twice'),
    'no image': (no_image, r'svhn.tar: svhn/train/0002/000000.jpg cannot be read as a picture'),
    'no tar': (
        lambda f: (f / 'data/svhn.tar').unlink(),
        r'has neither svhn.tar nor a folder svhn/train nor a decathlon',
    ),
    'tar is text': (lambda f: (f / 'data/svhn.tar').write_text('x' * 2000), 'svhn.tar cannot be read'),
    'no JSON': (
        lambda f: (f / 'decathlon-1.0/annotations/svhn_val.json').unlink(),
        'has neither annotations/svhn_val.json nor a decathlon-1.0-devkit.tar.gz',
    ),
    'broken JSON': (
        lambda f: (f / 'decathlon-1.0/annotations/svhn_val.json').write_text('{"images": ['),
        'svhn_val.json is no annotation file',
    ),
    'another JSON': (lambda f: edit(f, 'svhn_val.json', lambda t: t.pop('categories')), 'is no annotation file'),
    'unknown category': (
        lambda f: edit(f, 'svhn_val.json', lambda t: t['annotations'][0].update(category_id=1)),
        'is no annotation file',
    ),
    'unlabelled image': (
        lambda f: edit(f, 'svhn_val.json', lambda t: t['annotations'].pop()),
        'does not give each of its 10 images one label',
    ),
    'two labels': (
        lambda f: edit(f, 'svhn_val.json', lambda t: t['annotations'].append(t['annotations'][0])),
        'does not give each of its 10 images one label',
    ),
    'other categories': (
        lambda f: edit(f, 'omniglot_val.json', lambda t: t['categories'].reverse()),
        'do not list the same categories',
    ),
}


@pytest.mark.parametrize('fault', MALFORMED)
def test_what_is_wrong_is_said(tmp_path, fault):
    folder = source.write(tmp_path / 'files', 'tars')
    spoil, message = MALFORMED[fault]
    spoil(folder)
    with pytest.raises(DataError, match=message):
        read_all(folder)


def test_a_damaged_download_is_said_and_leaves_nothing(tmp_path):
    folder = source.write(tmp_path / 'files')
    file = folder / 'decathlon-1.0-data.tar.gz'
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(DataError, match=r'decathlon-1.0-data.tar.gz(: omniglot.tar)? cannot be read'):
        prepared.prepare('svhn_omniglot', tmp_path / 'out', PARTIAL, folder)
    assert list((tmp_path / 'out').rglob('*')) == []


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match='which is no folder'):
        decathlon.Decathlon(tmp_path / 'none', (32, 32))
