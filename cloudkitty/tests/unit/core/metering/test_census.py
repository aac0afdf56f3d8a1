"""What a list of resources says of those that are missing in it."""

from decimal import Decimal

import pytest

from cloudkitty.core.metering import census, facts

BEGIN = 10_000 * facts.SECOND_US
OLD = BEGIN - 600 * facts.SECOND_US


def judged(listed, known, *, is_complete=True, **options):
    listing = census.Listing(BEGIN, BEGIN + facts.SECOND_US, frozenset(listed), is_complete)
    return census.judge(listing, dict.fromkeys(known, OLD), **options)


def test_who_is_missing_ended_when_last_seen():
    """And who is new is seen."""
    verdict = judged('abc', 'bcd')

    assert verdict == census.Verdict(frozenset('a'), {'d': OLD})


def test_a_partial_list_ends_nothing():
    """Absence is evidence only in a complete list."""
    assert judged('a', 'abcd', is_complete=False) == census.Verdict(frozenset(), {})


def test_who_was_just_spoken_of_stays():
    """The list may have been made a moment before."""
    listing = census.Listing(BEGIN, BEGIN, frozenset(), True)
    last = BEGIN - census.SETTLE_US

    assert census.judge(listing, {'a': last}).ended == {}
    assert census.judge(listing, {'a': last - 1}).ended == {'a': last - 1}


@pytest.mark.parametrize(
    'known, missing, is_held',
    [(100, 20, False), (100, 21, True), (1000, 50, False), (1000, 51, True)],
)
def test_too_many_ends_are_held(known, missing, is_held):
    """Until a person agrees."""
    names = [str(number) for number in range(known)]

    verdict = judged(names[missing:], names)
    assert verdict.is_held == is_held
    assert len(verdict.ended) == (0 if is_held else missing)
    agreed = judged(names[missing:], names, is_accepted=True)
    assert (len(agreed.ended), agreed.is_held) == (missing, False)


def test_the_limits_are_arguments():
    """An operator may be stricter."""
    assert judged('', 'ab', end_max=1, end_share_max=Decimal(0)).is_held
