"""Times without samples: what is stored of them, and what operators accept."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import late_data, source_gaps
from cloudkitty.scopes import state as scope_state
from cloudkitty.scopes.source_gaps import ACCEPTED, BACK, HELD, NOTED, UNUSABLE, UNUSED, Gap

IDENTITY = scope_state.Identity('project_id', 'keystone', 'gnocchi')
OTHER = IDENTITY._replace(collector='other')
START = datetime(2024, 5, 1, tzinfo=UTC)


def at(hour):
    return START + timedelta(hours=hour)


def gap(begin, end, state, metric='cpu'):
    return Gap(metric, at(begin), at(end), state, 'a sign')


class Known:
    """The stored gaps of one database."""

    def __init__(self, database):
        self._database = database

    def record(self, *gaps, span=(0, 24)):
        """Record gaps of cpu; return the changes."""
        changes = self._database.write(
            lambda connection: source_gaps.record(
                connection, IDENTITY, {'cpu': gaps}, Period(at(span[0]), at(span[1]))
            )
        )
        return [short(change) for change in changes]

    def record_unusable(self, *spans):
        gaps = [gap(begin, end, UNUSABLE) for begin, end in spans]
        self._database.write(
            lambda connection: source_gaps.record_unusable(connection, IDENTITY, gaps)
        )

    def accept(self, begin, end):
        return self._database.write(
            lambda connection: source_gaps.accept(
                connection,
                IDENTITY,
                'cpu',
                Period(at(begin), at(end)),
                by='ops',
                reason='maintenance',
                now=at(30),
            )
        )

    def rows(self, identity=IDENTITY, **wanted):
        with self._database.reader() as connection:
            found = source_gaps.list_gaps(connection, identity, **wanted)
        return [short(one) for one in found]


def short(one):
    return (
        (one.begin - START) / timedelta(hours=1),
        (one.end - START) / timedelta(hours=1),
        one.state,
    )


@pytest.fixture
def known(database):
    return Known(database)


def test_only_what_changes_is_returned(known):
    assert known.record(gap(1, 2, HELD)) == [(1, 2, HELD)]
    assert known.record(gap(1, 2, HELD)) == []
    assert known.record(gap(1, 2.5, HELD)) == []
    assert known.record(gap(1, 2.5, NOTED)) == [(1, 2.5, NOTED)]
    assert known.rows() == [(1, 2.5, NOTED)]
    assert known.rows(OTHER) == []


@pytest.mark.parametrize(
    'old, new, span, expected',
    [
        # What was waited for, or unused, and has samples now is forgotten; a note is not.
        (HELD, [], (0, 24), []),
        (UNUSED, [], (0, 24), []),
        (NOTED, [], (0, 24), [(4, 8, BACK)]),
        # Only of what was looked at.
        (NOTED, [], (5, 6), [(4, 5, NOTED), (5, 6, BACK), (6, 8, NOTED)]),
        (HELD, [], (5, 6), [(4, 5, HELD), (6, 8, HELD)]),
        # What goes on is one row.
        (NOTED, [gap(4, 10, NOTED)], (8, 10), [(4, 10, NOTED)]),
        (UNUSED, [gap(4, 10, UNUSED)], (8, 10), [(4, 10, UNUSED)]),
        (NOTED, [gap(8, 10, NOTED)], (8, 10), [(4, 10, NOTED)]),
        # A part of the samples came.
        (NOTED, [gap(4, 5, NOTED)], (0, 24), [(4, 5, NOTED), (5, 8, BACK)]),
        # Once noted, it is, until the periods are rated again.
        (NOTED, [gap(4, 8, HELD)], (0, 24), [(4, 8, NOTED)]),
        (NOTED, [gap(4, 8, UNUSED)], (0, 24), [(4, 8, BACK)]),
        (UNUSED, [gap(4, 8, NOTED)], (0, 24), [(4, 8, NOTED)]),
    ],
)
def test_what_is_found_replaces_what_is_stored(known, old, new, span, expected):
    known.record(gap(4, 8, old))

    known.record(*new, span=span)

    assert known.rows() == expected


def test_what_is_accepted_stays_so(known):
    """And is no gap again, not even in part."""
    known.record(gap(4, 8, NOTED))

    before = known.accept(5, 9)

    assert [short(one) for one in before] == [(4, 8, NOTED)]
    assert known.rows() == [(4, 5, NOTED), (5, 9, ACCEPTED)]
    assert known.record(gap(4, 12, NOTED)) == [(9, 12, NOTED)]
    assert known.rows() == [(4, 5, NOTED), (5, 9, ACCEPTED), (9, 12, NOTED)]


def test_gaps_are_counted_by_metric_unless_they_are_explained(known, database):
    known.record(gap(1, 2, NOTED), gap(3, 4, UNUSED), gap(5, 6, HELD), gap(7, 8, NOTED))
    known.accept(7, 8)

    with database.reader() as connection:
        assert source_gaps.count(connection, IDENTITY) == [('cpu', HELD, 1), ('cpu', NOTED, 1)]
        assert source_gaps.count(connection, OTHER) == []


@pytest.mark.parametrize(
    'gaps, expected',
    [
        ([], False),
        ([gap(1, 2, ACCEPTED)], True),
        ([gap(1, 1.5, ACCEPTED), gap(1.5, 2, NOTED)], False),
        ([gap(1, 1.5, ACCEPTED), gap(1.5, 2, BACK)], False),
        ([gap(1, 1.5, ACCEPTED), gap(2, 3, NOTED)], True),
        ([gap(1, 1.5, UNUSED)], False),
        ([gap(2, 3, ACCEPTED)], False),
    ],
)
def test_a_noted_time_is_explained_when_all_its_gaps_are_accepted(gaps, expected):
    assert source_gaps.is_explained(Period(at(1), at(2)), gaps) is expected


def test_what_is_back_is_forgotten_when_no_scope_has_a_note(known, database):
    def see(connection):
        scope_state.record_seen(
            connection, IDENTITY, 'ab', now=at(9), initial_mark=at(9), final_mark=at(9)
        )
        late_data.record_rated(
            connection, IDENTITY, Period(at(4), at(8)), 'no data of cpu', timedelta(hours=1)
        )

    database.write(see)
    known.record(gap(4, 8, NOTED))
    known.record()

    database.write(lambda connection: source_gaps.tidy(connection, IDENTITY))
    assert known.rows() == [(4, 8, BACK)]
    with database.writer() as connection:
        connection.execute(sa.delete(tables.notes))
    database.write(lambda connection: source_gaps.tidy(connection, IDENTITY))
    assert known.rows() == []


def test_the_newest_times_of_disuse_are_kept(known, monkeypatch):
    """What somebody has to explain is kept, however old it is."""
    monkeypatch.setattr(source_gaps, 'UNUSED_MAX', 2)
    known.record(gap(1, 2, NOTED), *(gap(n, n + 1, UNUSED) for n in (3, 5, 7, 9)))

    assert known.rows() == [(1, 2, NOTED), (7, 8, UNUSED), (9, 10, UNUSED)]


def test_scopes_are_noted_where_they_were_rated_without_a_note(database):
    """Also around a note on a part of it."""

    def see(connection):
        for name, mark in (('a', 9), ('b', 5), ('c', 2), ('d', 9)):
            scope_state.record_seen(
                connection, IDENTITY, [name], now=at(9), initial_mark=at(mark), final_mark=at(9)
            )
        late_data.record(connection, [late_data.Note(4, at(5), at(6), 'known')])
        late_data.record_rated(
            connection, IDENTITY, Period(at(4), at(8)), 'no data of cpu', timedelta(hours=1)
        )
        return late_data.list_notes(connection, [1, 2, 3, 4])

    assert database.write(see) == [
        late_data.Note(1, at(4), at(8), 'no data of cpu'),
        late_data.Note(2, at(4), at(6), 'no data of cpu'),
        late_data.Note(4, at(4), at(5), 'no data of cpu'),
        late_data.Note(4, at(5), at(6), 'known'),
        late_data.Note(4, at(6), at(8), 'no data of cpu'),
    ]


@pytest.mark.parametrize(
    'old, spans, expected',
    [
        (NOTED, [(6, 10)], [(4, 8, NOTED), (8, 10, UNUSABLE)]),
        (NOTED, [(2, 10)], [(2, 4, UNUSABLE), (4, 8, NOTED), (8, 10, UNUSABLE)]),
        # Nothing else says that these are unresolved.
        (UNUSED, [(6, 10)], [(4, 6, UNUSED), (6, 10, UNUSABLE)]),
        (HELD, [(6, 10)], [(4, 6, HELD), (6, 10, UNUSABLE)]),
        # Of several scopes.
        (HELD, [(8, 10), (9, 11), (9, 10)], [(4, 8, HELD), (8, 11, UNUSABLE)]),
    ],
)
def test_what_cannot_be_used_is_added_to_what_is_missing(known, old, spans, expected):
    known.record(gap(4, 8, old))

    known.record_unusable(*spans)
    known.record_unusable(*spans)

    assert known.rows() == expected


def test_what_cannot_be_used_goes_on_in_one_row(known):
    for begin in (4, 5, 8):
        known.record_unusable((begin, begin + 1))

    assert known.rows() == [(4, 6, UNUSABLE), (8, 9, UNUSABLE)]


def test_what_cannot_be_used_stays_accepted(known):
    known.accept(4, 8)

    known.record_unusable((6, 10))
    known.accept(8, 9)

    assert known.rows() == [(4, 8, ACCEPTED), (8, 9, ACCEPTED), (9, 10, UNUSABLE)]


@pytest.mark.parametrize(
    'new, expected',
    [
        ([], [(4, 8, UNUSABLE)]),
        ([gap(6, 10, NOTED)], [(4, 6, UNUSABLE), (6, 10, NOTED)]),
        ([gap(6, 10, HELD)], [(4, 8, UNUSABLE), (8, 10, HELD)]),
        ([gap(6, 10, UNUSED)], [(4, 8, UNUSABLE), (8, 10, UNUSED)]),
    ],
)
def test_samples_do_not_tell_that_values_can_be_used(known, new, expected):
    """The gap stays whatever the coverage of the source is."""
    known.record_unusable((4, 8))

    known.record(*new)

    assert known.rows() == expected
    assert known.record(*new) == []
    assert known.rows() == expected


def test_what_cannot_be_used_is_unresolved(known, database):
    known.record_unusable((4, 8))

    with database.reader() as connection:
        assert source_gaps.count(connection, IDENTITY) == [('cpu', UNUSABLE, 1)]
    gaps = [gap(1, 1.5, ACCEPTED), gap(1.5, 2, UNUSABLE)]
    assert not source_gaps.is_explained(Period(at(1), at(2)), gaps)
