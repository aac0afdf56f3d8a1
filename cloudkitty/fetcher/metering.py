"""Scopes with usage in the tables of embedded metering."""

from datetime import UTC, datetime, timedelta

from oslo_config import cfg
from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc

from cloudkitty import db, errors, fetcher
from cloudkitty.core.metering import facts
from cloudkitty.usage import reading


class MeteringFetcher(fetcher.BaseFetcher):
    """Lists the scopes with recent usage."""

    name = 'metering'
    GROUP = 'fetcher_metering'
    OPTS = [
        cfg.IntOpt(
            'since',
            default=35,
            min=1,
            help='Days after which scopes without usage are no longer listed.',
        )
    ]

    def __init__(self, conf, **arguments):
        super().__init__(conf, **arguments)
        # Opened on first use in the fetching process, never before a fork.
        self._opened: db.Database | None = None

    def get_tenants(self):
        since = datetime.now(UTC) - timedelta(days=self.options.since)
        try:
            if self._opened is None:
                self._opened = db.Database(self.conf)
            with self._opened.reader() as connection:
                return reading.scopes_since(connection, facts.to_us(since))
        except (db_exception.DBError, sa_exc.SQLAlchemyError, errors.DatabaseUnavailable) as exc:
            raise errors.FetcherError(fetcher=self.name, reason=errors.describe(exc)) from exc
