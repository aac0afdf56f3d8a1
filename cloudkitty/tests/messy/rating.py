"""Rate what a source tells, with all parts of the service; the result is that of the REST API."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib import parse

import sqlalchemy as sa
import webob
import yaml
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, storage
from cloudkitty.api import app
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration, tables
from cloudkitty.processor import service
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import ini

HOUR = timedelta(hours=1)
LIMIT = 1000


def of_prometheus(
    folder: Path, url: str, metrics: Mapping | Path, scope_ids: Sequence[str], **collect: object
) -> 'Rating':
    """Return a service that rates what the server at *url* has.

    :param metrics: definitions by metric, or the file of them.
    :param collect: options of [collect].
    """
    if isinstance(metrics, Path):
        path = metrics
    else:
        path = folder / 'metrics.yml'
        path.write_text(yaml.safe_dump({'metrics': metrics}))
    return Rating(
        folder,
        {
            'collect': {
                'collector': 'prometheus',
                'scope_key': 'tenant_id',
                'metrics_conf': path,
                **collect,
            },
            'collector_prometheus': {'prometheus_url': url},
        },
        scope_ids,
    )


class Rating:
    """A service of its own, on SQLite.

    :param folder: for its files; empty.
    :param sections: configuration, options by section; fetcher, database and locks are added.
    """

    def __init__(self, folder: Path, sections: Mapping[str, Mapping], scope_ids: Sequence[str]):
        self.scope_ids = scope_ids
        path = ini.write(
            folder / 'cloudkitty.conf',
            {
                'DEFAULT': {'auth_strategy': 'noauth'},
                'database': {'connection': f'sqlite:///{folder}/cloudkitty.sqlite'},
                'fetcher': {'backend': 'source'},
                'fetcher_source': {'sources': ','.join(scope_ids)},
                'orchestrator': {'coordination_url': f'file://{folder}/locks', 'max_threads': 4},
                **sections,
            },
        )
        self.conf = configuration.load(['--config-file', str(path)], conf=cfg.ConfigOpts())

    def run(self, span: Period, *, now: datetime | None = None) -> None:
        """Rate all periods of *span* as a processor does.

        :param now: None: an hour after *span*.
        """
        with self.database() as database:
            migration.upgrade(database)
            database.write(lambda connection: self._record_scopes(connection, span))
        self.turn(now or span.end + HOUR)

    def turn(self, now: datetime) -> None:
        """Do what is due at *now*."""
        service.build(self.conf, 0, clock=lambda: now).worker.turn()

    def _record_scopes(self, connection, span):
        length = timedelta(seconds=self.conf.collect.period)
        identity = scope_state.Identity(
            self.conf.collect.scope_key, 'source', self.conf.collect.collector
        )
        now = datetime.now(UTC)
        scope_state.claim_fetch(connection, identity, seen=None, now=now)
        scope_state.record_seen(
            connection,
            identity,
            self.scope_ids,
            now=now,
            initial_mark=span.begin - length,
            final_mark=span.end - length,
        )
        connection.execute(
            sa.update(tables.scopes).values(final_mark=timeframe.to_naive(span.end - length))
        )

    @contextlib.contextmanager
    def database(self) -> Iterator[db.Database]:
        """Open the database; close it in the end."""
        database = db.Database(self.conf)
        try:
            yield database
        finally:
            database.engine.dispose()

    def _get(self, path, span=None, **parameters):
        bounds = {}
        if span is not None:
            bounds = {'begin': timeframe.render(span.begin), 'end': timeframe.render(span.end)}
        query = parse.urlencode({**bounds, 'limit': LIMIT, **parameters})
        for group, options in app.library_options(self.conf):
            self.conf.register_opts(options, group=group)
        store = storage.get_driver(self.conf)
        with self.database() as database:
            application = app.build(self.conf, database=database, storage=store)
            answer = webob.Request.blank(f'{path}?{query}').get_response(application)
        store.database.engine.dispose()
        return answer

    def summary(self, span: Period, *groupby: str) -> dict[tuple, Decimal]:
        """Return quantities of `GET /v2/summary`, by the values of *groupby*."""
        answer = self._get('/v2/summary', span, groupby=','.join(groupby))
        columns = answer.json['columns']
        names = ['begin' if name == 'time' else name for name in groupby]
        return {
            tuple(row[columns.index(name)] for name in names): Decimal(
                str(row[columns.index('qty')])
            )
            for row in answer.json['results']
        }

    def completeness(self, span: Period) -> dict:
        """Return the answer of `GET /v2/completeness`."""
        return self._get('/v2/completeness', span).json

    def scopes(self) -> dict[str, dict]:
        """Return the rows of `GET /v2/scope`, by scope id."""
        answer = self._get('/v2/scope').json
        return {row['scope_id']: row for row in answer['results']}

    def metadata(self, span: Period) -> dict[str, list[dict]]:
        """Return the metadata of each point of `GET /v2/dataframes`, by metric."""
        answer = self._get('/v2/dataframes', span)
        found: dict[str, list[dict]] = {}
        for frame in answer.json['dataframes']:
            for metric, points in frame['usage'].items():
                found.setdefault(metric, []).extend(point['metadata'] for point in points)
        return found
