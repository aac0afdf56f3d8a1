"""Instants, periods and the calendar."""

import time
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from cloudkitty import errors
from cloudkitty.core import timeframe


@pytest.mark.parametrize(
    'text, expected',
    [
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
    ],
)
def test_every_accepted_date_is_utc(text, expected):
    assert timeframe.parse(text) == expected


@pytest.mark.parametrize(
    'text',
    [
        '',
        '1546300800',
        '2019-W01-1',
        'yesterday',
        '2019-13-01',
        '2019-01-01T25:00',
        None,
        5,
        '0001-01-01T00:00:00+14:00',
        '2019-01-01\x00',
        '1701121212345',
        '2019-01-01x00:00',
        '2019-01-01T' + '0' * 99,
        '1' * 99,
        '2019-0101',
        '2019-01-01T00:00:00 01:00',
        '٢٠١٩-٠١-٠١',
    ],
)
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
        datetime(2024, 2, 1, tzinfo=UTC),
        datetime(2024, 3, 1, tzinfo=UTC),
    )


def test_the_calendar_is_that_of_utc():
    """Half past midnight in Tokyo is still the day before in UTC."""
    tokyo = timezone(timedelta(hours=9))

    assert timeframe.calendar_of(datetime(2024, 4, 1, 0, 30, tzinfo=tokyo)) == {
        'week_of_the_year': '13',
        'day_of_the_year': '91',
        'month': '3',
        'year': '2024',
    }


@pytest.fixture
def host_in_tokyo(monkeypatch):
    """The zone of this host is nine hours before UTC meanwhile."""
    monkeypatch.setenv('TZ', 'JST-9')
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_zone_of_the_host_does_not_matter(host_in_tokyo):
    midnight = datetime(2024, 5, 1, tzinfo=UTC)

    assert timeframe.parse('2024-05-01T00:00:00') == midnight
    assert timeframe.parse_exact('2024-05-01') == midnight
    assert timeframe.from_naive(datetime(2024, 5, 1)) == midnight
    assert timeframe.midnight(date(2024, 5, 1)) == midnight
    assert timeframe.to_naive(midnight) == datetime(2024, 5, 1)
    assert timeframe.render(midnight) == '2024-05-01T00:00:00+00:00'
    assert timeframe.month_at(midnight).begin == midnight
    assert timeframe.month_named('2024-05').begin == midnight
    assert timeframe.period_at(midnight, 3600).begin == midnight
    assert timeframe.calendar_of(midnight)['day_of_the_year'] == '122'


@pytest.mark.parametrize(
    'month, begin, end',
    [
        ('2023-02', (2023, 2), (2023, 3)),
        ('2024-02', (2024, 2), (2024, 3)),
        ('2024-04', (2024, 4), (2024, 5)),
        ('2024-12', (2024, 12), (2025, 1)),
    ],
)
def test_months_have_the_days_of_the_calendar(month, begin, end):
    """Seen from a zone of another month, too: months are those of UTC."""
    expected = timeframe.Period(datetime(*begin, 1, tzinfo=UTC), datetime(*end, 1, tzinfo=UTC))
    tokyo = timezone(timedelta(hours=9))

    assert timeframe.month_named(month) == expected
    for instant in (expected.begin, expected.end - timedelta(microseconds=1)):
        assert timeframe.month_at(instant) == expected
        assert timeframe.month_at(instant.astimezone(tokyo)) == expected
        assert timeframe.month_at(instant.astimezone(tokyo)).begin.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    'month', ['1969-12', '3000-01', '9999-12', '0001-01', '2024-13', '0000-01']
)
def test_a_month_of_another_time_is_none(month):
    with pytest.raises(errors.InvalidInput):
        timeframe.month_named(month)


@pytest.mark.parametrize(
    'day, week, number, month, year',
    [
        ((2024, 1, 1), '00', '1', '1', '2024'),
        ((2024, 1, 6), '00', '6', '1', '2024'),
        ((2024, 1, 7), '01', '7', '1', '2024'),
        ((2024, 12, 31), '52', '366', '12', '2024'),
        ((2023, 1, 1), '01', '1', '1', '2023'),
        ((2023, 10, 9), '41', '282', '10', '2023'),
        ((2021, 1, 3), '01', '3', '1', '2021'),
    ],
)
def test_weeks_begin_with_sunday_and_belong_to_the_calendar_year(day, week, number, month, year):
    """Only the week has a leading zero; days before the first Sunday are week 00."""
    assert timeframe.calendar_of(datetime(*day, 23, tzinfo=UTC)) == {
        'week_of_the_year': week,
        'day_of_the_year': number,
        'month': month,
        'year': year,
    }


@pytest.mark.parametrize('text', ['2024', '2024-05-01', '2024-5', ' 2024-05', '2024-13', None])
def test_what_is_no_month_is_refused(text):
    with pytest.raises(errors.InvalidInput):
        timeframe.month_named(text)


@pytest.mark.parametrize('length_s, minutes', [(3600, 0), (600, 50), (86400, -12 * 60), (7, None)])
def test_periods_are_counted_from_the_epoch(length_s, minutes):
    """All hosts see the same edges, whatever the length; the end belongs to the next period."""
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    instant = noon + timedelta(minutes=59)

    begin, end = timeframe.period_at(instant, length_s)

    assert (begin - timeframe.EPOCH) % timedelta(seconds=length_s) == timedelta(0)
    assert begin <= instant < end == begin + timedelta(seconds=length_s)
    assert minutes is None or begin == noon + timedelta(minutes=minutes)
    assert timeframe.period_at(end, length_s).begin == end
    assert timeframe.period_at(end - timedelta(microseconds=1), length_s).begin == begin


@pytest.mark.parametrize('read', [timeframe.parse, timeframe.parse_exact, timeframe.month_named])
def test_a_long_text_is_not_repeated_in_the_error(read):
    with pytest.raises(errors.InvalidInput) as caught:
        read('2024' * 20_000)

    assert len(str(caught.value)) < 200
