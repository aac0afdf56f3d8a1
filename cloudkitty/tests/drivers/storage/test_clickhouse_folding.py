"""Days are folded in ClickHouse, and every total is what the points say, before and after."""

import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty.db import clickhouse_tables
from cloudkitty.storage.v2.clickhouse import folding, revisions
from cloudkitty.tests.clickhouse import empty
from cloudkitty.tests.conformance.storage import HOUR, JUNE, MAY, frame, point, totals

pytestmark = pytest.mark.xdist_group('clickhouse')
DAY = timedelta(days=1)
GROUPS = [[], ['id', 'project_id'], ['time-d']]
WINDOWS = [(MAY, JUNE), (MAY + 5 * HOUR, MAY + 3 * DAY)]
FILTERS = [None, {'project_id': 'a', 'id': ['x', 'z'], 'month': '5'}]


@pytest.fixture
def storage(clickhouse, conf, database):
    with empty(conf, clickhouse.url) as opened:
        yield opened


def usage(price, *ids):
    return {'cpu': [point('a', 1, price, id=one) for one in ids]}


@pytest.fixture
def month(storage):
    """Four days of two scopes, with a day between that has nothing."""
    for day, scope in itertools.product((0, 1, 3), ('a', 'b')):
        for hour in (0, 23):
            begin = MAY + day * DAY + hour * HOUR
            found = {
                'cpu': [point(scope, day + 1, hour, id=one) for one in 'xy'],
                'disk': [point(scope, 1, 1, id='z')],
            }
            storage.push([frame(begin, found)], scope)
    return storage


def fold(storage, now=None):
    """Fold all that can be folded."""
    now = now or datetime.now(UTC)
    storage.fold(now)
    while storage.fold(now + folding.SETTLED):
        pass


def answers(storage):
    return [
        totals(storage, groups, *window, filters=filters)
        for groups, window, filters in itertools.product(GROUPS, WINDOWS, FILTERS)
    ]


def from_points(storage, monkeypatch):
    """Return what answers() are without folded days."""
    with monkeypatch.context() as patched:
        patched.setattr(
            folding,
            '_view',
            lambda connection, snapshot, *window: folding.View(snapshot),
        )
        return answers(storage)


def changed(storage):
    with storage.database.reader() as connection:
        return connection.execute(sa.select(clickhouse_tables.unfolded_days)).all()


def test_folding_changes_no_total(month, monkeypatch):
    before = answers(month)
    fold(month)

    with month.database.reader() as connection:
        assert folding.read(connection).until == (datetime.now(UTC) - folding.CLOSED).date()
        assert folding.view(connection, MAY, JUNE).folded == (MAY.date(), JUNE.date())
    assert answers(month) == before == from_points(month, monkeypatch)
    # The sums are read, not the points.
    month.body.all[0].client.execute(f'TRUNCATE TABLE {month.body.all[0].database}.frames')
    assert totals(month, ['type'], MAY, JUNE) == [('cpu', 56, 276), ('disk', 12, 12)]


def test_what_changes_later_is_read_from_points_and_folded_again(month, monkeypatch):
    fold(month)
    month.push([frame(MAY, usage(7, 'x'))], 'a')
    month.push([frame(MAY + 2 * DAY, usage(5, 'new'))], 'a')
    month.push([frame(MAY + DAY, {'credit': [point('b', 1, -1, id='c')]})])
    month.delete(MAY + 3 * DAY, None, {'project_id': 'b'})

    assert {(row.scope_id, (row.day - MAY.date()).days) for row in changed(month)} == {
        (1, 0),
        (1, 2),
        (2, 1),
        (2, 3),
    }
    expected = from_points(month, monkeypatch)
    assert answers(month) == expected
    fold(month)
    assert changed(month) == []
    assert answers(month) == expected


def test_with_many_changes_points_are_read(month, monkeypatch):
    fold(month)
    month.push([frame(MAY, usage(7, 'x'))], 'a')
    expected = from_points(month, monkeypatch)
    monkeypatch.setattr(folding, 'CHANGED_MAX', 0)

    with month.database.reader() as connection:
        assert folding.view(connection, MAY, JUNE).folded is None
    assert answers(month) == expected


def test_what_is_announced_is_folded_an_hour_later(month):
    """Until then a transaction may not know that it has to say what it changes."""
    now = datetime.now(UTC)
    assert month.fold(now) is False
    assert month.fold(now + folding.SETTLED - timedelta(seconds=1)) is False
    with month.database.reader() as connection:
        assert folding.read(connection).until == MAY.date()

    month.push([frame(MAY, usage(7, 'x'))], 'a')
    assert [row.day for row in changed(month)] == [MAY.date()]
    assert month.fold(now + folding.SETTLED) is True


def test_only_the_first_announcement_looks_for_the_first_day(month, monkeypatch):
    """It takes as long as reading the keys of all frames."""
    now = datetime.now(UTC)
    fold(month, now)
    with monkeypatch.context() as patched:
        patched.setattr(month.body, 'first_day', _died)
        month.fold(now + DAY)

    with month.database.reader() as connection:
        assert folding.read(connection).announced == (now + DAY - folding.CLOSED).date()


def test_a_fold_that_died_is_invisible_and_done_again(month, monkeypatch):
    before = answers(month)
    for broken in ('close', 'begin'):
        with monkeypatch.context() as patched:
            patched.setattr(revisions, broken, _died)
            with pytest.raises(ConnectionError):
                fold(month)
        assert answers(month) == before
    fold(month)
    assert answers(month) == before


def _died(*arguments):
    raise ConnectionError


def test_a_change_while_a_day_is_folded_is_not_lost(month, monkeypatch):
    fold(month)
    month.push([frame(MAY, usage(7, 'x'))], 'a')
    insert = month.body.insert_days

    def overtaken(*arguments):
        monkeypatch.undo()
        insert(*arguments)
        month.push([frame(MAY, usage(9, 'x'))], 'a')

    monkeypatch.setattr(month.body, 'insert_days', overtaken)
    month.fold(datetime.now(UTC))

    assert len(changed(month)) == 1
    assert totals(month, [], MAY, MAY + DAY, filters={'project_id': 'a'})[0][1] == 56
    fold(month)
    assert changed(month) == []
    assert totals(month, [], MAY, MAY + DAY, filters={'project_id': 'a'})[0][1] == 56


def test_any_order_of_changes_and_folds(storage, monkeypatch):
    """Drawn at random: stored, pushed, deleted, folded; and killed in between."""
    drawn = random.Random(7)
    for number in range(30):
        scope, hour = drawn.choice('ab'), drawn.randrange(72)
        begin = MAY + hour * HOUR
        match drawn.randrange(6):
            case 0 | 1:
                storage.push([frame(begin, usage(number, *drawn.sample('xyz', 2)))], scope)
            case 2:
                storage.push([frame(begin, {'credit': [point(scope, 1, -number, id='c')]})])
            case 3:
                storage.delete(begin, begin + 30 * HOUR, {'project_id': scope})
            case 4:
                fold(storage)
            case 5:
                with monkeypatch.context() as patched, pytest.raises(ConnectionError):
                    patched.setattr(revisions, 'close', _died)
                    storage.push([frame(begin, usage(number, 'x'))], scope)
        if number % 10 == 9:
            assert answers(storage) == from_points(storage, monkeypatch), number
