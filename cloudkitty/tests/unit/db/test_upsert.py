"""Bulk inserts: what a database is given is what it keeps."""

from datetime import date, datetime

import sqlalchemy as sa

from cloudkitty.db import clickhouse_tables, tables, upsert

TEXTS = (
    '',
    'NULL',
    'None',
    'it\'s "quoted"',
    'a\\b\\',
    '{x,"y"}',
    'a\nb\t',
    '%s %(x)s :x',
    'ü€😀 ',
)
NOON = datetime(2024, 5, 1, 12)


def test_texts_of_callers_are_stored_as_they_are(any_database):
    """Whatever has a meaning in a statement or an array; and no text stays none."""
    table, names = tables.audit, ('at', 'action', 'kind', 'object_id', 'before', 'after')
    with any_database.writer() as connection:
        upsert.insert(
            connection,
            table,
            names,
            [(NOON, 'create', 'rule', text, None, text) for text in TEXTS],
        )
        found = connection.execute(
            sa.select(table.c.at, table.c.object_id, table.c.before, table.c.after).order_by(
                table.c.id
            )
        ).all()

    assert [tuple(row) for row in found] == [(NOON, text, None, text) for text in TEXTS]


def test_rows_are_inserted_or_replaced(any_database):
    """The other columns of a row are replaced all, and rows that are not given are kept."""
    table = clickhouse_tables.folded

    def row(number, day):
        until = date(2024, 5, day)
        return {'id': number, 'until': until, 'announced': until, 'since': NOON.replace(day=day)}

    with any_database.writer() as connection:
        upsert.replace(connection, table, [])
        upsert.replace(connection, table, [row(1, 1), row(2, 2)])
        upsert.replace(connection, table, [row(2, 3), row(3, 4)])
        found = connection.execute(sa.select(table).order_by(table.c.id)).all()

    assert [one._asdict() for one in found] == [row(1, 1), row(2, 3), row(3, 4)]
