"""The documentation site, without building it: no page is missing, and the reference has all that is public."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

import mtkd_jax
from mtkd_jax import configs, datasets, distill, methods, models, recipe, tasks, weighting

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'


@pytest.fixture(scope='module')
def pages():
    """The pages that docs/reference.py makes, as text by name."""
    sys.path.insert(0, str(DOCS))
    try:
        import reference
    finally:
        sys.path.remove(str(DOCS))
    return {name: '\n'.join(lines) for name, lines in reference.pages().items()}


def test_every_page_is_in_the_index_once(pages):
    trees = re.findall(r'```\{toctree\}\n(.*?)```', (DOCS / 'index.md').read_text(), re.DOTALL)
    lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(':')]
    listed = [line.split('<')[-1].rstrip('>') for line in lines]
    written = [file.relative_to(DOCS).with_suffix('') for file in (*DOCS.glob('*.md'), *DOCS.glob('notebooks/*.md'))]
    outside = ['../README', '../CONTRIBUTING', '../CHANGELOG', '../launch/README']
    expected = [*map(str, written), *outside, *(f'generated/{name}' for name in pages)]
    assert sorted(listed) == sorted(name for name in expected if name != 'index')


def test_every_public_name_is_in_the_reference(pages):
    every = '\n'.join(pages.values())
    missing = [
        f'{module.__name__}.{name}'
        for module in (mtkd_jax, weighting, distill, models, tasks, methods, datasets)
        for name in module.__all__
        if not re.search(rf':: {module.__name__}\.{name}$', every, re.MULTILINE) and f'mtkd_jax.{name}' not in every
    ]
    assert missing == []
    for name in (*recipe.METHODS, *recipe.WEIGHTINGS):
        assert f'``{name}``\n' in every


def test_notebooks_hold_no_outputs_and_compile():
    """They are text; what they give is made when the site is built."""
    notebooks = sorted((DOCS / 'notebooks').iterdir())
    assert [file.suffix for file in notebooks] == ['.md', '.md']
    for file in notebooks:
        cells = re.findall(r'```\{code-cell\}\n(?::[^\n]*\n)*(.*?)```', file.read_text(), re.DOTALL)
        assert len(cells) > 5
        compile('\n'.join(cells), file.name, 'exec')


def test_examples_have_the_targets_that_links_lead_to(pages):
    linked = {
        name
        for page in (*DOCS.glob('*.md'), *DOCS.glob('notebooks/*.md'), ROOT / 'README.md', ROOT / 'CONTRIBUTING.md')
        for name in re.findall(r'examples/(\w+)\.py\)', page.read_text())
    }
    assert linked
    for name in linked:
        assert f'.. _example-{name}:' in pages['examples']


def test_getting_started_names_every_extra():
    extras = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['optional-dependencies']
    said = (DOCS / 'getting_started.md').read_text()
    assert [name for name in extras if f'`{name}`' not in said] == []


def commands(page):
    """Config and fields of every command of a page, without those that name a variable or a module of one\'s own."""
    for line in re.sub(r'\\\n\s*', ' ', page.read_text()).splitlines():
        for found in re.findall(r'--config=(?:configs/)?([a-z0-9_]+)(?:\.py)?(:[^\s`]+)?', line):
            config = ''.join(found).replace("'", '').rstrip('.,;')
            if not re.search(r'\$|my_|own_|NAME|TASK', config) and found[0] in configs.NAMES:
                yield config, re.findall(r'--config\.([a-z_.]+)=', line)


@pytest.mark.parametrize('page', [*sorted(DOCS.glob('*.md')), ROOT / 'README.md'], ids=lambda page: page.stem)
def test_commands_name_recipes_and_fields_that_exist(page):
    for config, fields in commands(page):
        made = mtkd_jax.get_config(config)
        for field in fields:
            value = made
            for part in field.split('.'):
                assert part in value, f'{page.name}: {config} has no {field}'
                value = value[part]
