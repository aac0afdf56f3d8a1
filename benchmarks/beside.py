"""Ceilometer's agents and ours on the same instances for some minutes, into one RabbitMQ.

python -m benchmarks.beside [--minutes N]

Every instance is billed once: in each period and for each meter the quantity is that of the
preferred source alone. All that Ceilometer sent is stored and verifies, and with one character
changed nothing does.
"""

import contextlib
import itertools
import json
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
from oslo_config import cfg

from benchmarks import minutes
from cloudkitty import conf as configuration
from cloudkitty import db
from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.core import timeframe
from cloudkitty.core.metering import message, signature
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration, usage_tables
from cloudkitty.tests import ceilometer, rabbitmq, samples, services, usage
from cloudkitty.tests.functional.test_agent import NODE, PROJECT, SECRET, Agent
from cloudkitty.tests.functional.test_intake import Cloud
from cloudkitty.tests.functional.test_real_ceilometer import OURS, THEIRS
from cloudkitty.usage import messages, verify

PERIOD_S = 30
INTERVAL_S = 5
OWN, OTHER = 'cloudkitty', 'openstack'
START_S = 120
Cells = dict[tuple[str, str, datetime], Decimal]


def measure(folder: Path, duration_s: float) -> dict[str, float]:
    """Return the figures; AssertionError tells what is not so."""
    conf = rabbitmq.registered(configuration.load([], files=[], conf=cfg.ConfigOpts()))
    conf.set_override('connection', f'sqlite:///{folder}/usage.sqlite', 'database')
    conf.set_override('secrets', [SECRET, samples.SECRET], 'metering')
    conf.set_override('topics', [], 'listener')
    database = db.Database(conf)
    migration.upgrade(database)
    begin = datetime.now(UTC)
    with rabbitmq.RabbitMQ(folder / 'mq') as broker:
        conf.set_override('transport_url', broker.url)
        cloud = Cloud(conf, database, broker, OURS, lambda: datetime.now(UTC))
        with cloud.running(), contextlib.ExitStack() as agents:
            _run(folder, cloud, agents, duration_s)
            agents.close()
            cloud.wait_until_all_is_read()
    assert cloud.rejects() == []
    assert list(verify.check(database, frozenset(conf.metering.attributes_ignored))) == []
    return {**_compare(conf, database, begin), **_verify(database)}


def _run(folder: Path, cloud: Cloud, agents: contextlib.ExitStack, seconds: float) -> None:
    """Start all agents, and let them run so long together."""
    url = cloud.broker.url
    agents.enter_context(
        ceilometer.NotificationAgent(
            folder / 'ceilometer', transport_url=url, secret=samples.SECRET
        )
    )
    services.wait_until(
        lambda: cloud.broker.is_read(THEIRS[1]), deadline_s=START_S, what='its listener'
    )
    agents.enter_context(
        ceilometer.PollingAgent(
            folder / 'polling',
            transport_url=url,
            secret=samples.SECRET,
            node=NODE,
            interval_s=INTERVAL_S,
        )
    )
    (folder / 'own').mkdir()
    agents.enter_context(Agent(folder / 'own', cloud.broker))
    for source in (OWN, OTHER):
        services.wait_until(
            lambda source=source: source in {one for (one,) in cloud.rows('series', 'source')},
            deadline_s=START_S,
            what=f'samples of {source}',
        )
    time.sleep(seconds)


def _compare(conf: cfg.ConfigOpts, database: db.Database, begin: datetime) -> dict[str, float]:
    """Compare the quantities of both sources together with those of each alone."""
    end = datetime.now(UTC)
    first = timeframe.period_at(begin, PERIOD_S).begin
    count = int((end - first).total_seconds()) // PERIOD_S + 1
    length = timedelta(seconds=PERIOD_S)
    periods = [Period(first + length * n, first + length * (n + 1)) for n in range(count)]
    with database.reader() as connection:
        series = usage_tables.series
        found = connection.execute(sa.select(series.c.meter, series.c.source).distinct()).all()
    meters = sorted({name for name, source in found if source == OTHER})
    conf.register_opts(MeteringCollector.OPTS, MeteringCollector.GROUP)
    shared = 0
    deviation = 0.0
    for preferred, other in itertools.permutations((OWN, OTHER)):
        conf.set_override('sources', [preferred, other], MeteringCollector.GROUP)
        both = _cells(conf, meters, periods)
        alone = _cells(conf, meters, periods, preferred)
        beside = _cells(conf, meters, periods, other)
        assert both == {**beside, **alone}, sorted(both.items() ^ {**beside, **alone}.items())[:5]
        common = alone.keys() & beside.keys()
        shared = len(common)
        deviation = _deviation(alone, beside, periods[1:-1])
    assert shared, 'they measured nothing in common'
    return {
        'meters of Ceilometer': len(meters),
        'cells of both': shared,
        'median of their deviation, %': deviation * 100,
    }


def _cells(
    conf: cfg.ConfigOpts, meters: Sequence[str], periods: Sequence[Period], source: str = ''
) -> Cells:
    """Return quantities by meter, resource and begin of the period."""
    extra = {'extra_args': {'source': source}} if source else {}
    driver = MeteringCollector(
        period=PERIOD_S,
        service_conf=conf,
        conf={'metrics': {name: {'unit': 'u', **extra} for name in meters}},
    )
    return {
        (name, point.groupby['id'], period.begin): point.qty
        for name in meters
        for _, period, points in driver.collect(name, periods, [PROJECT])
        for point in points
    }


def _deviation(alone: Cells, beside: Cells, periods: Sequence[Period]) -> float:
    """Return the median of how far the one is from the other in the *periods*."""
    begins = {period.begin for period in periods}
    found = sorted(
        abs(float((alone[key] - beside[key]) / alone[key]))
        for key in alone.keys() & beside.keys()
        if key[2] in begins and alone[key]
    )
    return found[len(found) // 2] if found else 0.0


def _verify(database: db.Database) -> dict[str, float]:
    """Return how many messages verify, and how many still do with a character changed."""
    ids = [batch_id for (batch_id,) in usage.rows(database, usage_tables.batches, 'id')]
    with database.reader() as connection:
        texts = [text for one in ids for text in messages.read(connection, one).texts]
    choose = random.Random(1)
    verified = changed = forged = 0
    for text in texts:
        form = json.loads(text)
        verified += signature.verify(form, [SECRET, samples.SECRET]) is not None
        other = _with_another_character(choose, text)
        if other is not None and other != form:
            changed += 1
            forged += signature.verify(other, [SECRET, samples.SECRET]) is not None
    assert verified == len(texts)
    assert forged == 0
    return {
        'messages stored': len(texts),
        'of these verified': verified,
        'with a changed character': changed,
        'of these verified still': forged,
    }


def _with_another_character(choose: random.Random, text: str) -> dict | None:
    """Return the message with one character changed; None: it is none any more."""
    place = choose.randrange(len(text))
    changed = text[:place] + choose.choice('0123456789abcdefXYZ ') + text[place + 1 :]
    try:
        form = json.loads(changed)
        message.check(form)
    # No JSON, or refused for its form.
    except Exception:
        return None
    return form


if __name__ == '__main__':
    minutes.main('beside', measure)
