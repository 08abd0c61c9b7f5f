"""The documentation site: pages of this repository, the reference made from docstrings, and two notebooks that run.

    bash docs/build.sh [FOLDER]

The sources' root is the repository, so links between pages are those that a code host follows, too.
"""

import inspect
import re
import sys
from pathlib import Path

from docutils import nodes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))

import reference  # noqa: E402  (it lies beside this file)

project = 'mtkd_jax'
copyright = 'the authors of mtkd_jax'
extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode', 'sphinx_copybutton']
root_doc = 'docs/index'
include_patterns = [
    *('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'launch/README.md'),
    *('docs/*.md', 'docs/notebooks/*.md', 'docs/generated/*.rst'),
]
exclude_patterns = ['docs/studies', '.*', '.venv', 'venv', 'build', 'dist', 'runs', '**/__pycache__']
nitpicky = True
# Names of other packages are no links: a build reads nothing from the network. Single backticks in docstrings are code,
# and a link where they name something of the reference.
default_role = 'py:obj'
nitpick_ignore_regex = [
    ('py:obj', '.*'),
    ('py:class', r'.*\.T'),  # a type variable
    ('py:.*', r'(absl|collections|flax|jax|jaxlib|jaxtyping|ml_collections|np|numpy|optax|pathlib|types|typing)\..*'),
]

html_theme = 'furo'
html_title = 'mtkd_jax'
html_static_path = ['static']
html_css_files = ['site.css']
html_show_sphinx = False
html_theme_options = {'navigation_with_keys': True}

autodoc_typehints_format = 'short'
autodoc_preserve_defaults = True
autodoc_member_order = 'bysource'
napoleon_custom_sections = [('Attributes', 'params_style')]
napoleon_attr_annotations = False

myst_enable_extensions = ['colon_fence', 'dollarmath']
myst_heading_anchors = 4
nb_execution_mode = 'force'
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_merge_streams = True
copybutton_exclude = '.linenos, .gp, .go'


def links_of_the_site(app, name, source):
    """Links to files lead to the pages that show them; a page that is called by its file is called by its title."""
    for pattern, to in (
        (r'\]\((?:\.\./)*examples/(\w+)\.py\)', r'](#example-\1)'),
        (r'\]\((?:\.\./)*examples/?\)', '](/docs/generated/examples.rst)'),
        (r'\[([^]]+)\]\(studies/[a-z]*\)', r'\1'),  # a folder
        (r'\[launch/\]\((?:\.\./)*launch/?(README\.md)?\)', '[](/launch/README.md)'),
        (r'\[(?:docs/)?(\w+\.md)\]\(((?:docs/)?\1(?:#[\w-]+)?)\)', r'[](\2)'),
    ):
        source[0] = re.sub(pattern, to, source[0])


def code(app, what, name, thing, options, lines):
    """Docstrings are prose: bars and stars are no markup there, and what is indented in a module's is code."""
    found = []
    for line in lines:
        indented = what == 'module' and line.startswith('    ')
        if indented and not found[-1]:
            found += ['.. code-block:: python', '']
        found.append(line if indented else plain(line))
    lines[:] = found


def plain(line):
    """A line of a docstring, with what only looks like markup escaped: |x|, **options, and `stl_<task>`."""
    line = re.sub(r'(?<!\\)(\||\*\*(?=\w+\b(?!\*\*)))', r'\\\1', line)
    return re.sub(r'(?<![`:\w])`(?=\S)([^`]*<[^`]*)`(?![`\w])', r'``\1``', line)


def signature(app, what, name, thing, options, arguments, returned):
    """Signatures as they are written: arrays are `Array`, and what Flax adds to every module is left out."""

    def short(text):
        text = re.sub(r'~?(jax\.)?jaxlib\._jax\.Array', '~jax.Array', text)
        text = re.sub(r', parent: .*_Sentinel object>, name: str \| None = None', '', text)
        return re.sub(r' ?= ?<([^<>]|<lambda>)*>', ' = ...', text)  # a function, or what a function makes

    return tuple(None if text is None else short(text) for text in (arguments, returned))


def skipped(app, what, name, thing, skip, options):
    """Fields are described by their class: those of named tuples, and those whose default is a function."""
    field = str(getattr(thing, '__doc__', '')).startswith('Alias for field number')
    default = what == 'class' and inspect.isfunction(thing) and '.' not in thing.__qualname__
    return True if field or default else None


def public(app, env, node, contents):
    """A link to something by the module where it is defined leads to the public name that is documented."""
    target = reference.public_names().get(node.get('reftarget', ''))
    if node.get('refdomain') != 'py' or target is None:
        return None
    domain = env.get_domain('py')
    if isinstance(contents, nodes.Text | nodes.inline):
        contents = contents.deepcopy()
    return domain.resolve_xref(env, node['refdoc'], app.builder, 'obj', target, node, contents)


def setup(app):
    """Writes the reference, then lets Sphinx read it."""
    reference.write(ROOT / 'docs' / 'generated')
    app.connect('source-read', links_of_the_site)
    app.connect('autodoc-process-docstring', code)
    app.connect('autodoc-process-signature', signature)
    app.connect('autodoc-skip-member', skipped)
    app.connect('missing-reference', public)
