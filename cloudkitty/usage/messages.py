"""Received messages, and the facts in them: table usage_batches."""

import json
import zlib
from collections import OrderedDict
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.metering import cloudevents, facts, message
from cloudkitty.core.metering.facts import Fact
from cloudkitty.db import usage_tables

_BATCHES = usage_tables.batches
BATCHES_KEPT_MAX = 50
_PLAIN = json.JSONDecoder()


class Batch(NamedTuple):
    """A stored batch.

    :ivar texts: its messages as they were received, JSON.
    :ivar received_at: microseconds since the epoch.
    :ivar is_intact: whether its content matches its digest.
    """

    id: int
    texts: list[str]
    received_at: int
    path: str
    publisher: str
    trust: str
    is_intact: bool


def digest_of(body: bytes) -> bytes:
    """Return the digest of the JSON list of the messages of a batch."""
    return facts.digest('batch', body.decode())


def read(connection: sa.Connection, batch_id: int) -> Batch | None:
    """Return a batch; None: it is no longer kept."""
    row = connection.execute(sa.select(_BATCHES).where(_BATCHES.c.id == batch_id)).first()
    if row is None:
        return None
    texts: list[str] = []
    is_intact = False
    try:
        body = zlib.decompress(row.body)
        # Numbers of any length, as those of metering messages may be.
        texts = [text for text, _ in cloudevents.split(body.decode(), _PLAIN)]
        is_intact = digest_of(body) == bytes(row.digest) and len(texts) == row.messages
    except (zlib.error, ValueError, errors.InvalidInput):
        pass
    return Batch(row.id, texts, row.received_at, row.path, row.publisher, row.trust, is_intact)


def stated(text: str, ignored: frozenset[str]) -> tuple[Fact, ...]:
    """Return the facts in a message, with its source.

    :param ignored: names of attributes that are left out.
    :raises InvalidInput: there are none.
    """
    # With numbers as its signer wrote them.
    form: Any = _PLAIN.decode(text)
    if isinstance(form, dict) and 'specversion' in form:
        return cloudevents.read(cloudevents.DECODER.decode(text), ignored).facts
    return (message.fact_of(message.check(message.normal(form)), ignored),)


class Batches:
    """Reads batches; keeps some, since facts of one time are in few of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Batch | None] = OrderedDict()

    def get(self, connection: sa.Connection, batch_id: int) -> Batch | None:
        """Return a batch; None: it is no longer kept."""
        if batch_id not in self._kept:
            if len(self._kept) >= BATCHES_KEPT_MAX:
                self._kept.popitem(last=False)
            self._kept[batch_id] = read(connection, batch_id)
        return self._kept[batch_id]
