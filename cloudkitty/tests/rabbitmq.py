"""RabbitMQ on loopback, from the Debian package, without a trace outside its folder."""

import importlib
import os
import signal
from pathlib import Path

import amqp
from oslo_config import cfg

from cloudkitty.tests import services

SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server'

TAKEN_S = 30


def registered(conf: cfg.ConfigOpts) -> cfg.ConfigOpts:
    """Return *conf* with options that oslo.messaging registers in its global one only."""
    # Not at the top, where it would come before cloudkitty.rpc, which says what it runs on.
    conffixture = importlib.import_module('oslo_messaging.conffixture')
    conffixture.ConfFixture(conf)
    return conf


class RabbitMQ(services.Daemon):
    """RabbitMQ with the login guest/guest; an Erlang port mapper of its own is not needed."""

    program = 'rabbitmq-server'
    package = 'rabbitmq-server'

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.distribution_port = 0

    @property
    def url(self) -> str:
        """URL for [DEFAULT]transport_url."""
        return f'rabbit://guest:guest@{self.address}/'

    def prepare(self):
        # The one in the path changes the user; this one does not.
        if not os.path.exists(SERVER):
            raise services.ServiceFailed(
                f'{SERVER} is missing: install the Debian package {self.package}'
            )
        self.distribution_port = self.distribution_port or services.free_port()
        (self.folder / 'enabled_plugins').write_text('[].')
        (self.folder / 'env.conf').touch()
        (self.folder / 'rabbitmq.conf').write_text(f'listeners.tcp.1 = 127.0.0.1:{self.port}\n')

    def command(self):
        # Without a port mapper, a node is found at its distribution port, which it is told.
        erlang = (
            f'-start_epmd false -erl_epmd_port {self.distribution_port} '
            '-kernel inet_dist_use_interface {127,0,0,1}'
        )
        variables = {
            'PATH': os.environ['PATH'],
            'HOME': self.folder,
            'LANG': 'C.UTF-8',
            'RABBITMQ_NODENAME': f'test{self.port}@localhost',
            'RABBITMQ_NODE_PORT': self.port,
            'RABBITMQ_DIST_PORT': self.distribution_port,
            'RABBITMQ_CONF_ENV_FILE': f'{self.folder}/env.conf',
            'RABBITMQ_CONFIG_FILE': f'{self.folder}/rabbitmq.conf',
            'RABBITMQ_ENABLED_PLUGINS_FILE': f'{self.folder}/enabled_plugins',
            'RABBITMQ_MNESIA_BASE': f'{self.folder}/mnesia',
            'RABBITMQ_LOG_BASE': self.folder,
            'RABBITMQ_PID_FILE': f'{self.folder}/pid',
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': erlang,
        }
        return [
            '/usr/bin/env',
            '-i',
            *(f'{name}={value}' for name, value in variables.items()),
            SERVER,
        ]

    def is_ready(self):
        """Say whether a login succeeds: the port is open seconds before the broker is usable."""
        try:
            with amqp.Connection(self.address, connect_timeout=2, read_timeout=2, write_timeout=2):
                return True
        except (OSError, amqp.AMQPError):
            return False

    def _signal(self, number):
        # The server is a child of the script.
        if not self._has_ended():
            os.killpg(self._process.pid, number)

    @property
    def lost_connections(self) -> int:
        """How many clients have left without a word so far."""
        log = self.folder / f'test{self.port}@localhost.log'
        return log.read_text().count('client unexpectedly closed TCP connection')

    def publish(self, exchange: str, routing_key: str, body: bytes, **properties) -> None:
        """Bring *body* as it is, as any program could, to at least one queue.

        A broker drops what no queue takes, and whoever listens binds its queue a moment after it
        has started: until then the message comes back, and is sent again.

        :raises ServiceFailed: no queue takes it.
        """
        message = amqp.Message(body, **properties)

        def was_taken() -> bool:
            with amqp.Connection(self.address, confirm_publish=True) as connection:
                try:
                    connection.channel().basic_publish(
                        message, exchange, routing_key, mandatory=True
                    )
                except amqp.ChannelError:
                    return False
                return True

        services.wait_until(
            was_taken, deadline_s=TAKEN_S, what=f'a queue for {routing_key} of {exchange}'
        )

    def waiting(self, queue: str) -> int:
        """Return how many messages of *queue* nobody has fetched; 0 if there is no such queue."""
        with amqp.Connection(self.address) as connection:
            try:
                return connection.channel().queue_declare(queue, passive=True).message_count
            except amqp.NotFound:
                return 0

    def is_read(self, queue: str) -> bool:
        """Return whether somebody fetches messages from *queue*."""
        with amqp.Connection(self.address) as connection:
            try:
                return connection.channel().queue_declare(queue, passive=True).consumer_count > 0
            except amqp.NotFound:
                return False

    def remove(self, *queues: str) -> None:
        """Remove queues with what is in them."""
        with amqp.Connection(self.address) as connection:
            for queue in queues:
                connection.channel().queue_delete(queue)

    def kill(self):
        self._end(signal.SIGKILL)
