"""Rendered digits and characters: deterministic, balanced, and not all alike."""

import numpy as np
import pytest

from mtkd_jax import datasets
from mtkd_jax.datasets.glyphs.characters import render_character
from mtkd_jax.datasets.glyphs.classes import CHARACTERS
from mtkd_jax.datasets.glyphs.digits import render_digit
from mtkd_jax.types import UserError
from tests.datasets import prepared

SIZE = (32, 32)
CLASSES = {'digits': 10, 'characters': 12}
DATA = {'height': 32, 'width': 32, 'digits_train': 40, 'digits_test': 20, 'classes': CLASSES}


def test_pictures_depend_on_their_numbers_and_nothing_else():
    for render in (
        lambda seed, i: render_digit(seed, i, *SIZE),
        lambda seed, i: render_character(seed, 3, i, *SIZE),
    ):
        first = render(0, 7)
        assert first.shape == (*SIZE, 3)
        assert first.dtype == np.uint8
        np.testing.assert_array_equal(render(0, 7), first)
        assert (render(0, 8) != first).any()
        assert (render(1, 7) != first).any()


def test_characters_are_dark_strokes_on_white():
    for label in range(0, len(CHARACTERS), 17):
        picture = render_character(0, label, 0, *SIZE).astype(float)
        assert np.median(picture) > 235
        assert picture.min() < 130


def test_no_two_classes_look_alike():
    """Mean pictures of classes differ more from each other than a class's variations make them uncertain."""
    chosen = range(0, len(CHARACTERS), 8)
    variations = np.array([[render_character(0, c, v, *SIZE)[..., 0] for v in range(6)] for c in chosen], float)
    means = variations.mean(axis=1).reshape(len(chosen), -1)
    distances = np.linalg.norm(means[:, None] - means[None], axis=-1) + 1e9 * np.eye(len(chosen))
    assert distances.min() > 300
    assert len(set(CHARACTERS)) == len(CHARACTERS) == 200


def test_the_prepared_data_set_is_balanced_and_repeatable(tmp_path):
    data = prepared.prepare('glyphs', tmp_path / 'a', DATA)
    assert data.class_count == {'digits': 10, 'characters': 12}
    assert data.metadata['parts'] == {
        'train': {'digits': 40, 'characters': 180},
        'test': {'digits': 20, 'characters': 60},
    }
    assert data.metadata['splits']['train']['images_per_class'] == {'digits': [4, 4], 'characters': [15, 15]}
    assert data.metadata['splits']['test']['images_per_class'] == {'digits': [2, 2], 'characters': [5, 5]}
    again = prepared.prepare('glyphs', tmp_path / 'b', DATA)
    for split, source in data.sources.items():
        for i in range(0, len(source), 7):
            for name, array in source[i].items():
                np.testing.assert_array_equal(array, again.sources[split][i][name])
    pictures = {s[i]['image'].tobytes() for s in data.sources.values() for i in range(len(s))}
    assert len(pictures) == sum(data.counts.values())
    named = datasets.named('glyphs').tasks({'classes': CLASSES})['characters']
    assert [named.words(np.full((1, 1, 1), i)) for i in range(12)] == list(CHARACTERS[:12])


@pytest.mark.parametrize(
    ('field', 'value'), [('characters', 201), ('digits_train', 5), ('height', 8), ('glyph_seed', -1)]
)
def test_settings_out_of_range(field, value):
    with pytest.raises(UserError, match=f'`{field}` of glyphs is {value}; give a number from'):
        prepared.opened(
            'glyphs', None, **({'classes': {**CLASSES, field: value}} if field in CLASSES else {field: value})
        )
