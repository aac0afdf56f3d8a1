"""Names that operators, clients and plug-in authors use stay as they are; see promises.yml."""

import configparser
import importlib
import inspect
import pathlib

import pytest
import yaml

from cloudkitty import opts
from cloudkitty.db import tables

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROMISES = yaml.safe_load((pathlib.Path(__file__).parent / 'promises.yml').read_text())


@pytest.mark.parametrize('module, names', PROMISES['imports'].items())
def test_import_paths(module, names):
    """What plug-ins import is where it was."""
    found = importlib.import_module(module)

    assert [name for name in names if not inspect.isclass(getattr(found, name, None))] == []


@pytest.mark.parametrize('group, names', PROMISES['entry_points'].items())
def test_entry_points(group, names):
    """Every console script and driver is found under its name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    lines = parser['entry_points'][group].strip().splitlines()
    found = {line.partition('=')[0].strip() for line in lines}
    if group == 'console_scripts':
        # A script of its own, which a web server can load as well.
        found |= {pathlib.Path(line).name for line in parser['files']['scripts'].split()}

    assert set(names) <= found


def test_options():
    """Every option is in its group: what is in an operator's file keeps its effect."""
    found: dict[str, set[str]] = {}
    for group, options in opts.list_opts():
        found.setdefault(str(group or 'DEFAULT'), set()).update(
            name for option in options for name in (option.name, *_former_names(option))
        )

    for group, names in PROMISES['options'].items():
        assert set(names) <= found[group], group


def _former_names(option):
    return [former.name for former in option.deprecated_opts if former.name]


def test_columns():
    """Every table has its columns: whoever reads the database directly still finds them."""
    for table, names in PROMISES['tables'].items():
        assert set(names) <= set(tables.metadata.tables[table].columns.keys()), table
