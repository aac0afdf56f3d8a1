"""Services, fields and groups that rules can hang on."""

import types

import pytest

from cloudkitty.rating.hashmap.store import fields, groups, services


def _fill(database):
    with database.writer() as connection:
        s1, s2 = (services.create(connection, name).service_id for name in ('s1', 's2'))
        f1, f2 = (fields.create(connection, name, s1).field_id for name in ('f1', 'f2'))
        g1, g2 = (groups.create(connection, name).group_id for name in ('g1', 'g2'))
    return types.SimpleNamespace(database=database, s1=s1, s2=s2, f1=f1, f2=f2, g1=g1, g2=g2)


@pytest.fixture
def world(database):
    """Services s1 and s2, fields f1 and f2 of s1, groups g1 and g2: their identifiers."""
    return _fill(database)


@pytest.fixture
def any_world(any_database):
    """The same, once in each kind of database: for what depends on its SQL."""
    return _fill(any_database)
