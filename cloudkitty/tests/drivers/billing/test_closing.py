"""Closing months: numbers, corrections, statements that are taken back; on every database."""

import os
import signal
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing import changes, closing, ledger, reconciliation
from cloudkitty.db import billing_tables
from cloudkitty.storage.v2 import sql
from cloudkitty.tests.drivers.billing.test_drafts import rate
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment

TIERS = [{'up_to': '100', 'unit': '0.05'}, {'up_to': '1000', 'unit': '0.04'}, {'unit': '0.03'}]
DOCUMENT = {
    'plans': {
        'p': {
            'currency': 'EUR',
            'items': [{'name': 'cpu', 'metric': 'cpu', 'price': {'graduated': TIERS}}],
        }
    },
    'taxes': {'VAT': [{'from': '2020-01-01', 'rate': '20 %'}]},
    'accounts': {
        name: {'scopes': [scope], 'plan': 'p', 'tax': {'standard': 'VAT'}, 'zone': zone}
        for name, scope, zone in (
            ('acme', 'a', 'UTC'),
            ('paris', 'b', 'Europe/Paris'),
            ('york', 'c', 'America/New_York'),
        )
    },
}
# Members that a closed statement has and its draft has not, and the other way round.
HEAD = {*ledger.HEAD, 'complete_until', 'blockers'}


@pytest.fixture
def world(any_conf, any_database):
    made = World(any_conf)
    made.apply(DOCUMENT)
    made.push('a', OCTOBER, '1500', '7')
    return made


def tail(content):
    return {name: value for name, value in content.items() if name not in HEAD}


def test_a_closed_month_is_its_draft_with_a_number(world):
    draft = world.draft('acme').to_form()
    entry = world.close('acme')
    content = world.content(entry.number)

    assert tail(content) == tail(draft)
    assert (entry.number, content['net'], content['tax']) == ('CK-2026-000001', '56.00', '11.20')
    assert world.faults() == []
    with pytest.raises(errors.Conflict, match='it has statement CK-2026-000001'):
        world.draft('acme')


def test_late_usage_is_a_line_of_the_next_statement(world):
    """The closed one keeps every byte; list prices booked and pending are the usage."""
    entry = world.close('acme')
    before = world.content(entry.number)
    world.push('a', OCTOBER + HOUR, '20', '0.125')

    assert world.pending('acme', '2026-11') == [('2026-10', '0.125', '0.60')]
    assert world.content(entry.number) == before
    world.now = moment('2026-12-20')
    second = world.close('acme', '2026-11')
    content = world.content(second.number)
    assert (content['net'], content['tax']) == ('0.60', '0.12')
    assert [line['correction'] for line in content['lines']] == [True]
    assert world.pending('acme', '2026-12') == []
    assert world.faults() == []


def _unbooked(world):
    with world.database.reader() as connection:
        return reconciliation.unbooked_months(connection, world.statements.documents, 'project_id')


def test_what_is_not_booked_is_counted(world):
    """From the change until it is booked; usage of an open month is not."""
    world.close('acme')
    world.push('b', OCTOBER, '1')
    assert _unbooked(world) == set()
    world.push('a', OCTOBER + HOUR, '20')

    assert _unbooked(world) == {('acme', '2026-10')}

    world.now = moment('2026-12-20')
    second = world.close('acme', '2026-11')
    assert _unbooked(world) == set()
    world.closing.void(second.number, 'wrong', 'ann')
    assert _unbooked(world) == {('acme', '2026-10')}


def test_what_is_removed_is_given_back(world):
    """Also of a scope that had nothing else."""
    world.close('acme')
    world.storage.delete(OCTOBER, OCTOBER + HOUR, {'project_id': 'a'})

    assert world.pending('acme', '2026-11') == [('2026-10', '-7', '-56.00')]


def test_the_same_usage_again_changes_nothing(world):
    world.close('acme')
    world.push('a', OCTOBER, '1500', '7')

    assert world.pending('acme', '2026-11') == []


def test_usage_that_moves_between_series_of_equal_sums_is_seen(world):
    """Within an hour, too: sums of the scope stay the same."""
    world.close('acme')
    world.store([('a', OCTOBER, 'disk', '1500', '7', {})])

    assert sorted(world.pending('acme', '2026-11')) == [
        ('2026-10', '-7', '-56.00'),
        ('2026-10', '7', '7.00'),
    ]


def test_the_last_hours_of_a_month_are_those_of_the_zone(world):
    """At 23:30Z it is November in Paris, and October in New York."""
    for account in ('paris', 'york'):
        world.close(account)
    late = moment('2026-10-31T23:30')
    for scope in ('b', 'c'):
        world.push(scope, late, '10', '1')

    assert world.pending('york', '2026-11') == [('2026-10', '1', '0.50')]
    assert world.pending('paris', '2026-11') == []
    assert world.draft('paris', '2026-11').statement.totals.list_price == 1
    assert world.draft('york', '2026-12').statement.totals.list_price == 1


def test_only_months_with_hours_of_the_change_are_computed_again(world):
    """What is noted is a month UTC, and each account has the months of its zone."""
    accounts = {'acme': 'a', 'paris': 'b', 'york': 'c'}
    for month in ('2026-09', '2026-10'):
        for account in accounts:
            world.close(account, month)
    for scope in accounts.values():
        world.push(scope, OCTOBER + HOUR, '20')

    found = {}
    with world.database.reader() as connection:
        for account, scope in accounts.items():
            closed = ledger.closed_months(connection, account)
            pending = changes.read(connection, account, 'project_id', [scope])
            found[account] = world.statements.changed_months(connection, account, closed, pending)

    assert found == {
        'acme': ['2026-10'],
        'paris': ['2026-10'],
        'york': ['2026-09', '2026-10'],
    }


def test_a_statement_is_taken_back_and_closed_again(world):
    """Numbers follow each other; corrections that it had are pending again."""
    world.close('acme')
    world.push('a', OCTOBER + HOUR, '20')
    world.now = moment('2026-12-20')
    second = world.close('acme', '2026-11')
    with pytest.raises(errors.Conflict, match='is not the newest'):
        world.closing.void('CK-2026-000001', 'wrong', 'ann')

    back = world.closing.void(second.number, 'wrong', 'ann')

    content = world.content(back.number)
    assert (back.number, content['state'], content['voids'], content['reason']) == (
        'CK-2026-000003',
        'void',
        second.number,
        'wrong',
    )
    assert (content['net'], content['tax'], content['total']) == ('-0.60', '-0.12', '-0.72')
    assert world.pending('acme', '2026-11') == [('2026-10', '0', '0.60')]
    with pytest.raises(errors.Conflict, match='takes a statement back'):
        world.closing.void(back.number, 'wrong', 'ann')
    again = world.close('acme', '2026-11')
    assert (again.number, again.revision, str(again.net)) == ('CK-2026-000004', 3, '0.60')
    assert tail(world.content(again.number)) == tail(world.content(second.number))
    assert world.faults() == []


@pytest.mark.parametrize(
    'until, now, quantity, told',
    [
        ('2026-10-15T00:00', '2026-11-20', '1', 'scope a is waiting'),
        ('2026-11-02T00:00', '2026-11-02', '1', 'it can be closed from'),
        ('2026-11-02T00:00', '2026-11-20', '-5000', 'is negative'),
    ],
)
def test_what_blocks_is_not_closed(world, until, now, quantity, told):
    world.now = moment(now)
    rate(world, moment(until), 'a')
    world.push('a', OCTOBER + HOUR, quantity)

    with pytest.raises(errors.Conflict, match=told):
        world.close('acme')
    assert world.months() == []


def test_a_version_moves_no_scope_of_a_month_with_statements(world):
    """It would be billed twice; other changes of the document are allowed."""
    world.close('acme')
    moved = {**DOCUMENT, 'accounts': {'other': {'scopes': ['a'], 'plan': 'p'}}}

    with pytest.raises(errors.Conflict, match='other accounts in 2026-10'):
        world.apply(moved, '2026-10')
    world.apply({**DOCUMENT, 'defaults': {'currency': 'EUR'}}, '2026-10')
    world.apply(moved, '2026-11')


def test_late_usage_of_a_scope_that_moved_is_its_former_accounts(world):
    """Whoever closes first."""
    world.close('acme')
    moved = {**DOCUMENT, 'accounts': {'other': {'scopes': ['a'], 'plan': 'p'}}}
    world.apply(moved, '2026-11')
    world.push('a', OCTOBER + HOUR, '20')
    world.now = moment('2026-12-20')

    other = world.close('other', '2026-11')

    assert other.net == 0
    assert world.pending('acme', '2026-11') == [('2026-10', '0', '0.60')]


def test_corrections_in_another_currency_are_not_mixed(world):
    world.close('acme')
    accounts = {'acme': {**DOCUMENT['accounts']['acme'], 'currency': 'CHF'}}
    rates = {'EUR/CHF': [{'from': '2026-01-01', 'rate': '0.9'}]}
    world.apply({**DOCUMENT, 'accounts': accounts, 'rates': rates}, '2026-11')
    world.push('a', OCTOBER + HOUR, '20')
    world.now = moment('2026-12-20')

    assert world.draft('acme', '2026-11').blockers == ['corrections of 2026-10 are in EUR']


def test_workers_close_at_once(any_conf, world):
    """Each account is closed by one of them, in whatever order; the others say that it is done."""
    found = []
    barrier = threading.Barrier(3)

    def close(account_ids):
        rival = World(any_conf)
        rival.now = world.now
        barrier.wait()
        found.extend(rival.closing.close_many(account_ids, '2026-10', 'ann'))
        rival.database.close()

    asked = [('acme', 'paris'), ('york', 'paris', 'acme'), ('paris',)]
    threads = [threading.Thread(target=close, args=[one]) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    made = {one.account: one.result.number for one in found if isinstance(one.result, ledger.Entry)}
    assert sorted(made) == ['acme', 'paris', 'york']
    assert sorted(made.values()) == [f'CK-2026-00000{number}' for number in (1, 2, 3)]
    told = [f'{one.account} {one.result}' for one in found if isinstance(one.result, Exception)]
    assert sorted(told) == [
        f'{account} 2026-10 is closed: it has statement {made[account]}.'
        for account in ('acme', 'paris', 'paris')
    ]
    assert world.faults() == []


def test_a_failing_account_does_not_affect_others(any_conf, world, caplog):
    """Neither one that may not be closed, nor one with an error that nobody expected."""
    world.apply({**DOCUMENT, 'defaults': {'currency': 'EUR'}})
    world.push('b', OCTOBER + HOUR, '-5000')

    @sa.event.listens_for(world.database.engine, 'before_cursor_execute')
    def _fail(connection, cursor, text, values, *_):
        if 'FROM billing_credits' in text and 'york' in str(values):
            raise RuntimeError('broken')

    accounts = ('acme', 'paris', 'york', 'd')
    found = list(world.closing.close_many(accounts, '2026-10', 'ann'))

    assert [one.account for one in found] == list(accounts)
    assert 'is negative' in str(found[1].result)
    assert str(found[2].result) == 'broken'
    assert [found[at].result.number for at in (0, 3)] == ['CK-2026-000001', 'CK-2026-000002']
    assert [entry.getMessage() for entry in caplog.records if entry.name == closing.__name__] == [
        '2026-10 of account york cannot be closed'
    ]
    assert world.faults() == []


@pytest.mark.parametrize('lines_max, transactions', [(1000, 1), (2, 2), (1, 3)])
def test_few_transactions_close_many_accounts(database, conf, monkeypatch, lines_max, transactions):
    """Yet a transaction ends when it has many lines, which are in memory."""
    monkeypatch.setattr(closing, 'LINES_MAX', lines_max)
    world = World(conf)
    world.apply(DOCUMENT)
    for scope in ('a', 'b', 'c'):
        world.push(scope, OCTOBER + 5 * HOUR, '1', '2')
    commits = []
    sa.event.listen(world.database.engine, 'commit', lambda _: commits.append(1))

    accounts = ('acme', 'paris', 'york')
    found = list(world.closing.close_many(accounts, '2026-10', 'ann'))

    assert len(commits) == transactions
    assert [one.result.number for one in found] == [f'CK-2026-00000{n}' for n in (1, 2, 3)]
    assert world.close('acme', '2026-09').number == 'CK-2026-000004'
    assert world.faults() == []


def _close_and_die(conf, now, at):
    """Close in a process of its own, which is killed before the statement of this number."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        world = World(conf)
        world.now = now
        count = 0

        @sa.event.listens_for(world.database.engine, 'before_cursor_execute')
        def _count(*_):
            nonlocal count
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

        for _ in world.closing.close_many(('acme', 'paris'), '2026-11', 'ann'):
            pass
    finally:
        os._exit(0)


def test_killed_anywhere_it_is_done_once_or_not_at_all(any_conf, world):
    """Before every other statement of the transaction of a batch; the numbers have no gap."""
    world.close('acme')
    world.push('a', OCTOBER + HOUR, '20')
    world.now = moment('2026-12-20')
    drafts = [world.draft(account, '2026-11') for account in ('acme', 'paris')]
    world.database.close()

    killed = 0
    for at in range(1, 80, 2):
        if os.WIFSIGNALED(_close_and_die(any_conf, world.now, at)):
            killed += 1
            assert world.months() == ['2026-10']
            world.database.close()
        else:
            break

    assert killed >= 10
    numbers = ['CK-2026-000002', 'CK-2026-000003']
    assert [tail(world.content(number)) for number in numbers] == [
        tail(draft.to_form()) for draft in drafts
    ]
    assert world.faults() == []


STATEMENTS, LINES = billing_tables.statements, billing_tables.lines
DAMAGE = [
    (sa.update(STATEMENTS).values(document=STATEMENTS.c.document.concat(' ')), 'another digest'),
    (sa.update(STATEMENTS).values(net=Decimal(57)), 'net is 57 in its row'),
    (sa.update(STATEMENTS).values(previous='x'), 'does not follow'),
    (sa.update(STATEMENTS).values(sequence=2), 'before it is missing'),
    (sa.update(LINES).values(quantity=Decimal(1)), 'its lines are not those'),
    (sa.delete(LINES), 'its lines are not those'),
    (sa.delete(LINES), '0 is booked of 7 at list price'),
]


@pytest.mark.parametrize('statement, told', DAMAGE)
def test_damage_is_found(database, conf, statement, told):
    world = World(conf)
    world.apply(DOCUMENT)
    world.push('a', OCTOBER, '1500', '7')
    world.close('acme')
    assert world.faults() == []

    with world.database.writer() as connection:
        connection.execute(statement)

    assert any(told in fault for fault in world.faults()), world.faults()


def test_a_missing_number_is_found(database, conf):
    """Also the last one."""
    world = World(conf)
    world.apply(DOCUMENT)
    for account in ('acme', 'paris'):
        world.close(account)
    for account, number in (('acme', 1), ('paris', 2)):
        with world.database.writer() as connection:
            connection.execute(sa.delete(STATEMENTS).where(STATEMENTS.c.account == account))

        assert f'CK-2026-{number:06}: is missing' in world.faults()


def _statements(store, frames):
    """Return the statements that storing *frames* executes."""
    found = []
    sa.event.listen(
        store.database.engine,
        'before_cursor_execute',
        lambda _connection, _cursor, text, *_: found.append(text),
    )
    store.push(frames, 'a')
    return found


def test_rating_asks_nothing_more(any_conf, any_database, world):
    """Not a statement while billing is off, nor for the current month while it is on."""
    any_conf.set_override('enabled', False, 'billing')
    off = sql.SQLStorage(any_conf)
    assert off.changes is None
    day = OCTOBER + timedelta(days=9)
    world.push('a', day, '1')
    [frame] = world.storage.retrieve(day, day + HOUR)['dataframes']
    without = len(_statements(off, [frame]))
    with world.database.reader() as connection:
        noted = connection.execute(sa.select(billing_tables.changes.c.changes)).scalars().all()
    assert noted == [2]

    world.now = OCTOBER + timedelta(days=14)
    fresh = sql.SQLStorage(any_conf)
    fresh.changes = world.storage.changes
    assert len(_statements(fresh, [frame])) == without
    world.now = OCTOBER + timedelta(days=50)
    late = sql.SQLStorage(any_conf)
    late.changes = world.storage.changes
    assert len(_statements(late, [frame])) == without + 1
