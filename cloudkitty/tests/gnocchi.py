"""A real Gnocchi on loopback, and a way to give it a past."""

import contextlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import orjson
import requests
import sqlalchemy as sa

from cloudkitty.tests import keystone, peers, services

PROCESSED_S = 120
HEADERS = {'Authorization': 'basic YWRtaW46', 'Content-Type': 'application/json'}
GRANULARITIES_S = (300, 3600)
METHODS = ('mean', 'min', 'max', 'sum', 'count', 'last', 'first', 'median', 'rate:mean')
CONFIGURATION = """
[DEFAULT]
coordination_url = file://{folder}/coordination
parallel_operations = 1
[api]
operation_timeout = 60
[indexer]
url = {database}
[storage]
driver = file
file_basepath = {folder}/storage
[metricd]
workers = 1
metric_processing_delay = 1
metric_cleanup_delay = 1
metric_reporting_delay = -1
"""


class Revision(NamedTuple):
    """What a resource was from *begin* on, until the next revision.

    :ivar begin: aware datetime, when Gnocchi got to know it.
    """

    begin: datetime
    attributes: Mapping[str, object]


class Resource(NamedTuple):
    """A resource with its past.

    :ivar revisions: oldest first; at least one.
    :ivar measures: (unix time, number) by metric name.
    """

    id: str
    type: str
    revisions: Sequence[Revision]
    measures: Mapping[str, Iterable[tuple[float, float]]]
    started_at: datetime
    ended_at: datetime | None = None
    policy: str = 'all'


def resource_id(*names: str) -> str:
    """Return the same id for the same names."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, '\0'.join(names)))


def texts(*names: str) -> dict[str, dict]:
    """Return attributes of a resource type that hold text."""
    return {name: {'type': 'string', 'max_length': 255, 'required': False} for name in names}


class _Api(peers.WsgiPeer):
    """An API over the data in *folder*."""

    application = 'gnocchi.rest.wsgi:application'

    def __init__(self, folder: Path, auth_mode: str):
        super().__init__(folder, peers.environment('gnocchi'))
        self.auth_mode = auth_mode
        self.program = f'gnocchi-{auth_mode}'
        self.log_path = self.folder / f'{self.program}.log'

    def environment(self):
        # Its configuration, also that of the middleware for tokens, is looked for in the home.
        return {
            **super().environment(),
            'HOME': str(self.folder),
            'OS_API__AUTH_MODE': self.auth_mode,
        }


class _Metricd(services.Daemon):
    """What makes aggregates of measures."""

    program = 'gnocchi-metricd'

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._bin = peers.environment('gnocchi')

    def command(self):
        return [
            '/usr/bin/env',
            f'HOME={self.folder}',
            'PYTHONWARNINGS=ignore',
            self._bin / self.program,
        ]

    def is_ready(self):
        return self.is_running


class Gnocchi(_Api):
    """Gnocchi with basic authentication, on a database of its own.

    :param database_url: server to make the database on, see tests/databases.py.
    """

    def __init__(self, folder: Path, database_url: str):
        super().__init__(folder, 'basic')
        self._server = sa.make_url(database_url)
        self._name = f'ck_gnocchi_{uuid.uuid4().hex[:12]}'
        self._metricd = _Metricd(folder)

    def prepare(self):
        settings = self.folder / '.gnocchi' / 'gnocchi.conf'
        if settings.exists():
            return
        settings.parent.mkdir(parents=True)
        self._run_as_admin(f'CREATE DATABASE {self._name}')
        settings.write_text(CONFIGURATION.format(folder=self.folder, database=self._database))
        self.run('gnocchi-upgrade', '--sacks-number', '1')
        self._metricd.start()

    @property
    def _database(self):
        url = self._server.set(database=self._name)
        return url.render_as_string(hide_password=False)

    def _run_as_admin(self, statement):
        is_postgresql = self._server.get_backend_name() == 'postgresql'
        engine = sa.create_engine(
            self._server.set(database='postgres' if is_postgresql else None),
            isolation_level='AUTOCOMMIT',
            poolclass=sa.NullPool,
        )
        with engine.connect() as connection:
            connection.execute(sa.text(statement))

    def __exit__(self, *exc_info):
        self._metricd.stop()
        super().__exit__(*exc_info)
        force = ' WITH (FORCE)' if self._server.get_backend_name() == 'postgresql' else ''
        self._run_as_admin(f'DROP DATABASE {self._name}{force}')

    @contextlib.contextmanager
    def with_tokens(self, peer: keystone.Keystone) -> Iterator[_Api]:
        """Yield a second API over the same data, which asks *peer* about tokens."""
        settings = self.folder / '.gnocchi' / 'gnocchi.conf'
        before = settings.read_text()
        settings.write_text(before + peer.auth_token_options)
        with _Api(self.folder, 'keystone') as api:
            yield api
        settings.write_text(before)

    def ask(self, method: str, path: str, body=None):
        """Return what the API answers to an administrator."""
        answer = requests.request(
            method,
            f'{self.url}/v1/{path}',
            headers=HEADERS,
            timeout=60,
            data=None if body is None else orjson.dumps(body),
        )
        if not answer.ok:
            raise services.ServiceFailed(f'{method} {path}: {answer.text[:1000]}')
        return answer.json() if answer.content else None

    def define(
        self,
        types: Mapping[str, Mapping[str, dict]],
        *,
        granularities_s: Sequence[int] = GRANULARITIES_S,
    ) -> None:
        """Make resource types, {name: {attribute: its type}}, and the archive policy."""
        self.ask(
            'POST',
            'archive_policy',
            {
                'name': 'all',
                'back_window': 100_000,
                'aggregation_methods': METHODS,
                'definition': [
                    {'granularity': f'{length_s} s', 'points': 1_000_000}
                    for length_s in granularities_s
                ],
            },
        )
        for name, attributes in types.items():
            self.ask('POST', 'resource_type', {'name': name, 'attributes': attributes})

    def load(self, resources: Iterable[Resource]) -> None:
        """Make *resources* with their past and their measures; return when they are usable."""
        engine = sa.create_engine(self._database, poolclass=sa.NullPool)
        measures = {}
        for one in resources:
            self._make(one)
            measures[one.id] = {
                metric: [{'timestamp': instant, 'value': value} for instant, value in points]
                for metric, points in one.measures.items()
                if points
            }
        with engine.begin() as connection:
            for one in resources:
                _date_revisions(connection, one)
        self.post_measures(measures)

    def _make(self, one):
        first, *later = one.revisions
        self.ask(
            'POST',
            f'resource/{one.type}',
            {
                **first.attributes,
                'id': one.id,
                'started_at': one.started_at.isoformat(),
                'metrics': {name: {'archive_policy_name': one.policy} for name in one.measures},
            },
        )
        for revision in later:
            self.ask('PATCH', f'resource/{one.type}/{one.id}', revision.attributes)
        if one.ended_at:
            self.ask(
                'PATCH', f'resource/{one.type}/{one.id}', {'ended_at': one.ended_at.isoformat()}
            )

    def post_measures(self, measures: Mapping[str, Mapping[str, list]]) -> None:
        """Send measures by resource and metric; return when they are aggregated."""
        self.ask('POST', 'batch/resources/metrics/measures', measures)
        services.wait_until(
            self._is_idle, deadline_s=PROCESSED_S, what='aggregation by gnocchi-metricd'
        )

    def _is_idle(self):
        # It fails until gnocchi-metricd has registered itself, some seconds after its start.
        with contextlib.suppress(services.ServiceFailed):
            status = self.ask('GET', 'status?details=false')
            return not status['storage']['summary']['measures']
        return False


def _date_revisions(connection, one):
    """Write into the indexer since when each revision holds: the API takes the time of the day.

    The oldest revision has the smallest number in the history, and the newest is the resource.
    """
    begins = [revision.begin for revision in one.revisions]
    if one.ended_at:
        begins.append(one.ended_at)
    numbers = (
        connection.execute(
            sa.text(
                'SELECT revision FROM resource_history WHERE CAST(id AS CHAR(36)) = :id '
                'ORDER BY revision'
            ),
            {'id': one.id},
        )
        .scalars()
        .all()
    )
    for number, begin, end in zip(numbers, begins[:-1], begins[1:], strict=True):
        connection.execute(
            sa.text(
                'UPDATE resource_history SET revision_start = :begin, revision_end = :end '
                'WHERE revision = :number'
            ),
            {'begin': _naive(begin), 'end': _naive(end), 'number': number},
        )
    connection.execute(
        sa.text('UPDATE resource SET revision_start = :begin WHERE CAST(id AS CHAR(36)) = :id'),
        {'begin': _naive(begins[-1]), 'id': one.id},
    )


def _naive(instant):
    return instant.replace(tzinfo=None)


def of_families(
    families: Iterable[services.Family], begin: datetime, *, resource_type: str
) -> list[Resource]:
    """Return a resource of each series; values that are no finite numbers are left out."""
    found = []
    for family in families:
        for labels, samples in family.series:
            points = [
                (instant, value)
                for instant, value in samples
                if re.fullmatch(r'[\d.]+', str(value))
            ]
            found.append(
                Resource(
                    resource_id(family.name, *labels.values()),
                    resource_type,
                    [Revision(begin, dict(labels))],
                    {family.name: points},
                    begin,
                )
            )
    return found


def basic_auth(conf, driver_class, url: str, **options) -> None:
    """Configure a driver to ask the Gnocchi at *url*."""
    conf.register_opts(driver_class.OPTS, driver_class.GROUP)
    for name, value in {
        'gnocchi_auth_type': 'basic',
        'gnocchi_user': 'admin',
        'gnocchi_endpoint': url,
        **options,
    }.items():
        conf.set_override(name, value, driver_class.GROUP)
