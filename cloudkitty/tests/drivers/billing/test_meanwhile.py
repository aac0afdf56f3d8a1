"""What is stored while a month is closed, on the servers that let both go on at once."""

import sqlalchemy as sa

from cloudkitty.db import tables
from cloudkitty.tests.drivers.billing.test_closing import DOCUMENT
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment


def test_usage_that_arrives_during_the_closing_is_corrected_later(server_conf):
    """The note has grown since it was read, so it stays."""
    world, rival = World(server_conf), World(server_conf)
    with world.database.writer() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())
    world.apply(DOCUMENT)
    world.push('a', OCTOBER, '1500', '7')
    world.close('acme')
    world.push('a', OCTOBER + HOUR, '20', '0.5')
    world.now = rival.now = moment('2026-12-20')
    arrived = []

    @sa.event.listens_for(world.database.engine, 'before_cursor_execute')
    def _arrive(connection, cursor, text, *_):
        # Its sums have been read.
        if 'FROM billing_credits' in text and not arrived:
            arrived.append(text)
            rival.push('a', OCTOBER + 2 * HOUR, '10', '0.25')

    entry = world.close('acme', '2026-11')

    assert (len(arrived), str(entry.net)) == (1, '0.60')
    assert world.pending('acme', '2026-12') == [('2026-10', '0.25', '0.30')]
    assert world.faults() == []
    for one in (world, rival):
        one.database.close()
