"""An agent while the message bus is away: nothing it measures is lost, and the hole shows.

python -m benchmarks.outage [--minutes N]

The agent measures libvirt's test driver each second. After some cycles the broker is killed, and
comes back after the minutes. Meanwhile the source says nothing, so periods wait; afterwards every
cycle is stored, and the counters add up to the last value minus the first, exactly.
"""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from oslo_config import cfg

from benchmarks import minutes
from cloudkitty import conf as configuration
from cloudkitty import db
from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.core.metering import facts
from cloudkitty.db import migration
from cloudkitty.tests import rabbitmq, services
from cloudkitty.tests.functional.test_agent import SECRET, Agent, World
from cloudkitty.usage import rejects

CYCLES = 10
RECONNECT_MAX_S = 30
SENT_S = 300
METERS = ('cpu', 'network.incoming.bytes', 'network.outgoing.bytes')


def measure(folder: Path, away_s: float) -> dict[str, float]:
    """Return the figures; AssertionError tells what is not so."""
    conf = rabbitmq.registered(configuration.load([], files=[], conf=cfg.ConfigOpts()))
    conf.set_override('connection', f'sqlite:///{folder}/usage.sqlite', 'database')
    conf.set_override('secrets', [SECRET], 'metering')
    database = db.Database(conf)
    migration.upgrade(database)
    with rabbitmq.RabbitMQ(folder / 'mq') as broker:
        conf.set_override('transport_url', broker.url)
        world = World(conf, database)
        agent = Agent(folder, broker)
        with agent, world.intake():
            world.wait_for(CYCLES)
            broker.kill()
            killed = datetime.now(UTC)
            time.sleep(away_s)
            hole = datetime.now(UTC) - _newest(conf)
            assert hole > datetime.now(UTC) - killed, 'periods do not wait'
            known = len(world.samples())
            broker.start()
            back = time.monotonic()
            services.wait_until(
                lambda: len(world.samples()) > known, deadline_s=SENT_S, what='a first message'
            )
            reconnected_s = time.monotonic() - back
            services.wait_until(
                lambda: 'All that waited in the spool is sent' in agent.log,
                deadline_s=SENT_S,
                what='an empty spool',
            )
            sent_s = time.monotonic() - back
            # They are read in order: with a later one, all that waited are stored.
            sent = facts.to_us(datetime.now(UTC))
            services.wait_until(
                lambda: world.samples()[-1][0] > sent, deadline_s=SENT_S, what='what was sent'
            )
        figures = _check(world, agent)
    assert reconnected_s <= RECONNECT_MAX_S, reconnected_s
    return {
        'seconds without a broker': away_s,
        'seconds that the source was behind at its end': hole.total_seconds(),
        'seconds until the listener had a message': reconnected_s,
        'seconds until all that waited was sent': sent_s,
        **figures,
    }


def _newest(conf: cfg.ConfigOpts) -> datetime:
    """Return up to when the collector takes the meter for complete."""
    driver = MeteringCollector(
        period=60, service_conf=conf, conf={'metrics': {'cpu': {'unit': 'ns'}}}
    )
    now = datetime.now(UTC)
    return driver.newest(['cpu'], since=now - timedelta(days=1), now=now)['cpu']


def _check(world: World, agent: Agent) -> dict[str, float]:
    """Compare what is stored with the cycles that there were, and with the counters."""
    found = world.samples()
    seconds = (found[-1][0] - found[0][0]) / facts.SECOND_US
    # On a busy machine a cycle may take longer than a second.
    skipped = sum(map(int, re.findall(r'(\d+) cycles were skipped', agent.log)))
    missing = round(seconds) + 1 - len(found) - skipped
    assert missing <= 0, f'{missing} cycles of {seconds:.0f} s are missing'
    for meter in METERS:
        rows = world.samples(meter)
        begin, end = rows[0][0], rows[-1][0] + 1
        ((used,),) = [tuple(one.values()) for one in world.usage(meter, begin, end).values()]
        assert used == rows[-1][1] - rows[0][1], meter
    with world.database.reader() as connection:
        assert list(rejects.read(connection)) == []
    return {'cycles stored': len(found), 'cycles that the agent skipped': skipped}


if __name__ == '__main__':
    minutes.main('outage', measure)
