"""The clock of a server, as its responses tell it."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty.clients.source_clock import AGE_MAX_S, HALF_S, SourceClock

DATE = 'Wed, 01 May 2024 10:00:00 GMT'
TOLD = datetime(2024, 5, 1, 10, tzinfo=UTC) + HALF_S


class Seconds:
    def __init__(self):
        self.value = 7.0

    def __call__(self):
        return self.value


def test_the_clock_goes_on_after_a_response():
    seconds = Seconds()
    clock = SourceClock(seconds)
    assert clock.now() is None

    clock.read({'Date': DATE})
    seconds.value += 30

    assert clock.now() == TOLD + timedelta(seconds=30)


def test_what_was_read_long_ago_is_forgotten():
    seconds = Seconds()
    clock = SourceClock(seconds)
    clock.read({'Date': DATE})
    seconds.value += AGE_MAX_S + 1

    assert clock.now() is None


@pytest.mark.parametrize(
    'headers', [{}, {'Date': ''}, {'Date': 'today'}, {'Date': DATE, 'Age': '60'}]
)
def test_headers_that_tell_no_time_change_nothing(headers):
    clock = SourceClock(Seconds())
    clock.read({'Date': DATE})

    clock.read(headers)

    assert clock.now() == TOLD
