"""Local times of a zone become UTC, one by one and in SQL alike."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.db.adoption import zone

ZONES = ['UTC', 'Europe/Berlin', 'America/Sao_Paulo', 'Asia/Tokyo', 'Africa/Casablanca']
FIRST = datetime(2010, 1, 1, 0, 30)
# No multiple of a day, so that all hours and both sides of each change are met.
STEP = timedelta(hours=5, minutes=7)


def _moments():
    return [FIRST + STEP * number for number in range(12000)]


def _expected(known, moment):
    return moment.replace(tzinfo=known).astimezone(UTC).replace(tzinfo=None)


@pytest.mark.parametrize('name', ZONES)
def test_spans_give_each_time_its_offset(name):
    """The offset of a local time is the one of its span."""
    known, moments = zone.named(name), _moments()
    spans = zone.spans(known, moments[0], moments[-1])

    for moment in moments:
        (span, *_) = [one for one in spans if moment < one.end]
        assert moment - span.offset == _expected(known, moment), moment


def test_few_spans_are_needed():
    """One for each change of the clocks and one more, whatever the number of rows."""
    berlin = zone.named('Europe/Berlin')

    spans = zone.spans(berlin, datetime(2026, 1, 1), datetime(2026, 12, 31))

    assert [(span.end, span.offset) for span in spans] == [
        (datetime(2026, 3, 29, 3), timedelta(hours=1)),
        (datetime(2026, 10, 25, 3), timedelta(hours=2)),
        (datetime.max, timedelta(hours=1)),
    ]


def test_the_end_of_time_is_no_end_of_work():
    """A rule may end in the year 9999."""
    berlin = zone.named('Europe/Berlin')

    assert len(zone.spans(berlin, datetime(2026, 1, 1), datetime.max)) < 500


@pytest.mark.parametrize('name', ZONES)
def test_servers_compute_the_same(name, any_conf):
    """PostgreSQL and MariaDB give what Python gives."""
    if any_conf.database.connection.startswith('sqlite'):
        return
    known = zone.named(name)
    moments = _moments()[::40]
    spans = zone.spans(known, moments[0], moments[-1])
    table = sa.Table('t', sa.MetaData(), sa.Column('local', sa.DateTime(), primary_key=True))
    database = db.Database(any_conf)
    table.create(database.engine)
    with database.writer() as connection:
        connection.execute(table.insert(), [{'local': moment} for moment in moments])
        found = connection.execute(
            sa.select(table.c.local, zone.to_utc(connection, table.c.local, spans))
        ).all()
    database.close()

    assert {local: utc for local, utc in found} == {
        moment: _expected(known, moment) for moment in moments
    }


@pytest.mark.parametrize(
    'name, twice',
    [
        ('Europe/Berlin', [(datetime(2026, 10, 25, 2), datetime(2026, 10, 25, 3))]),
        ('Australia/Lord_Howe', [(datetime(2026, 4, 5, 1, 30), datetime(2026, 4, 5, 2))]),
        ('Asia/Tokyo', []),
        ('UTC', []),
    ],
)
def test_times_that_came_twice_are_known(name, twice):
    """A time that was skipped is not one of them."""
    spans = zone.spans(zone.named(name), datetime(2026, 1, 1), datetime(2026, 12, 31))

    assert zone.ambiguous(spans) == twice


def test_the_zone_of_the_machine_is_the_default(monkeypatch):
    """TZ tells it, with the colon that it may begin with."""
    monkeypatch.setenv('TZ', ':Asia/Tokyo')

    assert zone.named(None).key == 'Asia/Tokyo'
    assert zone.named('UTC').key == 'UTC'
