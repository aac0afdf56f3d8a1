"""Connections and transactions."""

import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import db
from cloudkitty.db import models


class Impatient(db.Database):
    idle_transaction_s = 1


@pytest.mark.parametrize('any_conf', ['postgresql', 'mariadb'], indirect=True)
def test_who_freezes_in_a_transaction_keeps_rows_from_others_for_a_while_only(
        any_conf, any_database):
    """As a worker does on a host that is suspended or cut off; what it began is rolled back."""
    with any_database.writer() as connection:
        connection.execute(sa.insert(models.modules), {'name': 'one', 'priority': 1})
    change = sa.update(models.modules).values(priority=models.modules.c.priority + 1)
    frozen = Impatient(any_conf)

    with pytest.raises(db_exception.DBConnectionError), frozen.writer() as connection:
        connection.execute(change)
        with any_database.writer() as other:
            # It waits until the server has ended the one that holds the row.
            other.execute(change)
        connection.execute(change)

    frozen.engine.dispose()
    with any_database.reader() as connection:
        assert connection.execute(sa.select(models.modules.c.priority)).scalar() == 2
