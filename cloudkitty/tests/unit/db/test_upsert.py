"""Bulk inserts: what a database is given is what it keeps."""

from datetime import datetime

import sqlalchemy as sa

from cloudkitty.db import tables, upsert

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
