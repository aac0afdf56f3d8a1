"""Metering messages from the bus or from Ceilometer: checked, verified, and stored or refused.

Refused messages are recorded with the reason, and have no other effect.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.core.metering import facts, message, redaction, reports, signature
from cloudkitty.usage import producers, rejects
from cloudkitty.usage.census import Censuses
from cloudkitty.usage.entries import Entry, Origin, Outcome
from cloudkitty.usage.intake import Intake

LOG = logging.getLogger(__name__)

# Values of usage_batches.trust that are no names of keys.
BUS, API, PASSWORD, UNSIGNED = VOUCHED = ('bus', 'api', 'password', 'unsigned')
# Built once: json.dumps() builds one for each message.
_ENCODER = json.JSONEncoder(allow_nan=False)
WARNING_PAUSE = timedelta(minutes=1)
# Errors of the database that are caused by the content of a row.
UNFIT = (
    db_exception.DBDataError,
    db_exception.DBDuplicateEntry,
    db_exception.DBConstraintError,
    db_exception.DBReferenceError,
    db_exception.DBInvalidUnicodeParameter,
    ArithmeticError,
    ValueError,
)


class Received(NamedTuple):
    """A metering message as received.

    :ivar form: parsed JSON, with numbers as its signer wrote them.
    :ivar trust: why it is trusted without a signature, a value of usage_batches.trust; None: it
        must be signed.
    """

    form: Any
    publisher: str
    trust: str | None = None


class Refused(NamedTuple):
    """A refused message: its text, and the reason."""

    text: str
    reason: str
    publisher: str


class Keys:
    """The secrets that verify messages, the newest first.

    :raises ConfigurationError: one of them is too short, or publicly known.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._secrets: list[str] = conf.metering.secrets
        for secret in self._secrets:
            if not signature.is_secret(secret):
                raise errors.ConfigurationError(
                    reason='[metering]secrets: a secret has at least '
                    f"{signature.SECRET_LENGTH_MIN} characters, and is not Ceilometer's default, "
                    'which everybody knows'
                )
        self._names = [signature.key_name(secret) for secret in self._secrets]
        self._takes_unsigned = conf.metering.unsigned == 'accept'

    @property
    def newest(self) -> str:
        """The secret that signs; '': none."""
        return self._secrets[0] if self._secrets else ''

    def trust(self, form: Any) -> str:
        """Return the name of the key that signed a message.

        :param form: a checked form, since the algorithm has no separators.
        :raises InvalidInput: its signature is unknown.
        """
        number = signature.verify(form, self._secrets)
        if number is not None:
            return self._names[number]
        if form.get(signature.KEY):
            raise errors.InvalidInput(reason='untrusted: no known secret has signed this')
        if not self._takes_unsigned:
            raise errors.InvalidInput(reason='untrusted: it is not signed')
        return UNSIGNED

    def verified(self, form: Any, trust: str) -> str:
        """Return whether a stored message is signed: true, false, unsigned, or key gone.

        :param trust: why it was trusted when it was received.
        """
        if signature.verify(form, self._secrets) is not None:
            return 'true'
        if trust not in (*self._names, *VOUCHED):
            return 'key gone'
        return 'false' if form.get(signature.KEY) else UNSIGNED


class Receiver:
    """Stores metering messages.

    :param clock: returns the current time, aware UTC.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: db.Database,
        clock: Callable[[], datetime],
    ) -> None:
        self.keys = Keys(conf)
        self._database = database
        self._intake = Intake.of(conf, database, clock)
        self.censuses = Censuses.of(
            conf, database, self._intake, clock=clock, secret=self.keys.newest
        )
        self._clock = clock
        self._ignored = frozenset(conf.metering.attributes_ignored)
        self._silent_until = clock()

    def store(
        self, received: Sequence[Received], path: str, project_id: str | None = None
    ) -> Outcome:
        """Store the valid messages; return the result once it is committed.

        :param project_id: the only scope that messages may be about, under sources of its own, and
            whose refused messages are not recorded; None: every scope.
        :raises DBError, DatabaseUnavailable: nothing is known: send them again.
        """
        total = Outcome()
        groups: dict[str, list[tuple[int, Entry]]] = defaultdict(list)
        refused: list[Refused] = []
        beacons: list[reports.Beacon] = []
        censuses: list[Any] = []
        for number, one in enumerate(received):
            try:
                form = message.check(message.normal(one.form))
                trust = self._trust(form, one.trust)
                if form['counter_name'] not in reports.METERS:
                    groups[trust].append((number, self._entry(one.form, form, project_id)))
                elif project_id is not None:
                    raise errors.InvalidInput(reason='Only agents say what is complete')
                elif form['counter_name'] == reports.BEACON:
                    beacons.append(reports.read_beacon(form))
                else:
                    self.censuses.check(form, is_agent=path == BUS)
                    censuses.append(form)
            except (errors.InvalidInput, RecursionError) as exc:
                total.rejected[number] = errors.describe(exc)
                refused.append(Refused(_text_of(one.form), total.rejected[number], one.publisher))
        for trust, numbered in groups.items():
            publishers = sorted({received[number].publisher for number, _ in numbered})
            origin = Origin(path, ', '.join(publishers)[: facts.NAME_LENGTH_MAX], trust)
            for number, reason in self._store(numbered, origin, total):
                total.rejected[number] = reason
                one = received[number]
                refused.append(Refused(_text_of(one.form), reason, one.publisher))
        # Projects could fill the table.
        if project_id is None:
            self.refuse(refused, path)
        # Only messages that were sent before them are stored now.
        for form in censuses:
            self.censuses.take(form)
        self._record(beacons)
        return total

    def _record(self, beacons: Sequence[reports.Beacon]) -> None:
        """Record up to when agents have measured each meter."""
        now_us = facts.to_us(self._clock())
        told = {
            (beacon.producer, meter): min(until, now_us)
            for beacon in beacons
            for meter, until in beacon.until.items()
        }
        if told:
            self._database.write(
                lambda connection: producers.record(connection, told, now_us=now_us)
            )

    def _trust(self, form: Mapping[str, Any], given: str | None) -> str:
        """Return why a checked message is trusted.

        :param given: see Received.trust.
        :raises InvalidInput: its signature is unknown.
        """
        if given is not None:
            return given
        trust = self.keys.trust(form)
        if form['source'] == message.SOURCE and not message.is_as_built(form):
            raise errors.InvalidInput(reason='untrusted: its id is not that of its content')
        return trust

    def _entry(self, received: Any, form: Mapping[str, Any], project_id: str | None) -> Entry:
        """Return what is stored of a message.

        :param received: it as received; *form* is it as checked.
        """
        try:
            text = _ENCODER.encode(received)
        except ValueError as exc:
            raise errors.InvalidInput(reason='a number is not finite') from exc
        fact = message.fact_of(form, self._ignored)
        if project_id is None:
            return Entry(text, (fact,))
        if fact.scope_id != project_id:
            raise errors.InvalidInput(reason='project_id must be the project of the token')
        source = facts.source_of_project(project_id, fact.source)
        return Entry(text, (facts.check(fact._replace(source=source)),))

    def _store(
        self, numbered: Sequence[tuple[int, Entry]], origin: Origin, total: Outcome
    ) -> list[tuple[int, str]]:
        """Store entries; return number and reason of each that was refused."""
        try:
            outcome = self._intake.store([entry for _, entry in numbered], origin)
        except UNFIT as exc:
            if len(numbered) == 1:
                return [(numbered[0][0], f'the database refuses it: {type(exc).__name__}')]
            half = len(numbered) // 2
            return [
                *self._store(numbered[:half], origin, total),
                *self._store(numbered[half:], origin, total),
            ]
        assert isinstance(outcome, Outcome)
        total.accepted += outcome.accepted
        total.duplicates += outcome.duplicates
        total.late += outcome.late
        total.beyond.update(outcome.beyond)
        total.new_attributes += outcome.new_attributes
        total.conflicts.update(numbered[index][0] for index in outcome.conflicts)
        return [(numbered[index][0], reason) for index, reason in outcome.rejected.items()]

    def refuse(self, refused: Iterable[Refused], path: str) -> None:
        """Record refused messages, without credentials."""
        by_publisher: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for one in refused:
            by_publisher[one.publisher].append((redaction.redact(one.text), one.reason))
        if not by_publisher:
            return
        now = self._clock()
        now_us = facts.to_us(now)
        if now >= self._silent_until:
            self._silent_until = now + WARNING_PAUSE
            publisher, found = next(iter(by_publisher.items()))
            LOG.warning(
                'Messages are refused, see cloudkitty-usage rejects; one by %r: %.200s',
                publisher[:100],
                found[0][1],
            )

        def change(connection: sa.Connection) -> None:
            for publisher, found in sorted(by_publisher.items()):
                rejects.record(connection, found, path=path, publisher=publisher, now_us=now_us)

        self._database.write(change)


def _text_of(form: Any) -> str:
    try:
        return json.dumps(form)
    # Too many levels.
    except RecursionError:
        return repr(type(form))
