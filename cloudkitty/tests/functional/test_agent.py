"""The command cloudkitty-agent: libvirt, a real RabbitMQ, and the intake on its other side."""

import contextlib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import prometheus_client
import pytest
import sqlalchemy as sa

from cloudkitty.core.metering import facts, quantities
from cloudkitty.db import usage_tables
from cloudkitty.processor.intake import service
from cloudkitty.tests import ini, services
from cloudkitty.tests.functional.test_intake import QUEUES
from cloudkitty.tests.rabbitmq import registered
from cloudkitty.usage import census_rows, pieces, reading

pytestmark = pytest.mark.xdist_group('rabbitmq')

NODE = Path(__file__).parents[1] / 'fixtures' / 'libvirt' / 'node.xml'
PROJECT = '00000000-0000-4000-8000-0000000000bb'
SECRET = 'a secret of the tests'
COMMAND = [sys.executable, '-c', 'from cloudkitty.cli import agent; agent.main()']
SOON_S = 60
SERIES, SAMPLES = usage_tables.series, usage_tables.samples


class Agent(services.Daemon):
    """The agent of a node, each second."""

    program = 'cloudkitty-agent'

    def __init__(self, folder, broker):
        super().__init__(folder)
        self._path = ini.write(
            folder / 'agent.conf',
            {
                'DEFAULT': {'transport_url': broker.url, 'host': 'node-1'},
                'metering': {'secrets': SECRET},
                'agent': {'interval': 1, 'spool_folder': folder / 'spool'},
                'pollster_libvirt': {'uri': f'test://{NODE}'},
            },
        )

    def command(self):
        return [*COMMAND, '--config-file', str(self._path), '--namespace', 'compute']

    def is_ready(self):
        return True

    def kill(self):
        self._end(self.kill_signal)

    @property
    def log(self):
        return self.log_path.read_text()


class World:
    """A database, and an intake that reads the bus."""

    def __init__(self, conf, database):
        self.conf, self.database = conf, database

    @contextlib.contextmanager
    def intake(self):
        registry = prometheus_client.CollectorRegistry()
        with service.running(self.conf, self.database, registry, lambda: datetime.now(UTC)):
            yield

    def samples(self, meter='cpu'):
        """Return (time, quantity) of the stored values of a meter, oldest first."""
        with self.database.reader() as connection:
            rows = connection.execute(
                sa.select(SAMPLES.c.at, SAMPLES.c.quantity)
                .join(SERIES, SERIES.c.id == SAMPLES.c.series_id)
                .where(SERIES.c.meter == meter)
                .order_by(SAMPLES.c.at)
            )
            return [tuple(row) for row in rows]

    def wait_for(self, count, what='cycles'):
        services.wait_until(
            lambda: len(self.samples()) >= count, deadline_s=SOON_S, what=f'{count} {what}'
        )

    def usage(self, meter, begin, end):
        """Return what the collector would say of a span of time."""
        grid = quantities.Grid(begin, end - begin, 1)
        query = pieces.Query(meter)
        with self.database.reader() as connection:
            found = reading.Reader().read(connection, query, grid, reading.Grouping(), [PROJECT])
            return {
                one.resource_id: dict(zip(one.offsets, one.quantities, strict=True))
                for one in found
            }


@pytest.fixture
def world(conf, database, broker):
    registered(conf)
    conf.set_override('transport_url', broker.url)
    conf.set_override('secrets', [SECRET], 'metering')
    # Tests before leave messages with another secret.
    broker.remove(*QUEUES)
    return World(conf, database)


def test_every_cycle_is_stored_while_broker_and_agent_come_and_go(world, broker, tmp_path):
    """The broker is killed, and so is the agent meanwhile: what was measured is not lost.

    The counters add up to the last minus the first, exactly.
    """
    agent = Agent(tmp_path, broker)
    with agent, world.intake():
        world.wait_for(2)
        broker.kill()
        services.wait_until(
            lambda: len(list((tmp_path / 'spool').rglob('*.spool'))) == 1,
            deadline_s=SOON_S,
            what='messages in the spool',
        )
        agent.kill()
        agent.start()
        services.wait_until(
            lambda: agent.log.count('kept in the spool') == 2, deadline_s=SOON_S, what='more'
        )
        broker.start()
        services.wait_until(
            lambda: 'All that waited in the spool is sent' in agent.log,
            deadline_s=2 * SOON_S,
            what='an empty spool',
        )
        known = len(world.samples())
        world.wait_for(known + 2)

    found = world.samples()
    assert list((tmp_path / 'spool').rglob('*.spool')) == []
    begin, end = found[0][0], found[-1][0] + 1
    ((used,),) = [tuple(one.values()) for one in world.usage('cpu', begin, end).values()]
    assert used == found[-1][1] - found[0][1]
    (state,) = [one for one, _ in _census_rows(world) if one.subject == 'instance']
    assert (state.producer, state.state, state.listed) == ('compute@node-1', 'partial', 1)
    with world.database.reader() as connection:
        assert not connection.execute(sa.select(usage_tables.rejects)).all()
        until = dict(
            connection.execute(
                sa.select(usage_tables.producers.c.meter, usage_tables.producers.c.until).where(
                    usage_tables.producers.c.source == 'compute@node-1'
                )
            ).all()
        )
    assert abs(until['cpu'] - found[-1][0]) < 60 * facts.SECOND_US


def _census_rows(world):
    with world.database.reader() as connection:
        return census_rows.read(connection)


@pytest.mark.parametrize(
    'section, values, reason',
    [
        ('metering', {'secrets': ''}, '[metering]secrets'),
        ('DEFAULT', {}, '[DEFAULT]transport_url is missing'),
        ('agent', {'disabled': 'cpu, unknown'}, "no pollster 'unknown'"),
        ('agent', {'hypervisor': 'vmware'}, 'no pollster of the namespace compute is enabled here'),
        ('pollster_libvirt', {'uri': 'test:///nowhere'}, 'no pollster of the namespace compute'),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, section, values, reason):
    """And ends the start."""
    told = {
        'DEFAULT': {'transport_url': 'rabbit://127.0.0.1:1/'},
        'metering': {'secrets': SECRET},
        'agent': {'spool_folder': tmp_path},
        'pollster_libvirt': {'uri': f'test://{NODE}'},
    }
    told[section] = {**told[section], **values} if values else {}
    path = ini.write(tmp_path / 'agent.conf', told)
    ended = subprocess.run(
        [*COMMAND, '--config-file', str(path), '--namespace', 'compute'],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert reason in ended.stderr.splitlines()[-1]
