"""Webhooks of accounts, and the secrets that sign their messages."""

import base64
import ipaddress
import secrets
import urllib.parse
import uuid
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing.owned import Owned
from cloudkitty.core import timeframe
from cloudkitty.db import billing_tables, tables

TABLE = billing_tables.webhooks
WEBHOOKS_MAX = 10  # of an account
URL_LENGTH_MAX = 2000
SECRET_BYTES = 32
PREFIX = 'whsec_'


class Webhook(NamedTuple):
    """A receiver of messages.

    :ivar secret, previous_secret: both sign; None: there is one only.
    :ivar is_enabled: False: the receiver answered with 410.
    """

    id: str
    account: str
    url: str
    secret: str
    previous_secret: str | None
    is_enabled: bool
    created_at: datetime


def check_url(url: str) -> str:
    """Return *url*, which must be an address of https without user and password.

    :raises InvalidInput: it is not.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise errors.InvalidInput(reason='the URL is not valid') from exc
    is_plain = url.isascii() and url.isprintable() and ' ' not in url
    if parts.scheme != 'https' or not host or '@' in parts.netloc or not is_plain:
        raise errors.InvalidInput(
            reason='the URL must be one such as https://example.org/path, without user and password'
        )
    if len(url) > URL_LENGTH_MAX:
        raise errors.InvalidInput(reason=f'the URL has more than {URL_LENGTH_MAX} characters')
    return url


def is_allowed(address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Return whether a message may be sent to an IP address: a public one, or one of *networks*."""
    found = ipaddress.ip_address(address)
    mapped = getattr(found, 'ipv4_mapped', None)
    found = mapped or found
    is_public = found.is_global and not found.is_multicast
    return is_public or any(found in network for network in networks)


def create(connection: sa.Connection, account_id: str, url: str, now: datetime) -> Webhook:
    """Store a webhook; return it with its secret.

    :raises InvalidInput: the URL is none of https.
    :raises Conflict: the account has too many.
    """
    made = Webhook(uuid.uuid4().hex, account_id, check_url(url), _secret(), None, True, now)
    ROWS.require_room(connection, account_id)
    row = made._asdict() | {'created_at': timeframe.to_naive(now)}
    connection.execute(TABLE.insert().values(row))
    return made


def rotate(connection: sa.Connection, webhook_id: str) -> Webhook:
    """Give a webhook a new secret, and enable it; both secrets sign until the next rotation."""
    found = ROWS.get(connection, webhook_id)
    made = found._replace(secret=_secret(), previous_secret=found.secret, is_enabled=True)
    connection.execute(
        sa.update(TABLE)
        .where(TABLE.c.id == webhook_id)
        .values(secret=made.secret, previous_secret=made.previous_secret, is_enabled=True)
    )
    return made


def switch_off(connection: sa.Connection, webhook_id: str) -> None:
    """Disable a webhook whose receiver answered with 410."""
    connection.execute(sa.update(TABLE).where(TABLE.c.id == webhook_id).values(is_enabled=False))
    connection.execute(
        sa.delete(billing_tables.outbox).where(billing_tables.outbox.c.webhook == webhook_id)
    )


def delete(connection: sa.Connection, webhook_id: str) -> None:
    """Remove a webhook, and its pending messages."""
    switch_off(connection, webhook_id)
    connection.execute(sa.delete(TABLE).where(TABLE.c.id == webhook_id))


def _secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _webhook(row: tables.Row) -> Webhook:
    values = {name: getattr(row, name) for name in Webhook._fields}
    return Webhook(**values | {'created_at': timeframe.from_naive(row.created_at)})


ROWS = Owned(TABLE, 'webhook', WEBHOOKS_MAX, _webhook)
