"""The table of periods that were rated though the source lagged, on every database."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import late_data
from cloudkitty.scopes import state as scope_state
from cloudkitty.scopes.late_data import Note

HOUR = timedelta(hours=1)
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'source', 'prometheus')
ALWAYS = Period(NOON - 99 * HOUR, NOON + 99 * HOUR)


def at(hours):
    return NOON + hours * HOUR


def spans(database, window=ALWAYS):
    """Return scope, begin and end in hours, and reason."""
    with database.reader() as connection:
        return [
            (key, (begin - NOON) / HOUR, (end - NOON) / HOUR, reason)
            for key, begin, end, reason in late_data.list_notes(connection, [1, 2, 3], window)
        ]


def record(database, *found):
    database.write(
        lambda connection: late_data.record(
            connection, [Note(key, at(begin), at(end), reason) for key, begin, end, reason in found]
        )
    )


@pytest.fixture
def known(any_database):
    """Three scopes."""
    any_database.write(
        lambda connection: scope_state.record_seen(
            connection, IDENTITY, 'abc', now=NOON, initial_mark=NOON, final_mark=NOON
        )
    )
    return any_database


def test_what_goes_on_is_one_row(known):
    """With the same reason, from where the last one ended."""
    record(known, (1, 0, 2, 'cpu'), (2, 0, 2, 'cpu'))
    record(known, (1, 2, 3, 'cpu'), (2, 2, 3, 'ram'), (3, 2, 3, 'cpu'))
    record(known, (1, 4, 5, 'cpu'), (2, 3, 5, 'ram'))

    assert spans(known) == [
        (1, 0, 3, 'cpu'),
        (1, 4, 5, 'cpu'),
        (2, 0, 2, 'cpu'),
        (2, 2, 5, 'ram'),
        (3, 2, 3, 'cpu'),
    ]
    assert spans(known, Period(at(3), at(4))) == [(2, 2, 5, 'ram')]


@pytest.mark.parametrize(
    'begin, end, expected',
    [
        (0, 9, [(2, 1, 6)]),
        (2, 4, [(1, 1, 2), (1, 4, 6), (2, 1, 6)]),
        (4, 5, [(1, 1, 2), (1, 3, 4), (1, 5, 6), (2, 1, 6)]),
        (1, None, [(2, 1, 6)]),
        (5, None, [(1, 1, 2), (1, 3, 5), (2, 1, 6)]),
        (6, None, [(1, 1, 2), (1, 3, 6), (2, 1, 6)]),
    ],
)
def test_what_is_rated_again_is_forgotten(known, begin, end, expected):
    record(known, (1, 1, 2, 'cpu'), (1, 3, 6, 'cpu'), (2, 1, 6, 'cpu'))

    known.write(lambda connection: late_data.clear(connection, [1], at(begin), end and at(end)))

    assert [span[:3] for span in spans(known)] == expected
