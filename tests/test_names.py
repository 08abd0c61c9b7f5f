"""Names that users give: refused with what there is, and with what was probably meant."""

import sys

import pytest

from mtkd_jax import names
from mtkd_jax.types import UserError


def test_a_close_name_is_suggested():
    with pytest.raises(UserError, match=r"`task` is 'depht'; choose one of depth, normals\. Did you mean 'depth'\?"):
        names.choice('task', 'depht', ('depth', 'normals'))


def test_case_and_dashes_do_not_matter():
    assert names.suggestion('MGDA', ('mgda', 'pcgrad')) == " Did you mean 'mgda'?"
    assert names.suggestion('kd-mtl', ('kd_mtl', 'mtl')) == " Did you mean 'kd_mtl'?"


def test_nothing_is_suggested_where_nothing_is_close():
    with pytest.raises(UserError, match=r'choose one of depth, normals\.$'):
        names.choice('task', 'xyz', ('depth', 'normals'))


def test_a_module_is_refused_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'lacks_one_thing.py').write_text('first = 1\n')
    (tmp_path / 'imports_what_is_not_there.py').write_text('import not_there_at_all\n')
    with pytest.raises(UserError, match=r"`method` is 'kd_mlt', which is none of kd_mtl, .* Did you mean 'kd_mtl'\?"):
        names.module('method', 'kd_mlt', (), ('kd_mtl',))
    with pytest.raises(UserError, match="`method` is ''; give one of kd_mtl"):
        names.module('method', '', (), ('kd_mtl',))
    with pytest.raises(
        UserError, match=r"lacks_one_thing.py, given as `method`, has no 'second'; it needs first, second"
    ):
        names.module('method', 'lacks_one_thing', ('first', 'second'), ('kd_mtl',))
    with pytest.raises(ModuleNotFoundError, match='not_there_at_all'):
        names.module('method', 'imports_what_is_not_there', (), ('kd_mtl',))
    (tmp_path / 'a_folder').mkdir()
    with pytest.raises(UserError, match="`method` is 'a_folder', which is none of kd_mtl"):
        names.module('method', 'a_folder', (), ('kd_mtl',))
    sys.modules.pop('lacks_one_thing')


def test_a_digest_is_of_the_code_that_runs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'a_package').mkdir()
    for name in ('__init__', 'part'):
        (tmp_path / f'a_package/{name}.py').write_text('first = 1\n')
    found = names.module('method', 'a_package', (), ('kd_mtl',))
    before = names.digest(found)
    assert names.digest(found) == before
    (tmp_path / 'a_package/part.py').write_text('first = 2\n')
    with pytest.raises(UserError, match="'a_package' has changed since it was imported; start Python again"):
        names.digest(found)
    sys.modules.pop('a_package')
