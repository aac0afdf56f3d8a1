"""Censuses of agents: a resource that is missing in a complete list of the cloud has ended.

The results of a census are stored as facts, like all usage; a list that comes twice gives the same
facts, which are stored once.

Source: doc/source/contributor/metering.rst, "Censuses".
"""

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import db, errors
from cloudkitty.core.metering import census, facts, message, reports
from cloudkitty.core.metering.message import Counter
from cloudkitty.usage import census_rows, late
from cloudkitty.usage.census_rows import Census, OpenSeries
from cloudkitty.usage.entries import Entry, Origin
from cloudkitty.usage.intake import Intake

LOG = logging.getLogger(__name__)

PATH = 'census'
BILL = 'bill'
# Facts that are stored in one transaction.
CHUNK = 1000


class Limits(NamedTuple):
    """When a missing resource has ended, see core.metering.census.judge().

    :ivar is_presumed: whether it ends without the confirmation of an operator.
    """

    is_presumed: bool = True
    settle_us: int = census.SETTLE_US
    end_max: int = census.END_MAX
    end_share_max: Decimal = census.END_SHARE_MAX

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> 'Limits':
        """Return the limits of the configuration."""
        options = conf.metering
        return cls(
            options.absence != BILL,
            options.settle * facts.SECOND_US,
            options.census_end_max,
            Decimal(options.census_end_share) / 100,
        )


class Censuses:
    """Receives lists of resources, part by part.

    :param oldest: returns from when on facts are accepted, microseconds since the epoch.
    :param secret: signs the messages with the results; '': they are not signed.
    :param clock: returns the current time, aware UTC.
    """

    def __init__(
        self,
        database: db.Database,
        intake: Intake,
        *,
        limits: Limits,
        oldest: Callable[[datetime], int],
        clock: Callable[[], datetime],
        secret: str = '',
    ) -> None:
        self._database = database
        self._intake = intake
        self._limits = limits
        self._oldest = oldest
        self._secret = secret
        self._clock = clock

    @classmethod
    def of(
        cls,
        conf: cfg.ConfigOpts,
        database: db.Database,
        intake: Intake,
        *,
        clock: Callable[[], datetime],
        secret: str = '',
    ) -> 'Censuses':
        """Return what takes lists with the limits of the configuration."""
        return cls(
            database,
            intake,
            limits=Limits.of(conf),
            oldest=late.Limits.of(conf).oldest,
            clock=clock,
            secret=secret,
        )

    @staticmethod
    def check(form: Mapping[str, Any], *, is_agent: bool) -> None:
        """Check a metering message that carries a part of a list.

        :param form: one that message.check() has accepted, of the meter reports.CENSUS.
        :param is_agent: whether it came from an agent.
        :raises InvalidInput: it carries none, or its sender cannot know what exists.
        """
        reports.read_census(form)
        if form['source'] != message.SOURCE or not is_agent:
            raise errors.InvalidInput(reason='only agents of this service list what exists')

    def take(self, form: Mapping[str, Any]) -> None:
        """Store a part of a list; with the last part, store the results of the census.

        :param form: one that check() has accepted.
        """
        part = reports.read_census(form)
        now_us = facts.to_us(self._clock())
        parts = self._database.write(
            lambda connection: census_rows.add_part(connection, part, now_us)
        )
        if parts is None:
            return
        ids = frozenset(one for each in parts for one in each.resource_ids)
        is_complete = part.is_complete and part.is_cloud
        listing = census.Listing(part.begin, part.end, ids, is_complete)
        self._judge(part, listing)

    def accept(self, producer: str, subject: str) -> int:
        """End the resources that are missing in the newest list; return how many.

        :raises NotFound: there is no such list.
        """
        with self._database.reader() as connection:
            known = census_rows.find(connection, producer, subject)
            if known is None:
                raise errors.NotFound(reason=f'{producer} has sent no list of {subject}')
            lost = census_rows.read_missing(connection, known.id)
            rows = census_rows.read_series(connection, lost)
        self._end({one: lost[one.id] for one in rows}, producer)
        self._database.write(lambda connection: census_rows.settle(connection, known.id))
        return len({one.resource_id for one in rows})

    def _judge(self, part: reports.Part, listing: census.Listing) -> None:
        with self._database.reader() as connection:
            known = census_rows.find(connection, part.producer, part.subject)
            if known is not None and known.begun_at >= listing.begin:
                # A newer one arrived first.
                return
            opened = census_rows.read_open(connection, message.SOURCE, part.meters)
            away = [one for one in opened if one.resource_id not in listing.resource_ids]
            last = self._last_seen(connection, away, known) if listing.is_complete else {}
            unknown = listing.resource_ids - {one.resource_id for one in opened}
            lost = census_rows.read_presumed(connection, message.SOURCE, part.meters, unknown)
        verdict = self._verdict(listing, opened, last)
        self._store([self._sighting(one, listing.end) for one in lost], part.producer)
        ended = verdict.ended if self._limits.is_presumed else {}
        self._end({one: at for one, at in last.items() if one.resource_id in ended}, part.producer)
        if verdict.is_held:
            LOG.warning(
                '%s of %s: too many resources are missing, so none has ended; look, and then '
                '`cloudkitty-usage census --accept %s %s`',
                part.subject,
                part.producer,
                part.producer,
                part.subject,
            )
        state = census_rows.HELD if verdict.is_held else census_rows.TAKEN
        if not listing.is_complete:
            state = census_rows.PARTIAL
        # One that is missing and has not ended was not in the list: it was last seen before.
        missing = {one: at for one, at in last.items() if one.resource_id not in ended}
        self._record(part, listing, state, missing)

    def _last_seen(
        self, connection: sa.Connection, away: Collection[OpenSeries], known: Census | None
    ) -> dict[OpenSeries, int]:
        """Return when series were last seen or had a fact, microseconds since the epoch."""
        said = census_rows.read_newest(connection, [one.id for one in away])
        missed = census_rows.read_missing(connection, known.id) if known is not None else {}
        listed = known.complete_at or 0 if known is not None else 0
        # A series that was not missing before was in the previous list.
        return {one: max(said.get(one.id, 0), missed.get(one.id, listed)) for one in away}

    def _verdict(
        self,
        listing: census.Listing,
        opened: Iterable[OpenSeries],
        last: Mapping[OpenSeries, int],
    ) -> census.Verdict:
        """Judge by resource: a recent fact of any of its meters counts for all of them."""
        newest: dict[str, int] = {}
        for one in opened:
            at = last.get(one, listing.end)
            newest[one.resource_id] = max(at, newest.get(one.resource_id, 0))
        limits = self._limits
        return census.judge(
            listing,
            newest,
            settle_us=limits.settle_us,
            end_max=limits.end_max,
            end_share_max=limits.end_share_max,
            # If nothing ends automatically, there is nothing to hold either.
            is_accepted=not limits.is_presumed,
        )

    def _record(
        self,
        part: reports.Part,
        listing: census.Listing,
        state: str,
        missing: Mapping[OpenSeries, int],
    ) -> None:
        rows = {one.id: at for one, at in missing.items()}

        def change(connection: sa.Connection) -> None:
            census_rows.record(connection, part, state, len(listing.resource_ids))
            known = census_rows.find(connection, part.producer, part.subject)
            assert known is not None
            if state != census_rows.PARTIAL:
                census_rows.replace_missing(connection, known.id, rows)
            census_rows.remove_parts(connection, part)

        self._database.write(change)

    def _sighting(self, one: OpenSeries, at: int) -> Counter:
        return _counter(one, 'seen', at)

    def _end(self, ends: Mapping[OpenSeries, int], producer: str) -> None:
        oldest = self._oldest(self._clock())
        # Older facts are refused; the customer does not pay for later time.
        self._store(
            [
                _counter(one, 'presumed_end', max(at, oldest + facts.SECOND_US))
                for one, at in sorted(ends.items())
            ],
            producer,
        )
        if ends:
            LOG.info('%d lives have ended according to %s', len(ends), producer)

    def _store(self, counters: list[Counter], producer: str) -> None:
        origin = Origin(PATH, producer, PATH)
        for start in range(0, len(counters), CHUNK):
            made = [message.build(one, self._secret) for one in counters[start : start + CHUNK]]
            self._intake.store(
                [Entry(_text(form), (message.fact_of(message.check(form)),)) for form in made],
                origin,
            )


def _counter(one: OpenSeries, life: str, at: int) -> Counter:
    return Counter(
        one.meter,
        facts.STATE,
        one.unit,
        one.quantity,
        one.scope_id,
        None,
        one.resource_id,
        at,
        {},
        life=life,
    )


def _text(form: Mapping[str, Any]) -> str:
    return json.dumps(form, allow_nan=False)
