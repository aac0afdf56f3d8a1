"""From what services list to lives: the central agent, with the intake behind it."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty.agent import manager, spool
from cloudkitty.agent.pool import Pool
from cloudkitty.agent.sender import Sender
from cloudkitty.core.metering import facts
from cloudkitty.db import usage_tables
from cloudkitty.tests import fake_openstack as fakes
from cloudkitty.tests.drivers import test_central_pollsters as central
from cloudkitty.tests.fake_openstack import ALPHA, BETA
from cloudkitty.usage import census_rows
from cloudkitty.usage.receiving import BUS, Received, Receiver

pytestmark = pytest.mark.xdist_group('keystone')
cloud, load = central.cloud, central.load

NOW = datetime(2024, 11, 30, tzinfo=UTC)
INTERVAL = timedelta(minutes=10)
CREATED = datetime(2024, 11, 29, 12, 42, 6, 598868, UTC)
SECRET = 'a secret of the tests'


@dataclasses.dataclass
class World:
    """Agents that measure a cloud, and an intake that takes what they send."""

    database: object
    receiver: Receiver
    folder: object
    now: datetime = NOW

    def now_us(self):
        return facts.to_us(self.now)

    def agent(self, pollsters):
        """Return what measures with some pollsters and brings that to the intake."""
        self.folder = self.folder / 'next'
        return manager.Manager(
            list(pollsters.items()),
            pool=Pool(2, 60, self.now_us),
            sender=Sender(self.take, spool.Spool(self.folder, 2**20)),
            identity=manager.Identity('central', SECRET),
            interval_s=600,
            now=self.now_us,
        )

    def take(self, messages):
        outcome = self.receiver.store([Received(one, 'agent') for one in messages], BUS)
        assert outcome.rejected == {}

    def cycle(self, agent):
        """Measure an interval later; return when."""
        self.now += INTERVAL
        agent.cycle(lambda: False)
        return self.now

    def lives(self, meter):
        """Return begin, end and evidence by resource, of the meter's last lives."""
        series, lives = usage_tables.series, usage_tables.lives
        with self.database.reader() as connection:
            rows = connection.execute(
                sa.select(series.c.resource_id, lives.c.begin, lives.c.end, lives.c.evidence)
                .join(lives, lives.c.series_id == series.c.id)
                .where(series.c.meter == meter)
                .order_by(lives.c.begin)
            )
            return {
                name: (facts.from_us(begin), end and facts.from_us(end), evidence)
                for name, begin, end, evidence in rows
            }

    def states(self):
        """Return the state of the newest lists by subject."""
        with self.database.reader() as connection:
            return {one.subject: one.state for one, _ in census_rows.read(connection)}


@pytest.fixture
def world(conf, database, tmp_path):
    conf.set_override('secrets', [SECRET], 'metering')
    made = World(database, None, tmp_path)
    made.receiver = Receiver(conf, database, lambda: made.now)
    return made


def chosen(load, *names, **account):
    found = load(**account)
    return {name: found[name] for name in names}


def test_what_nobody_told_heals(world, cloud, load):
    """A begin at created_at, an end at the last sight, and at Nova at the second of it."""
    cloud.things['volumes'] = [fakes.volume(1), fakes.volume(2, BETA)]
    cloud.things['servers'] = [fakes.server(3), fakes.server(4, BETA)]
    agent = world.agent(chosen(load, 'volume.size', 'instance'))
    seen = world.cycle(agent)
    assert world.lives('volume.size')['volume-1'] == (CREATED, None, 'healed')

    ended = seen + timedelta(minutes=3)
    del cloud.things['volumes'][0]
    cloud.things['servers'][0] |= {
        'status': 'DELETED',
        'OS-SRV-USG:terminated_at': ended.replace(tzinfo=None).isoformat(),
    }
    world.cycle(agent)
    assert world.lives('volume.size') == {
        'volume-1': (CREATED, seen, 'presumed'),
        'volume-2': (CREATED, None, 'healed'),
    }
    for meter in ('instance', 'memory', 'disk.root.size'):
        _, end, evidence = world.lives(meter)['server-3']
        assert (end, evidence) == (ended, 'healed')
        assert world.lives(meter)['server-4'][1] is None
    assert world.states() == {'volume.size': 'taken', 'instance': 'taken'}


def test_an_account_cut_to_one_project_ends_nothing(world, cloud, load, keystone):
    """Neither in the next cycle nor in any other."""
    own = keystone.project_id('alpha')
    cloud.things['volumes'] = [fakes.volume(1, own), fakes.volume(2, BETA)]
    cloud.things['floatingips'] = [fakes.floating_ip(3, own), fakes.floating_ip(4, BETA)]
    names = ('volume.size', 'ip.floating')
    world.cycle(world.agent(chosen(load, *names)))
    lesser = world.agent(chosen(load, *names, user='alice', project='alpha'))
    for _ in range(3):
        world.cycle(lesser)

    for meter in names:
        assert [end for _, end, _ in world.lives(meter).values()] == [None, None]
    assert set(world.states().values()) == {'partial'}


def test_thirty_percent_missing_is_held(world, cloud, load):
    """A person looks first."""
    cloud.things['volumes'] = [fakes.volume(number, ALPHA) for number in range(100)]
    agent = world.agent(chosen(load, 'volume.size'))
    world.cycle(agent)
    del cloud.things['volumes'][:30]
    world.cycle(agent)
    assert world.states() == {'volume.size': 'held'}
    assert {end for _, end, _ in world.lives('volume.size').values()} == {None}


def test_a_service_that_fails_ends_nothing(world, cloud, load):
    """In the middle of its pages, for instance."""
    cloud.things['volumes'] = [fakes.volume(1), fakes.volume(2), fakes.volume(3)]
    agent = world.agent(chosen(load, 'volume.size'))
    world.cycle(agent)
    del cloud.things['volumes'][0]
    # Its size cannot be read.
    cloud.things['volumes'][0] |= {'size': None}
    world.cycle(agent)
    assert {end for _, end, _ in world.lives('volume.size').values()} == {None}
    assert world.states() == {'volume.size': 'partial'}
