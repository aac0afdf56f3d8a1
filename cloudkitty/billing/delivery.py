"""Sends messages to webhooks: signed, over https, to public addresses, with a timeout.

Source: https://www.standardwebhooks.com.
"""

import contextlib
import ipaddress
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from http import client
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty import errors, plugins
from cloudkitty.billing.outbox import Message
from cloudkitty.billing.webhooks import Webhook, is_allowed

GONE = 410
# Seconds for the whole of an attempt, and for each wait within it.
DEADLINE_S = 15
WAIT_S = 5
NEEDS_LIBRARY = 'webhooks need the package standardwebhooks: install cloudkitty[webhooks]'

Networks = list[ipaddress.IPv4Network | ipaddress.IPv6Network]
Resolve = Callable[[str, int], Sequence[str]]


class Answer(NamedTuple):
    """Result of an attempt.

    :ivar reason: why it failed; empty: the receiver accepted the message.
    :ivar is_gone: the receiver answered with 410.
    """

    reason: str = ''
    is_gone: bool = False


def library() -> Any:
    """Return the class that signs messages.

    :raises ConfigurationError: its package is not installed.
    """
    return plugins.import_extra(NEEDS_LIBRARY, 'standardwebhooks.webhooks').Webhook


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class Sender:
    """Sends messages.

    :param networks: addresses that are allowed though they are not public.
    :param cafile: certificates that are trusted; None: those of the system.
    :param resolver: returns the addresses of a host and port.
    """

    def __init__(
        self, networks: Networks, cafile: str | None = None, resolver: Resolve = resolve
    ) -> None:
        self._networks = networks
        self._context = ssl.create_default_context(cafile=cafile)
        self._resolve = resolver
        self._signer = library()

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> 'Sender':
        """Return the sender that the section [billing] describes.

        :raises ConfigurationError: an option is wrong, or the library is missing.
        """
        try:
            networks = [ipaddress.ip_network(one) for one in conf.billing.webhook_networks]
            return cls(networks, conf.billing.webhook_cafile)
        except (ValueError, OSError) as exc:
            raise errors.ConfigurationError(
                reason=f'[billing]webhook_networks or webhook_cafile: {exc}'
            ) from exc

    def send(self, webhook: Webhook, message: Message, now: datetime) -> Answer:
        """Send a message once; redirects are not followed."""
        try:
            status = self._post(webhook, message, now)
        except errors.InvalidInput as exc:
            return Answer(str(exc))
        except (OSError, client.HTTPException, ValueError) as exc:
            # The text of an error may contain data of the receiver.
            return Answer(type(exc).__name__)
        if 200 <= status < 300:
            return Answer()
        return Answer(f'status {status}', status == GONE)

    def _post(self, webhook: Webhook, message: Message, now: datetime) -> int:
        parts = urllib.parse.urlsplit(webhook.url)
        host, port = parts.hostname or '', parts.port or 443
        # Connect to the address that was checked: a later answer of the DNS may differ.
        address = self._address(host, port)
        path = urllib.parse.urlunsplit(('', '', parts.path or '/', parts.query, ''))
        with self._connected(host, port, address) as connection:
            connection.request('POST', path, message.payload, self._headers(webhook, message, now))
            return connection.getresponse().status

    def _address(self, host: str, port: int) -> str:
        addresses = self._resolve(host, port)
        for address in addresses:
            if not is_allowed(address, self._networks):
                raise errors.InvalidInput(reason='its address is not public')
        if not addresses:
            raise errors.InvalidInput(reason='it has no address')
        return addresses[0]

    @contextlib.contextmanager
    def _connected(self, host: str, port: int, address: str) -> Iterator[client.HTTPSConnection]:
        connection = _Connection(host, port, address, self._context)
        # Each wait has a timeout; a receiver that sends a byte now and then has a deadline.
        timer = threading.Timer(DEADLINE_S, connection.abort)
        timer.daemon = True
        timer.start()
        try:
            yield connection
        finally:
            timer.cancel()
            connection.close()

    def _headers(self, webhook: Webhook, message: Message, now: datetime) -> dict[str, str]:
        secrets = filter(None, (webhook.secret, webhook.previous_secret))
        signatures = [
            self._signer(secret).sign(message.message, now, message.payload) for secret in secrets
        ]
        return {
            'Content-Type': 'application/json',
            'User-Agent': 'cloudkitty',
            'webhook-id': message.message,
            'webhook-timestamp': str(int(now.timestamp())),
            'webhook-signature': ' '.join(signatures),
        }


class _Connection(client.HTTPSConnection):
    """A connection to one address that verifies the certificate of the host's name."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=WAIT_S, context=context)
        self._peer = (address, port)
        self._tls = context

    def connect(self) -> None:
        raw = socket.create_connection(self._peer, WAIT_S)
        self.sock = raw
        self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)

    def abort(self) -> None:
        """Interrupt whatever the connection waits for."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
