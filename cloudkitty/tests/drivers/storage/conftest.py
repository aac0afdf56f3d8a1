"""Stores on SQLite, for tests of what no database decides."""

import pytest

from cloudkitty.storage.v1.store import TableStorage
from cloudkitty.storage.v2.sql import SQLStorage


@pytest.fixture(params=[SQLStorage, TableStorage])
def storage(request, conf, database):
    """A store of each version of the tables."""
    opened = request.param(conf)
    opened.init()
    yield opened
    opened.database.engine.dispose()


@pytest.fixture
def sql(conf, database):
    """The default store."""
    opened = SQLStorage(conf)
    yield opened
    opened.database.engine.dispose()
