"""Configuration of Sphinx."""

import configparser
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'ext'))

extensions = [
    'oslo_config.sphinxext',
    'oslo_policy.sphinxext',
    'rest_reference',
    'sphinx.ext.autodoc',
    'sphinx.ext.graphviz',
]

project = 'CloudKitty'
copyright = 'CloudKitty developers'
master_doc = 'index'
language = 'en'
exclude_patterns = []
graphviz_output_format = 'svg'

html_static_path = ['_static']
html_theme = 'furo'
html_title = 'CloudKitty'

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _commands():
    """Yield (name, purpose) of each command, from what setup.cfg installs."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    yield 'cloudkitty-api', 'cloudkitty.cli.api'
    for line in parser['entry_points']['console_scripts'].split('\n'):
        name, _, place = line.partition(' = ')
        if name:
            yield name, place.partition(':')[0]


def _man_page(name, module):
    """Return what Sphinx wants to know of a page; all of them are the page of all commands."""
    purpose = importlib.import_module(module).MANUAL.purpose.partition('. ')[0].rstrip('.')
    text = ' '.join(purpose.split())
    return 'cli/index', name, text[0].lower() + text[1:], ['CloudKitty developers'], 1


man_pages = [_man_page(*command) for command in _commands()]
