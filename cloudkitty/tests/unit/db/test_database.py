"""Connections and transactions."""

import os
import subprocess
import sys

import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import db
from cloudkitty.db import engine, tables


class Impatient(db.Database):
    idle_transaction_s = 1


@pytest.mark.parametrize('any_conf', ['postgresql', 'mariadb'], indirect=True)
def test_who_freezes_in_a_transaction_keeps_rows_from_others_for_a_while_only(
    any_conf, any_database
):
    """As a worker does on a host that is suspended or cut off; what it began is rolled back."""
    with any_database.writer() as connection:
        connection.execute(sa.insert(tables.modules), {'name': 'one', 'priority': 1})
    change = sa.update(tables.modules).values(priority=tables.modules.c.priority + 1)
    frozen = Impatient(any_conf)

    with pytest.raises(db_exception.DBConnectionError), frozen.writer() as connection:
        connection.execute(change)
        with any_database.writer() as other:
            # It waits until the server has ended the one that holds the row.
            other.execute(change)
        connection.execute(change)

    frozen.engine.dispose()
    with any_database.reader() as connection:
        assert connection.execute(sa.select(tables.modules.c.priority)).scalar() == 2


def test_a_file_of_sqlite_is_not_for_everybody(conf, tmp_path):
    """Whatever the mask of the process is."""
    path = tmp_path / 'new.sqlite'
    conf.set_override('connection', f'sqlite:///{path}', 'database')
    before = os.umask(0)
    try:
        database = db.Database(conf)
        with database.writer() as connection:
            connection.execute(sa.text('CREATE TABLE t (a INTEGER)'))
            modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob('new.*')}
        database.close()
    finally:
        os.umask(before)

    assert set(modes.values()) == {0o640}, modes


class Patient(db.Database):
    """Notes how long it would sleep."""

    def __init__(self, conf):
        super().__init__(conf)
        self.sleeps = []
        self.sleep = self.sleeps.append


# Another process that opens the file and leaves again; it removes the journal if it is the last.
COME_AND_GO = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print([name for name, in connection.execute('SELECT name FROM modules_state')])
connection.close()
"""


def test_a_second_engine_of_a_process_keeps_the_locks_of_the_first(conf, database):
    """SQLite's locks are the process's: who opens and closes the file by hand drops them all."""
    database.write(lambda connection: insert(connection, 'early'))
    second = db.Database(conf)
    second.check()
    second.close()
    come_and_go = [sys.executable, '-c', COME_AND_GO, database.engine.url.database]

    seen = [subprocess.run(come_and_go, capture_output=True, text=True).stdout]
    database.write(lambda connection: insert(connection, 'late'))
    seen.append(subprocess.run(come_and_go, capture_output=True, text=True).stdout)

    assert seen == ["['early']\n", "['early', 'late']\n"]


def insert(connection, name):
    connection.execute(sa.insert(tables.modules), {'name': name, 'priority': 1})


def names(database):
    with database.reader() as connection:
        return list(connection.execute(sa.select(tables.modules.c.name)).scalars())


@pytest.mark.parametrize('error', [db_exception.DBDeadlock, db_exception.DBConnectionError])
def test_a_transaction_that_could_not_end_is_done_again_as_a_whole(conf, database, error):
    """Of what it did before nothing stays; it waits longer each time."""
    patient, attempts = Patient(conf), []

    def change(connection):
        insert(connection, f'try {len(attempts)}')
        attempts.append(connection)
        if len(attempts) < engine.WRITE_ATTEMPTS_MAX:
            raise error()
        return 'done'

    assert patient.write(change) == 'done'

    assert len(attempts) == engine.WRITE_ATTEMPTS_MAX
    assert names(database) == [f'try {engine.WRITE_ATTEMPTS_MAX - 1}']
    assert len(patient.sleeps) == engine.WRITE_ATTEMPTS_MAX - 1
    assert patient.sleeps == sorted(patient.sleeps)
    assert 0 < patient.sleeps[0] and sum(patient.sleeps) < 10
    patient.engine.dispose()


def test_a_transaction_is_not_tried_for_ever(conf, database):
    """The error comes out in the end, and nothing of the transaction stays."""
    patient, attempts = Patient(conf), []

    def change(connection):
        insert(connection, 'one')
        attempts.append(1)
        raise db_exception.DBDeadlock()

    with pytest.raises(db_exception.DBDeadlock):
        patient.write(change)

    assert len(attempts) == engine.WRITE_ATTEMPTS_MAX
    assert len(patient.sleeps) == engine.WRITE_ATTEMPTS_MAX - 1
    assert names(database) == []
    patient.engine.dispose()


@pytest.mark.parametrize('error', [db_exception.DBDuplicateEntry, KeyError])
def test_an_error_that_would_come_again_is_not_tried_again(conf, database, error):
    """It comes out at once, and nothing of the transaction stays."""
    patient, attempts = Patient(conf), []

    def change(connection):
        insert(connection, 'one')
        attempts.append(1)
        raise error()

    with pytest.raises(error):
        patient.write(change)

    assert (len(attempts), patient.sleeps, names(database)) == (1, [], [])
    patient.engine.dispose()


def test_questions_go_to_the_replica_and_changes_to_the_primary(conf, database, tmp_path):
    """What a decision rests on is never read from a database that may be behind."""
    conf.set_override('slave_connection', f'sqlite:///{tmp_path}/replica.sqlite', 'database')
    both = db.Database(conf)
    both.write(lambda connection: insert(connection, 'one'))

    with both.reader() as connection:
        assert connection.engine.url.database.endswith('cloudkitty.sqlite')
    with both.replica() as connection:
        assert connection.engine.url.database.endswith('replica.sqlite')
    assert names(database) == ['one']
    both.close()
