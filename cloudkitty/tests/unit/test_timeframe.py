"""Instants, periods and the calendar."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from cloudkitty import errors, timeframe


@pytest.mark.parametrize('text, expected', [
    ('2019-01-01T00:00:00Z', datetime(2019, 1, 1, tzinfo=UTC)),
    ('2019-01-01T00:00:00+01:00', datetime(2018, 12, 31, 23, tzinfo=UTC)),
    ('2019-01-01 00:00:00+00:00', datetime(2019, 1, 1, tzinfo=UTC)),
    ('20190101T000000Z', datetime(2019, 1, 1, tzinfo=UTC)),
    ('2019-01-01T12:30:00', datetime(2019, 1, 1, 12, 30, tzinfo=UTC)),
    ('2019-01-01', datetime(2019, 1, 1, tzinfo=UTC)),
    ('2019-02', datetime(2019, 2, 1, tzinfo=UTC)),
    ('2019-01-01T00:00:00.999Z', datetime(2019, 1, 1, tzinfo=UTC)),
    (' 20190101 0130+0100 ', datetime(2019, 1, 1, 0, 30, tzinfo=UTC)),
    ('2019-01-01T01', datetime(2019, 1, 1, 1, tzinfo=UTC)),
    ('2019-01-01T00:00:00,123456789-01', datetime(2019, 1, 1, 1, tzinfo=UTC)),
])
def test_every_accepted_date_is_utc(text, expected):
    assert timeframe.parse(text) == expected


@pytest.mark.parametrize('text', [
    '', '1546300800', '2019-W01-1', 'yesterday', '2019-13-01', '2019-01-01T25:00', None, 5,
    '0001-01-01T00:00:00+14:00', '2019-01-01\x00', '1701121212345', '2019-01-01x00:00',
    '2019-01-01T' + '0' * 99, '1' * 99, '2019-0101', '2019-01-01T00:00:00 01:00', '٢٠١٩-٠١-٠١'])
def test_anything_else_is_an_error_of_the_caller(text):
    with pytest.raises(errors.InvalidInput, match='is not an ISO 8601 date'):
        timeframe.parse(text)


def test_period_begins_on_its_own_edge():
    """An instant on an edge opens the period that starts there."""
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)

    begin, end = timeframe.period_at(noon, 3600)

    assert begin == noon
    assert end - begin == timedelta(hours=1)


def test_naive_instants_are_refused():
    with pytest.raises(errors.NaiveTime):
        timeframe.period_at(datetime(2024, 5, 1), 3600)


def test_a_month_ends_where_the_next_begins():
    assert timeframe.month_at(datetime(2024, 2, 29, 23, tzinfo=UTC)) == (
        datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))


def test_the_calendar_is_that_of_utc():
    """Half past midnight in Tokyo is still the day before in UTC."""
    tokyo = timezone(timedelta(hours=9))

    assert timeframe.calendar_of(datetime(2024, 4, 1, 0, 30, tzinfo=tokyo)) == {
        'week_of_the_year': '13', 'day_of_the_year': '91', 'month': '3', 'year': '2024'}
