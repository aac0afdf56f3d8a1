"""Known events and requests: tables usage_keys and usage_requests.

A key is claimed in the transaction that stores its event: if that fails, the claim is rolled back,
and a retry is not a duplicate.
"""

import base64
import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.metering import facts
from cloudkitty.db import upsert, usage_tables
from cloudkitty.usage.samples import Location
from cloudkitty.usage.series import chunks

_KEYS = usage_tables.keys
_REQUESTS = usage_tables.requests
# Characters up to which an answer is stored as it is, and most that are stored of a packed one.
PLAIN_MAX, PACKED_MAX = 1000, 65536
# No answer, which is a JSON object, begins with it.
_PACKED = 'zlib:'
_NAMES = ('digest', 'body', 'revision', 'series_id', 'batch_id', 'position', 'seen_at')


class Claim(NamedTuple):
    """An event that is to be stored, or is stored.

    :ivar digest: of its source and id.
    :ivar body: digest of its content.
    :ivar series_id: of its facts.
    """

    digest: bytes
    body: bytes
    revision: int
    series_id: int
    location: Location


def digest_of(source: str, event_id: str) -> bytes:
    """Return the key of an event."""
    return facts.digest('event', source, event_id)


def find(connection: sa.Connection, digests: Iterable[bytes]) -> dict[bytes, Claim]:
    """Return the claims of events, locked until the transaction ends."""
    return {
        bytes(row.digest): Claim(
            bytes(row.digest),
            bytes(row.body),
            row.revision,
            row.series_id,
            Location(row.batch_id, row.position),
        )
        for chunk in chunks(sorted(set(digests)))
        for row in connection.execute(
            sa.select(_KEYS)
            .where(_KEYS.c.digest.in_(chunk))
            .order_by(_KEYS.c.digest)
            .with_for_update()
        )
    }


def claim(
    connection: sa.Connection, wanted: Mapping[bytes, Claim], now_us: int
) -> dict[bytes, Claim]:
    """Claim events, and return their holders; another one than wanted was claimed before."""
    rows = [
        (digest, one.body, one.revision, one.series_id, *one.location, now_us)
        for digest, one in sorted(wanted.items())
    ]
    upsert.insert_many_missing(connection, _KEYS, _NAMES, rows)
    return find(connection, wanted)


def renew(connection: sa.Connection, claim: Claim, now_us: int) -> None:
    """Replace an earlier claim of the same event by *claim*."""
    connection.execute(
        sa.update(_KEYS)
        .where(_KEYS.c.digest == claim.digest)
        .values({**_values(claim), 'seen_at': now_us})
    )


def release(connection: sa.Connection, digests: Collection[bytes]) -> None:
    """Release the claims of events that contain nothing new."""
    for chunk in chunks(sorted(digests)):
        connection.execute(sa.delete(_KEYS).where(_KEYS.c.digest.in_(chunk)))


def _values(claim: Claim) -> dict[str, object]:
    values = claim._asdict()
    location = values.pop('location')
    return {**values, **location._asdict()}


class Request(NamedTuple):
    """A request with an Idempotency-Key.

    :ivar digest: of the caller and the key.
    :ivar body: digest of the body.
    """

    digest: bytes
    body: bytes


def begin_request(connection: sa.Connection, request: Request, now_us: int) -> str | None:
    """Claim *request*; return its first answer if it is repeated.

    :raises Conflict: it was made with another body.
    """
    upsert.insert_missing(
        connection, _REQUESTS, [{**request._asdict(), 'answer': '', 'received_at': now_us}]
    )
    body, answer = connection.execute(
        sa.select(_REQUESTS.c.body, _REQUESTS.c.answer)
        .where(_REQUESTS.c.digest == request.digest)
        .with_for_update()
    ).one()
    if bytes(body) != request.body:
        raise errors.Conflict(reason='The Idempotency-Key was used with another body')
    return _unpack(answer) or None


def end_request(connection: sa.Connection, request: Request, answer: str) -> None:
    """Store the answer of a request.

    :raises InvalidInput: it is too long.
    """
    connection.execute(
        sa.update(_REQUESTS)
        .where(_REQUESTS.c.digest == request.digest)
        .values(answer=_pack(answer))
    )


def _pack(answer: str) -> str:
    """Return *answer* as it is stored: one to 1,000 bad events may be 40 times their length.

    :raises InvalidInput: it is too long.
    """
    if len(answer) <= PLAIN_MAX:
        return answer
    packed = _PACKED + base64.b85encode(zlib.compress(answer.encode())).decode()
    if len(packed) > PACKED_MAX:
        raise errors.InvalidInput(
            reason='So many events are refused that the answer is too long to be kept for the '
            'Idempotency-Key, so none is stored: send fewer events, or no key'
        )
    return packed


def _unpack(stored: str) -> str:
    if not stored.startswith(_PACKED):
        return stored
    return zlib.decompress(base64.b85decode(stored.removeprefix(_PACKED))).decode()
