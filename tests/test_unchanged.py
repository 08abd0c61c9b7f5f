"""What is trained stays what it was: settings of all recipes, and three steps of thirteen of them."""

import json

import numpy as np
import pytest

from tests import unchanged

SAME_MACHINE = json.loads((unchanged.FOLDER / 'machine.json').read_text()) == unchanged.machine()


@pytest.mark.parametrize('name', [*unchanged.DENSE, *unchanged.IMAGES])
def test_the_settings_of_every_stage_are_what_they_were(name):
    stored = unchanged.unfolded(json.loads((unchanged.FOLDER / f'settings_{name}.json').read_text()))
    assert unchanged.settings_of(name) == stored


@pytest.mark.parametrize('recipe', list(unchanged.RECIPES))
def test_three_steps_end_where_they_did(recipe):
    """To the last bit on the machine that recorded them; elsewhere to 1e-6 of the largest number of an array.

    There, parameters are compared where the first gradient is not rounding noise: Adam makes a whole step of its sign.
    """
    found = unchanged.three_steps(recipe)
    expected = unchanged.recorded(recipe)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if SAME_MACHINE:
            np.testing.assert_array_equal(found[key], value, err_msg=key)
            continue
        counts = np.ones(value.shape, bool)
        if key.startswith('params/'):
            gradient = np.abs(expected[key.replace('params/', 'gradient/', 1)])
            counts = gradient > 1e-3 * gradient.max()
        np.testing.assert_allclose(found[key][counts], value[counts], rtol=1e-6, atol=1e-6 * np.abs(value).max())
