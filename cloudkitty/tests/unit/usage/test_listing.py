"""Pages of what is stored, on each database."""

import pytest

from cloudkitty import errors
from cloudkitty.core.metering import facts
from cloudkitty.tests import usage
from cloudkitty.tests.usage import ORIGIN, entry, fact, life, us
from cloudkitty.usage import listing, messages, meter_list
from cloudkitty.usage.listing import Selection
from cloudkitty.usage.samples import Key


@pytest.fixture
def stored(any_database):
    """A life and two amounts of one instant, whose tags differ in sign."""
    attributes = facts.Attributes(name='ä')
    stated = [
        *life(us(10), us(11), '2', attributes=attributes),
        *life(us(12), None, '3'),
        fact(us(12), tag=-7, attributes=attributes),
        fact(us(12), tag=7),
    ]
    usage.intake(any_database).store([entry(one) for one in stated], ORIGIN)
    return any_database


def test_pages_of_samples_hold_each_once(stored):
    """Behind any marker, in the order of the key."""
    with stored.reader() as connection:
        whole = listing.samples(connection, Selection(), limit=10)
        keys = [one.key for one in whole]
        assert keys == sorted(keys)
        for number, key in enumerate(keys):
            rest = listing.samples(connection, Selection(), after=key, limit=10)
            assert rest == whole[number + 1 :]
            assert listing.parse_sample_id(listing.sample_id(key)) == key
            assert listing.sample(connection, key, Selection()) == whole[number]
            assert listing.sample(connection, key, Selection(['p2'])) is None
            location = whole[number].location
            batch = messages.read(connection, location.batch_id)
            assert (batch.texts[location.position], batch.is_intact) == ('{"a": 1.50}', True)
    assert len(whole) == 5


def test_pages_of_lives(stored):
    """Those that touch the time, in the order of their begin."""
    with stored.reader() as connection:
        first, second = listing.lives(connection, Selection(), limit=10)
        assert (first.begin, first.end, second.end) == (us(10), us(11), None)
        assert first.attributes == {'name': 'ä'}
        after = (first.series_id, first.begin)
        assert listing.lives(connection, Selection(), after=after, limit=10) == [second]
        early = Selection(begin=us(10.5), end=us(12))
        assert listing.lives(connection, early, limit=10) == [first]


def test_meters(stored):
    """By name and kind, with the newest fact that counts."""
    with stored.reader() as connection:
        total, found = meter_list.meters(connection, Selection(['p1']), offset=0, limit=10)
        assert meter_list.scopes_of_meter(connection, 'volume.size', 5) == ['p1']
        none = meter_list.meters(connection, Selection(['p2']), offset=0, limit=10)

    assert (total, [(one.kind, one.resources, one.newest) for one in found]) == (
        2,
        [('delta', 1, us(12)), ('state', 1, us(12))],
    )
    assert none == (0, [])


@pytest.mark.parametrize(
    'text', ['', '1-2-3', '1-2-3-x', '1-2-3-4-5', '1-2-3-' + '9' * 20, '١-1-1-1']
)
def test_ids_of_nothing(text):
    """Are not found, whatever they are."""
    with pytest.raises(errors.NotFound):
        listing.parse_sample_id(text)


def test_the_id_of_a_negative_tag():
    """A minus divides the parts."""
    assert listing.parse_sample_id(listing.sample_id(Key(1, 2, 0, -5))) == Key(1, 2, 0, -5)
