"""Accounts that name domains and tags: which scopes they have, month by month."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import locks
from cloudkitty.billing import documents, members
from cloudkitty.fetcher import BaseFetcher
from cloudkitty.processor.groups import Groups
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment
from cloudkitty.tests.unit.processor.test_closing import SETTINGS

DOMAIN, OTHER = ('domain', 'd1'), ('domain', 'd2')
TAG = ('tag', 'acme')
DOCUMENT = {
    'defaults': {'currency': 'EUR'},
    'accounts': {
        'acme': {'tags': ['acme']},
        'whole': {'domains': ['d1']},
        'named': {'scopes': ['c']},
    },
}


@pytest.fixture
def world(any_conf, any_database):
    made = World(any_conf)
    made.apply(DOCUMENT)
    return made


def record(world, now, **found):
    world.database.write(lambda connection: members.record(connection, found, moment(now)))


def owners(world, month):
    """Return the accounts of scopes in a month."""
    found = world.statements.documents
    with world.database.reader() as connection:
        version = found.version_of(connection, month)
        return dict(found.get(connection, version, month).owners)


def test_scopes_are_named_then_tagged_then_in_a_domain(world):
    """From the month on in which they turn up; those of no account are accounts of their own."""
    record(world, '2026-10-05', a=[DOMAIN, TAG], b=[DOMAIN], c=[DOMAIN, TAG], d=[OTHER])

    assert owners(world, '2026-10') == {'a': 'acme', 'b': 'whole', 'c': 'named'}
    assert owners(world, '2026-09') == {'c': 'named'}
    for scope, price in (('a', '1'), ('b', '2'), ('c', '4'), ('d', '8')):
        world.push(scope, OCTOBER, '1', price)
    totals = {
        account: int(world.draft(account).statement.totals.list_price)
        for account in world.closing.open_accounts('2026-10')
    }
    assert totals == {'acme': 1, 'whole': 2, 'named': 4, 'd': 8}


def test_a_change_counts_from_the_next_month_on(world):
    """A month that is closed keeps its scopes whatever is moved; late usage is its own."""
    record(world, '2026-10-05', a=[DOMAIN], b=[DOMAIN])
    record(world, '2026-10-06', a=[DOMAIN, TAG], b=[])
    assert owners(world, '2026-10') == {'a': 'whole', 'b': 'whole', 'c': 'named'}
    assert owners(world, '2026-11') == {'a': 'acme', 'c': 'named'}

    world.push('a', OCTOBER, '1', '5')
    world.close('whole')
    record(world, '2026-11-20', a=[OTHER], b=[TAG])
    world.push('a', OCTOBER + HOUR, '1', '3')
    assert world.pending('whole', '2026-11') == [('2026-10', '3', '3.00')]
    assert world.pending('acme', '2026-11') == []
    assert owners(world, '2026-11') == {'a': 'acme', 'c': 'named'}
    assert owners(world, '2026-12') == {'b': 'acme', 'c': 'named'}
    assert world.faults() == []


def test_what_is_moved_to_and_fro_stays(world):
    """Within a month any number of times."""
    for day in range(1, 7):
        record(world, f'2026-10-{day:02}', a=[DOMAIN] if day % 2 else [TAG])

    assert owners(world, '2026-10')['a'] == 'whole'
    assert owners(world, '2026-11')['a'] == 'acme'
    record(world, '2026-11-01', a=[DOMAIN])
    assert owners(world, '2026-11')['a'] == 'acme'
    assert owners(world, '2026-12')['a'] == 'whole'
    # A scope that is not listed any more stays where it was.
    record(world, '2026-12-01', b=[DOMAIN])
    assert owners(world, '2027-01')['a'] == 'whole'


def test_the_processor_asks_the_fetcher_once_an_hour(world, tmp_path):
    class Fetcher(BaseFetcher):
        asked = 0

        def get_tenants(self):
            return []

        def get_groups(self):
            self.asked += 1
            return {'a': [DOMAIN], '': [TAG], 'b': [('tag', 'x' * 300), ('tag', '')]}

    fetcher = Fetcher(world.conf)
    world.now = moment('2026-10-05')
    job = Groups(
        database=world.database,
        fetcher=fetcher,
        locks=locks.Locks(f'file://{tmp_path}/job'),
        settings=SETTINGS,
        clock=lambda: world.now,
    )
    for minutes in (0, 30, 60):
        world.now = moment('2026-10-05') + timedelta(minutes=minutes)
        job.step()

    assert fetcher.asked == 2
    assert owners(world, '2026-10') == {'a': 'whole', 'c': 'named'}


def test_a_draft_asks_once_what_changed(world, monkeypatch):
    """However many months of its account are closed: those with the same scopes are kept as one."""
    # Two documents of three accounts.
    monkeypatch.setattr(documents, 'JOINED_MAX', 8)
    record(world, '2026-02-05', a=[TAG])
    record(world, '2026-02-06', a=[TAG, OTHER], b=[TAG])
    for month in ('2026-03', '2026-04', '2026-05'):
        world.close('acme', month)
    world.draft('acme')
    asked = []
    sa.event.listen(
        world.database.engine,
        'before_cursor_execute',
        lambda _connection, _cursor, text, *_: asked.append('billing_members' in text),
    )

    world.draft('acme')

    assert sum(asked) == 1
    assert owners(world, '2026-05') == {'a': 'acme', 'b': 'acme', 'c': 'named'}
