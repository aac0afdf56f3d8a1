"""Scope discovery: one worker calls the fetcher on behalf of all."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.fetcher import BaseFetcher
from cloudkitty.locks import Locks
from cloudkitty.processor.backoff import Backoff
from cloudkitty.processor.settings import BUSY_S, Settings
from cloudkitty.scopes import names as scope_names
from cloudkitty.scopes import state as scope_state
from cloudkitty.telemetry import observer
from cloudkitty.telemetry.observer import Observer

LOG = logging.getLogger(__name__)


class Discovery:
    """Synchronises the table of scopes with the fetcher once a period.

    :param clock: returns the current time, aware UTC.
    :param observer: receives instrumentation events.
    :ivar next_at: when the next step is due; None: at once.
    """

    def __init__(
        self,
        *,
        database: db.Database,
        fetcher: BaseFetcher,
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
        observer: Observer = Observer(),  # noqa: B008 (it keeps nothing)
    ):
        self._database = database
        self._fetcher = fetcher
        self._locks = locks
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._backoff = Backoff(f'Fetcher {settings.identity.fetcher!r}', settings.length_s)
        self._lock_name = settings.lock_name('fetcher')
        self.next_at: datetime | None = None

    def refresh(self) -> None:
        """Call the fetcher if that is due and no other worker does or did.

        A failure of the fetcher is logged, and it is called again later; until then the known
        scopes are used.
        """
        now = self._clock()
        if self.next_at is not None and now < self.next_at:
            return
        with self._database.reader() as connection:
            seen = scope_state.last_fetch(connection, self._settings.identity)
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
        # A third-party fetcher may raise anything.
        except Exception as exc:
            failure = exc
        else:
            self._take_over(listed, seen)
            return
        self._observer.failed(observer.FETCHER)
        self.next_at = self._backoff.record_failure(self._clock(), failure)

    def _take_over(self, listed, seen):
        now = self._clock()
        self._backoff.record_success(now)
        storable = {scope_id for scope_id in listed if scope_state.is_storable(scope_id)}
        changes = self._record(storable, seen, now)
        self.next_at = now + self._settings.length
        if changes is None:
            return
        refused = [scope_id for scope_id in listed if not scope_state.is_storable(scope_id)]
        if refused:
            LOG.warning(
                '%s scope ids are ignored: they are empty, longer than %s characters, or '
                'contain control characters or invalid text: %.300r',
                len(refused),
                scope_state.ID_LENGTH_MAX,
                refused[:3],
            )
        if any(changes):
            LOG.info('Scopes: %s listed, %s new, %s gone, %s back', len(listed), *changes)
        self._record_names(storable)

    def _record_names(self, scope_ids):
        """Store the names that the fetcher knows of the scopes it lists."""
        try:
            told = self._fetcher.get_names()
            names = {scope_id: str(told[scope_id]) for scope_id in scope_ids if scope_id in told}
        # A third-party fetcher may raise anything, and names are only shown.
        except Exception as exc:
            LOG.warning(
                'Fetcher %r does not tell the names of scopes, they are shown by their ids: %s',
                self._settings.identity.fetcher,
                errors.describe(exc),
            )
            return
        if names:
            self._database.write(
                lambda connection: scope_names.record(
                    connection, self._settings.identity.fetcher, names
                )
            )

    def _record(self, listed, seen, now):
        """Return what changed; None when another worker was faster."""
        settings = self._settings

        def change(connection):
            if not scope_state.claim_fetch(connection, settings.identity, seen=seen, now=now):
                return None
            return scope_state.record_seen(
                connection,
                settings.identity,
                listed,
                now=now,
                initial_mark=settings.initial_mark(now),
                # It may have had usage until it was found missing.
                final_mark=now - settings.length,
            )

        try:
            return self._database.write(change)
        except db_exception.DBDuplicateEntry:
            LOG.debug('Another worker recorded the scopes')
            return None
