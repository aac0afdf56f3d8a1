"""Facts and entries for tests of embedded metering."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.core.metering.facts import Fact
from cloudkitty.db import usage_tables
from cloudkitty.usage import keys, late
from cloudkitty.usage.entries import Entry, Origin
from cloudkitty.usage.intake import Intake

NOW = datetime(2024, 11, 29, 13, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOUR_US = 3600 * facts.SECOND_US
LIMITS = late.Limits(3600, 1, timedelta(days=35))
ORIGIN = Origin('api', 'tester', 'api')


def us(hours: float, day: int = 29) -> int:
    """Return the instant of a day, in hours after midnight."""
    midnight = facts.to_us(datetime(2024, 11, day, tzinfo=UTC))
    return midnight + round(hours * HOUR_US)


def fact(at: int, quantity='1', *, kind=facts.DELTA, stage=facts.SAMPLE, **more) -> Fact:
    """Return a fact of volume v1 of scope p1."""
    given = {
        'source': 's',
        'scope_id': 'p1',
        'meter': 'volume.size',
        'resource_id': 'v1',
        'unit': 'GiB',
        'kind': kind,
        'at': at,
        'stage': stage,
        'quantity': None if quantity is None else Decimal(quantity),
        **more,
    }
    return Fact(**given)


def life(begin: int, end: int | None, quantity='1', **more) -> list[Fact]:
    """Return the facts of a life."""
    made = [fact(begin, quantity, kind=facts.STATE, stage=facts.BEGIN, **more)]
    if end is not None:
        made.append(fact(end, None, kind=facts.STATE, stage=facts.END, **more))
    return made


def entry(*stated: Fact, event_id: str | None = None, revision: int = 0) -> Entry:
    """Return what is stored of a message that states facts."""
    event = event_id and (
        keys.digest_of(stated[0].source, event_id),
        facts.digest('stated', repr(stated)),
    )
    return Entry('{"a": 1.50}', stated, event or None, revision)


def intake(database, now=NOW) -> Intake:
    return Intake(database, LIMITS, lambda: now)


def store(database, *stated: Fact, now=NOW):
    """Store each fact as a message of its own; return what became of them."""
    return intake(database, now).store([entry(one) for one in stated], ORIGIN)


def rows(database, table: sa.Table, *names: str) -> list[tuple]:
    """Return columns of a table, sorted."""
    with database.reader() as connection:
        found = connection.execute(sa.select(*[table.c[name] for name in names]))
        return sorted(map(tuple, found), key=str)


def lives(database) -> list[tuple]:
    """Return (begin, end, quantity, evidence) of the stored lives."""
    return rows(database, usage_tables.lives, 'begin', 'end', 'quantity', 'evidence')


def lates(database) -> list[tuple]:
    """Return (scope, begin, end) of the time that is to be rated again."""
    return rows(database, usage_tables.late, 'scope_id', 'begin', 'end')
