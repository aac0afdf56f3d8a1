"""Webhooks: signed messages over https to a real server that takes them, or does not."""

import http.server
import ipaddress
import ssl
import threading
from concurrent import futures
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import standardwebhooks
import trustme

from cloudkitty import errors, locks
from cloudkitty.billing import outbox, webhooks
from cloudkitty.billing.delivery import Sender
from cloudkitty.db import billing_tables
from cloudkitty.processor.delivery import Delivery
from cloudkitty.processor.settings import Settings
from cloudkitty.tests.drivers.billing.world import World

LOOPBACK = [ipaddress.ip_network('127.0.0.0/8')]


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers with the next status of its server, and keeps what it got."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.server.got.append((self.path, dict(self.headers), body))
        self.server.answers.wait(60)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header('Location', '/elsewhere')
        self.end_headers()

    def log_message(self, *arguments):
        """Keep the output of the tests clean."""


@pytest.fixture(scope='module')
def authority():
    return trustme.CA()


@pytest.fixture
def cafile(authority, tmp_path):
    path = tmp_path / 'ca.pem'
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def receiver(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert('hook.example').configure_cert(context)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Receiver)
    server.got, server.statuses, server.answers = [], [], threading.Event()
    server.answers.set()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


class Names:
    """Answers for every name with the next of some addresses; the last one stays."""

    def __init__(self, *addresses):
        self.addresses = list(addresses)

    def __call__(self, host, port):
        return [self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]]


class AtOnce(futures.Executor):
    """Runs what it is given before anything else goes on."""

    def submit(self, run, /, *arguments):
        done = futures.Future()
        done.set_result(run(*arguments))
        return done


class Setting:
    """An account with a webhook, and the job that sends to it."""

    def __init__(self, conf, receiver, cafile, *, networks=LOOPBACK, names=('127.0.0.1',)):
        self.conf = conf
        self.world = World(conf)
        self.world.now = datetime.now(UTC)
        self.database = self.world.database
        self.url = f'https://hook.example:{receiver.server_port}/in?a=b'
        self.webhook = self.database.write(
            lambda connection: webhooks.create(connection, 'acme', self.url, self.world.now)
        )
        self.sender = Sender(networks, cafile, Names(*names))
        self.job = self.worker(AtOnce())

    def worker(self, pool):
        return Delivery(
            database=self.database,
            sender=self.sender,
            notify=None,
            locks=locks.Locks('file:///tmp'),
            settings=Settings.of(self.conf, 0),
            clock=lambda: self.world.now,
            pool=pool,
        )

    def add(self):
        self.database.write(
            lambda connection: outbox.add(
                connection,
                [outbox.Event('acme', outbox.CROSSED, {'a': 1})],
                now=self.world.now,
                notifies_bus=False,
            )
        )

    def waiting(self):
        with self.database.reader() as connection:
            rows = connection.execute(sa.select(billing_tables.outbox)).all()
        return [(row.attempts, row.failure) for row in rows]


@pytest.fixture
def build(any_conf, any_database, receiver, cafile):
    return lambda **more: Setting(any_conf, receiver, cafile, **more)


def test_a_message_is_verified_by_the_library(build, receiver):
    """By the secret, and after a rotation by the old one, too."""
    setting = build()
    setting.add()
    setting.job.work(setting.world.now)
    rotated = setting.database.write(
        lambda connection: webhooks.rotate(connection, setting.webhook.id)
    )
    setting.add()
    setting.job.work(setting.world.now)

    assert setting.waiting() == []
    (path, headers, body), (_, second, other) = receiver.got
    assert path == '/in?a=b'
    verified = standardwebhooks.Webhook(setting.webhook.secret).verify(body, headers)
    assert (verified['type'], verified['data']) == (outbox.CROSSED, {'a': 1})
    for secret in (setting.webhook.secret, rotated.secret):
        standardwebhooks.Webhook(secret).verify(other, second)
    assert setting.webhook.secret != rotated.secret


def test_what_fails_is_sent_again_by_the_schedule(build, receiver):
    """With the same id, until it is given up; a redirect is a failure."""
    setting = build()
    receiver.statuses = [500, 302, 500, 503, 429, 500, 404]
    setting.add()
    for wait in (*outbox.SCHEDULE, timedelta(0)):
        setting.job.work(setting.world.now)
        setting.job.work(setting.world.now)
        setting.world.now += wait

    assert len({headers['webhook-id'] for _, headers, _ in receiver.got}) == 1
    assert [path for path, _, _ in receiver.got] == ['/in?a=b'] * 7
    assert setting.waiting() == []


def test_rating_does_not_wait_for_a_slow_receiver(build, receiver):
    """A step returns at once; meanwhile nobody else sends the message, or another one to it."""
    setting = build()
    with futures.ThreadPoolExecutor() as pool:
        mine, other = setting.worker(pool), setting.worker(pool)
        receiver.answers.clear()
        setting.add()
        mine.work(setting.world.now)
        waiting = setting.waiting()
        other.work(setting.world.now)
        setting.add()
        mine.work(setting.world.now)
        receiver.answers.set()

    assert waiting == [(0, None)]
    assert len(receiver.got) == 1
    assert setting.waiting() == [(0, None)]
    setting.job.work(setting.world.now)
    assert (len(receiver.got), setting.waiting()) == (2, [])


def test_many_messages_are_sent_in_one_turn(build, receiver):
    """In order, until one is not taken."""
    setting = build()
    for _ in range(4):
        setting.add()
    receiver.statuses = [204, 500]
    setting.job.work(setting.world.now)

    assert len(receiver.got) == 2
    assert setting.waiting() == [(1, 'status 500'), (0, None), (0, None)]
    setting.job.work(setting.world.now)
    assert setting.waiting() == [(1, 'status 500')]


def test_a_failure_is_noted(build, receiver):
    setting = build()
    receiver.statuses = [500]
    setting.add()
    setting.job.work(setting.world.now)

    assert setting.waiting() == [(1, 'status 500')]


def test_a_receiver_that_is_gone_is_sent_no_more(build, receiver):
    setting = build()
    receiver.statuses = [410]
    setting.add()
    setting.add()
    setting.job.work(setting.world.now)
    setting.add()
    setting.job.work(setting.world.now)

    assert (len(receiver.got), setting.waiting()) == (1, [])
    with setting.database.reader() as connection:
        assert not webhooks.ROWS.get(connection, setting.webhook.id).is_enabled


@pytest.mark.parametrize(
    'names',
    [('127.0.0.1',), ('10.0.0.1',), ('169.254.169.254',), ('::ffff:127.0.0.1',), ('::1',)],
)
def test_private_addresses_are_not_called(build, receiver, names):
    """Unless the operator allows their network."""
    setting = build(networks=[], names=names)
    setting.add()
    setting.job.work(setting.world.now)

    assert receiver.got == []
    assert setting.waiting() == [(1, 'its address is not public')]


def test_a_name_that_changes_its_address_is_checked_again(build, receiver):
    """Each attempt resolves it once, and calls the address that was checked."""
    setting = build(names=('127.0.0.1', '10.0.0.1'))
    for _ in range(2):
        setting.add()
        setting.job.work(setting.world.now)

    assert len(receiver.got) == 1
    assert setting.waiting() == [(1, 'its address is not public')]


def test_a_certificate_of_nobody_is_not_trusted(any_conf, any_database, receiver):
    setting = Setting(any_conf, receiver, None)
    setting.add()
    setting.job.work(setting.world.now)

    assert receiver.got == []
    assert setting.waiting() == [(1, 'SSLCertVerificationError')]


@pytest.mark.parametrize(
    'url',
    [
        'http://example.org/',
        'https://user:secret@example.org/',
        'https:///path',
        'https://example.org:port/',
        'https://example.org/a b',
        'https://example.org/\r\nX: y',
        'https://example.org/' + 'a' * 2000,
        'ftp://example.org',
    ],
)
def test_urls_that_are_refused(url):
    with pytest.raises(errors.InvalidInput):
        webhooks.check_url(url)
