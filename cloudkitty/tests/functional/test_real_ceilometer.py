"""A real Ceilometer: what it sends is believed, stored once, and ends what was deleted."""

import contextlib
import json
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from wsgiref import simple_server

import bcrypt
import pytest
import webob

from cloudkitty.api import basic_auth
from cloudkitty.core.metering import facts, message, signature
from cloudkitty.core.metering.message import Counter
from cloudkitty.db import usage_tables
from cloudkitty.tests import samples, services, usage
from cloudkitty.tests.ceilometer import NotificationAgent, verified
from cloudkitty.tests.functional.api import world
from cloudkitty.tests.functional.test_intake import Cloud, envelope
from cloudkitty.tests.rabbitmq import registered
from cloudkitty.usage import messages, verify
from cloudkitty.usage.receiving import PASSWORD, Received, Receiver

pytestmark = pytest.mark.xdist_group('rabbitmq')

# Nobody but Ceilometer reads these here.
THEIRS = ('notifications.info', 'notifications.sample')
OURS = ('metering.sample', 'event.sample')
# The agent takes long to start, and longer on a busy machine.
SLOW_S = 90


@pytest.fixture
def cloud(conf, database, broker):
    registered(conf)
    conf.set_override('transport_url', broker.url)
    conf.set_override('secrets', [samples.SECRET], 'metering')
    conf.set_override('topics', [], 'listener')
    broker.remove(*THEIRS, *OURS)
    return Cloud(conf, database, broker, OURS, lambda: datetime.now(UTC))


def moved(name, by):
    """Return recorded notifications as if they had been sent later, without their ids."""
    for one in samples.read(name):
        sent = datetime.fromisoformat(one['timestamp']) + by
        yield envelope(
            **{key: value for key, value in one.items() if key != '_unique_id'}
            | {'timestamp': sent.isoformat(' ')}
        )


@contextlib.contextmanager
def served(made, conf, users):
    """Serve an API that takes what publishers push with a password; yield where."""
    hashed = bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()
    users.write_text(f'ceilometer:{hashed}\n')
    conf.set_override('http_users_file', str(users), 'metering')
    refuse = webob.Response(status=401)
    application = basic_auth.BasicAuth(made.behind_a_proxy({}), refuse, conf)
    server = simple_server.make_server('127.0.0.1', 0, application)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f'http://ceilometer:right@127.0.0.1:{server.server_port}/v2/samples?max_retries=3'
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def told(database):
    """Return the samples that do not come from events."""
    return {
        (row.series, row.key[1:], row.quantity, row.attributes)
        for page in verify.sample_pages(database)
        for row in page
        if row.series.source != 'ceilometer'
    }


def resend(made, cloud):
    """Store what came over HTTP where the same came over the bus; return what became of it."""
    ids = [batch_id for (batch_id,) in usage.rows(made.database, usage_tables.batches, 'id')]
    with made.database.reader() as connection:
        texts = [text for one in ids for text in messages.read(connection, one).texts]
    receiver = Receiver(cloud.conf, cloud.database, cloud.clock)
    return receiver.store([Received(json.loads(text), 'x', PASSWORD) for text in texts], 'api')


def test_its_samples_and_events_are_stored_once_and_verify_later(
    cloud, broker, tmp_path, sqlite_template
):
    """Over the bus, where they are signed, and over HTTP, where a password vouches."""
    (tmp_path / 'beside').mkdir()
    with (
        world.opened(tmp_path / 'beside', sqlite_template) as made,
        served(made, cloud.conf, tmp_path / 'users') as url,
    ):
        _play(cloud, broker, tmp_path, url)
        cloud.wait(lambda: told(made.database) == told(cloud.database), 'the same over HTTP')
        trusts = {trust for (trust,) in usage.rows(made.database, usage_tables.batches, 'trust')}
        again = resend(made, cloud)

    assert trusts == {PASSWORD}
    assert again.duplicates > 0
    assert (again.accepted, again.rejected) == (0, {})


def _play(cloud, broker, tmp_path, url):
    agent = NotificationAgent(
        tmp_path / 'ceilometer',
        transport_url=broker.url,
        secret=samples.SECRET,
        publishers=(url,),
    )
    recorded = datetime(2026, 11, 29, 12, 42, 7)
    by = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=5) - recorded
    with cloud.running(), agent:
        # Its queue is bound to all exchanges before it is read; who comes sooner speaks to nobody.
        services.wait_until(
            lambda: broker.is_read(THEIRS[0]), deadline_s=SLOW_S, what='its listener'
        )
        for _ in range(2):
            cloud.publish('cinder', 'notifications.info', *moved('cinder-notifications', by))
        for is_done, what in (
            (lambda: cloud.counted('duplicate') >= 5, 'what was sent twice'),
            # Samples do not say that the volume is gone: its events do, and take their own way.
            (lambda: [end is None for (end,) in cloud.rows('lives', 'end')] == [False] * 2, 'ends'),
        ):
            services.wait_until(is_done, deadline_s=SLOW_S, what=what)
        cloud.wait_until_all_is_read()

    meters = {meter for (meter,) in cloud.rows('series', 'meter')}
    assert {'volume.size', 'snapshot.size'} <= meters
    assert cloud.rejects() == []
    sizes = [quantity for (quantity,) in cloud.rows('lives', 'quantity')]
    assert sorted(sizes) == [Decimal(3), Decimal(5)]
    assert list(verify.check(cloud.database, frozenset())) == []
    trusts = {trust for (trust,) in cloud.rows('batches', 'trust')}
    assert signature.key_name(samples.SECRET) in trusts


def test_our_messages_verify_with_its_own_function():
    made = [
        message.build(
            Counter(
                'cpu',
                kind,
                'ns',
                volume,
                'p1',
                None,
                'r1',
                facts.to_us(datetime(2026, 11, 29, tzinfo=UTC)),
                {'text': 'ümlaut', 'number': 1.5, 'flag': True, 'nested': {'a': 1}, 'list': ['a']},
                life=life,
            ),
            samples.SECRET,
        )
        for kind, volume, life in (
            (facts.CUMULATIVE, Decimal('1.5'), None),
            (facts.DELTA, Decimal(2**70), None),
            (facts.STATE, Decimal('0.1'), 'begin'),
            (facts.GAUGE, Decimal('0.12345678901234567890123'), None),
        )
    ]
    changed = [{**one, 'project_id': 'p2'} for one in made]

    said = verified(json.dumps(made + changed), samples.SECRET).split()

    assert said == ['True'] * len(made) + ['False'] * len(changed)
