"""Finding out which scopes there are: one worker asks the fetcher for all."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from oslo_db import exception as db_exception

from cloudkitty import db, observer
from cloudkitty.db import scopes
from cloudkitty.fetcher import BaseFetcher
from cloudkitty.locks import Locks
from cloudkitty.observer import Observer
from cloudkitty.processor.outage import Outage
from cloudkitty.processor.settings import BUSY_S, Settings

LOG = logging.getLogger(__name__)


class Discovery:
    """Keeps the table of scopes as the fetcher says, once a period.

    :param clock: returns the current time, aware UTC.
    :param observer: is told what happens.
    :ivar next_at: when there is something to do again; None: at once.
    """

    def __init__(self, *, database: db.Database, fetcher: BaseFetcher, locks: Locks,
                 settings: Settings, clock: Callable[[], datetime],
                 observer: Observer = Observer()):  # noqa: B008 (it keeps nothing)
        self._database = database
        self._fetcher = fetcher
        self._locks = locks
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._outage = Outage(f'Fetcher {settings.identity.fetcher!r}', settings.length_s)
        self._lock_name = settings.lock_name('fetcher')
        self.next_at: datetime | None = None

    def refresh(self) -> None:
        """Ask the fetcher, when it is time and no other worker does or did.

        A fetcher that fails is logged and asked again later; meanwhile the scopes are those known.
        """
        now = self._clock()
        if self.next_at is not None and now < self.next_at:
            return
        with self._database.reader() as connection:
            seen = scopes.last_fetch(connection, self._settings.identity)
        if seen is not None and now < seen + self._settings.length:
            self.next_at = seen + self._settings.length
            return
        self.next_at = now + timedelta(seconds=min(BUSY_S, self._settings.length_s))
        with self._locks.hold(self._lock_name) as is_mine:
            if is_mine:
                self._ask(seen)

    def _ask(self, seen):
        try:
            listed = set(self._fetcher.get_tenants())
        # A foreign fetcher may raise anything.
        except Exception as exc:
            failure = exc
        else:
            self._take_over(listed, seen)
            return
        self._observer.failed(observer.FETCHER)
        self.next_at = self._outage.begin(self._clock(), failure)

    def _take_over(self, listed, seen):
        now = self._clock()
        self._outage.end(now)
        changes = self._record({scope_id for scope_id in listed if scopes.is_storable(scope_id)},
                               seen, now)
        self.next_at = now + self._settings.length
        if changes is None:
            return
        refused = [scope_id for scope_id in listed if not scopes.is_storable(scope_id)]
        if refused:
            LOG.warning('%s scope ids cannot be kept, they are empty, longer than %s characters or '
                        'no text: %.300r', len(refused), scopes.ID_LENGTH_MAX, refused[:3])
        if any(changes):
            LOG.info('Scopes: %s listed, %s new, %s gone, %s back', len(listed), *changes)

    def _record(self, listed, seen, now):
        """Return what changed; None when another worker was faster."""
        settings = self._settings

        def change(connection):
            if not scopes.claim_fetch(connection, settings.identity, seen=seen, now=now):
                return None
            return scopes.record_seen(
                connection, settings.identity, listed, now=now,
                initial_mark=settings.initial_mark(now),
                # It may have been used until it was missed.
                final_mark=now - settings.length)

        try:
            return self._database.write(change)
        except db_exception.DBDuplicateEntry:
            LOG.debug('Another worker recorded the scopes')
            return None
