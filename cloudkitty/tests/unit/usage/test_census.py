"""Lists of resources end what is missing in them, and nothing else, on every database."""

import random
from datetime import timedelta
from decimal import Decimal

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

from cloudkitty import errors
from cloudkitty.core.metering import facts, message, reports
from cloudkitty.db import usage_tables
from cloudkitty.tests import usage
from cloudkitty.tests.usage import HOUR_US, NOW, us
from cloudkitty.usage import census, census_rows

PART = reports.Part('central', 'volumes', ('volume.size',), 0, 0, True, True, 1, 1, ())
MINUTE_US = HOUR_US // 60
BORN = us(9)


class Cloud:
    """Volumes v1, v2 … of which the service is told.

    :ivar now: aware UTC; lists are made then.
    """

    def __init__(self, database, **limits):
        self.database = database
        self.now = NOW
        self.intake = usage.Intake(database, usage.LIMITS, lambda: self.now)
        self.censuses = census.Censuses(
            database,
            self.intake,
            limits=census.Limits(**limits),
            oldest=usage.LIMITS.oldest,
            clock=lambda: self.now,
        )

    def born(self, *names, at=BORN, **more):
        stated = [
            fact
            for name in names
            for fact in usage.life(at, None, '3', source='cloudkitty', resource_id=name, **more)
        ]
        self.intake.store([usage.entry(one) for one in stated], usage.ORIGIN)

    def list(self, *names, order=lambda counters: counters, **more):
        """Take a list of volumes that is made now."""
        at = facts.to_us(self.now)
        part = PART._replace(begin=at, end=at + 1, **more)
        for counter in order(list(reports.census(part, names))):
            form = message.check(message.build(counter))
            self.censuses.check(form, is_agent=True)
            self.censuses.take(form)

    def lives(self):
        """Return (begin, end, evidence) of the lives by volume."""
        table, lives = usage_tables.series, usage_tables.lives
        with self.database.reader() as connection:
            rows = connection.execute(
                sa.select(table.c.resource_id, lives.c.begin, lives.c.end, lives.c.evidence)
                .join(lives, lives.c.series_id == table.c.id)
                .order_by(lives.c.begin)
            )
            found = {}
            for name, *life in rows:
                found.setdefault(name, []).append(tuple(life))
            return found

    def known(self):
        """Return (state, listed, missing) of the newest list."""
        with self.database.reader() as connection:
            ((one, missing),) = census_rows.read(connection)
        return one.state, one.listed, missing


@pytest.fixture
def cloud(any_database):
    return Cloud(any_database)


def test_who_is_missing_ended_at_the_last_sight(cloud):
    """That is the list before; the first list has only what was said."""
    cloud.born('a', 'b', 'c')
    cloud.list('a', 'b', 'c')
    seen = facts.to_us(cloud.now)
    cloud.now += timedelta(minutes=10)
    cloud.list('a', 'c')

    assert cloud.lives() == {
        'a': [(us(9), None, 'said')],
        'b': [(us(9), seen, 'presumed')],
        'c': [(us(9), None, 'said')],
    }
    assert cloud.known() == ('taken', 2, 0)


def test_a_later_word_takes_the_end_back(cloud):
    """With its quantity; a list that has it again is such a word."""
    cloud.born('a', 'b')
    cloud.list('a', 'b')
    cloud.now += timedelta(minutes=10)
    cloud.list('b')
    assert cloud.lives()['a'][-1][2] == 'presumed'
    cloud.now += timedelta(minutes=10)
    cloud.list('a', 'b')

    assert cloud.lives()['a'] == [(us(9), None, 'healed')]
    assert {row[2] for row in usage.lives(cloud.database)} == {Decimal(3)}


@pytest.mark.parametrize('more', [{'is_complete': False}, {'is_cloud': False}])
def test_a_partial_list_or_one_of_a_node_ends_nothing(cloud, more):
    """It still shows who is there."""
    cloud.born('a', 'b')
    cloud.list('a', 'b')
    cloud.now += timedelta(minutes=10)
    cloud.list('a', **more)
    assert cloud.lives()['b'] == [(us(9), None, 'said')]
    assert cloud.known()[0] == 'partial'

    cloud.now += timedelta(minutes=10)
    cloud.list('a')
    cloud.now += timedelta(minutes=10)
    cloud.list('a', 'b', **more)
    assert cloud.lives()['b'] == [(us(9), None, 'healed')]


def test_who_was_spoken_of_lately_stays(cloud):
    """A list may be made a moment before."""
    cloud.born('a', at=facts.to_us(cloud.now) - 2 * MINUTE_US)
    cloud.list()
    assert cloud.lives()['a'][-1][1] is None
    assert cloud.known() == ('taken', 0, 1)
    cloud.now += timedelta(minutes=1)
    cloud.list()
    # No list had it, so it ended as soon as it began.
    assert 'a' not in cloud.lives()


def test_too_many_ends_are_held_until_a_person_agrees(cloud):
    """30 % are missing; who comes back meanwhile is not ended, the others when last seen."""
    names = [f'v{number}' for number in range(100)]
    cloud.born(*names)
    cloud.list(*names)
    seen = facts.to_us(cloud.now)
    for missing in (30, 29):
        cloud.now += timedelta(minutes=10)
        cloud.list(*names[missing:])
        assert cloud.known() == ('held', 100 - missing, missing)
    assert all(lives == [(us(9), None, 'said')] for lives in cloud.lives().values())

    assert cloud.censuses.accept('central', 'volumes') == 29
    assert sorted(name for name, lives in cloud.lives().items() if lives[-1][1] == seen) == sorted(
        names[:29]
    )
    assert cloud.known() == ('taken', 71, 0)
    cloud.now += timedelta(minutes=10)
    cloud.list(*names[29:])
    assert cloud.known() == ('taken', 71, 0)


def test_nothing_ends_if_the_operator_says_so(any_database):
    """The list shows how many are missing, and a person may end them."""
    cloud = Cloud(any_database, is_presumed=False)
    cloud.born('a', 'b')
    cloud.list('a', 'b')
    seen = facts.to_us(cloud.now)
    cloud.now += timedelta(minutes=10)
    cloud.list('a')
    assert cloud.lives()['b'][-1][1] is None
    assert cloud.known() == ('taken', 1, 1)
    cloud.now += timedelta(minutes=10)
    cloud.list('a')
    cloud.censuses.accept('central', 'volumes')
    assert cloud.lives()['b'] == [(us(9), seen, 'presumed')]


def test_an_unknown_list_cannot_be_accepted(cloud):
    with pytest.raises(errors.NotFound, match='central has sent no list of volumes'):
        cloud.censuses.accept('central', 'volumes')


@pytest.mark.parametrize('seed', range(3))
def test_parts_come_in_any_order_and_more_than_once(cloud, seed):
    """The list counts once all of them are there, and once."""
    names = [f'v{number:04}' for number in range(2500)]
    cloud.born('v0001', 'v2400', 'gone')
    cloud.list(*names, 'gone')
    cloud.now += timedelta(minutes=10)
    shuffle = random.Random(seed)

    def order(counters):
        twice = counters * 2
        shuffle.shuffle(twice)
        return twice

    cloud.list(*names, order=order)
    assert sorted(name for name, lives in cloud.lives().items() if lives[-1][1]) == ['gone']
    assert cloud.known()[:2] == ('taken', 2500)


def test_an_older_list_that_comes_late_says_nothing(cloud):
    """A newer one has said more."""
    cloud.born('a')
    old = cloud.now
    cloud.now += timedelta(minutes=10)
    cloud.list('a')
    cloud.now = old
    cloud.list()
    assert cloud.lives()['a'][-1][1] is None


def test_one_that_is_missing_for_longer_than_usage_is_taken_ends_then(cloud):
    """Not earlier: what is older is refused."""
    cloud.born('a', at=facts.to_us(NOW - timedelta(days=30)))
    cloud.now += timedelta(days=20)
    cloud.list()
    ((begin, end, evidence),) = cloud.lives()['a']
    assert (facts.from_us(end), evidence) == (
        cloud.now - usage.LIMITS.late_max + timedelta(seconds=1),
        'presumed',
    )


def test_usage_of_others_is_not_ended(cloud):
    """What was pushed by its own source is not the cloud's to list."""
    stated = usage.life(us(9), None, source='else', resource_id='pushed')
    cloud.intake.store([usage.entry(one) for one in stated], usage.ORIGIN)
    cloud.list()
    cloud.now += timedelta(minutes=10)
    cloud.list()
    assert cloud.lives() == {'pushed': [(us(9), None, 'said')]}


# What happens in a minute: (volume, is made) or a list, which may be partial or lost on its way.
EVENTS = st.one_of(
    st.tuples(st.just('make'), st.integers(0, 5), st.booleans()),
    st.tuples(st.just('delete'), st.integers(0, 5), st.booleans()),
    st.tuples(st.just('list'), st.booleans(), st.booleans()),
)


class Truth:
    """What there is, and what has been; a cloud is told some of it.

    :ivar alive: name and begin of the volume of each number.
    :ivar ended: begin and end by name.
    """

    def __init__(self, cloud):
        self.cloud = cloud
        self.alive = {}
        self.ended = {}

    def make(self, number, is_told):
        at = facts.to_us(self.cloud.now)
        if number not in self.alive:
            self.alive[number] = f'v{at}', at
            # One that was lost is told by the agent with its next list.
            self.cloud.born(f'v{at}', at=at)

    def delete(self, number, is_told):
        if number not in self.alive:
            return
        at = facts.to_us(self.cloud.now)
        name, begin = self.alive.pop(number)
        self.ended[name] = begin, at
        if is_told:
            about = {'kind': facts.STATE, 'stage': facts.END, 'source': 'cloudkitty'}
            end = usage.fact(at, None, resource_id=name, **about)
            self.cloud.intake.store([usage.entry(end)], usage.ORIGIN)

    def list(self, is_complete, is_told):
        if is_told:
            names = [name for name, _ in self.alive.values()]
            self.cloud.list(*names, is_complete=bool(is_complete))


@hypothesis.settings(
    max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(events=st.lists(EVENTS, max_size=25))
def test_the_next_list_ends_what_is_gone_and_never_what_is_there(database, events):
    """Whatever notifications and lists are lost: no life is longer than the truth."""
    with database.writer() as connection:
        for table in (
            *(usage_tables.series, usage_tables.samples, usage_tables.lives),
            *(usage_tables.censuses, usage_tables.missing, usage_tables.late),
        ):
            connection.execute(sa.delete(table))
    cloud = Cloud(database, settle_us=0, end_max=100)
    truth = Truth(cloud)
    for kind, choice, is_told in [*events, ('list', True, True), ('list', True, True)]:
        cloud.now += timedelta(minutes=1)
        getattr(truth, kind)(choice, is_told)

    found = cloud.lives()
    for name, begin in truth.alive.values():
        assert [life[:2] for life in found[name]] == [(begin, None)]
    for name, (begin, end) in truth.ended.items():
        lives = found.get(name, [])
        assert len(lives) <= 1
        assert all(life[0] == begin and life[1] is not None and life[1] <= end for life in lives)
