"""Each source fails in the middle of a cycle, and heals: nothing is lost, and the log is short."""

import csv
import logging

import pytest
import yaml

from cloudkitty.tests import faults, history, ini
from cloudkitty.tests.fake_ceilometer import Ceilometer
from cloudkitty.tests.fake_monasca import Monasca
from cloudkitty.tests.functional import worker_run

BEFORE = history.BEGIN + 3 * worker_run.HOUR
# When the source fails; there are hours to rate.
CYCLE = history.BEGIN + 6 * worker_run.HOUR
# Attempts that fail before it heals.
FAILURES = 2
METRICS = ('test_vcpus', 'test_volume_gib')
REGION_OF_FAULTS = 'outage'
BY_RESOURCE = {'resource_key': 'resource'}
LOGIN = {'auth_type': 'password', 'user_domain_id': 'default'}
FAULTS = {
    'killed': faults.reset,
    'hung': faults.hang,
    'garbage': faults.text('<html>It works!</html>'),
    'expired credentials': faults.text('{"error": "expired"}', status=401),
}


class Source:
    """What a cycle needs of a source, and how to break it.

    :ivar metrics: changes of each definition.
    """

    def __init__(self, collector, options, metrics=None):
        self.options = {'collect': {'collector': collector}, **options}
        self.metrics = metrics or {}


def write_conf(folder, database, options, metrics):
    """Return a configuration; *options* win."""
    (folder / 'metrics.yml').write_text(
        yaml.safe_dump(
            {
                'metrics': {
                    name: {**worker_run.METRICS[name], **metrics.get(name, metrics.get('', {}))}
                    for name in METRICS
                }
            }
        )
    )
    sections = {
        'database': {'connection': f'sqlite:///{database.engine.url.database}'},
        'fetcher': {'backend': 'source'},
        'fetcher_source': {'sources': ','.join(worker_run.SCOPES)},
        'collect': {'metrics_conf': folder / 'metrics.yml', 'wait_periods': 1},
        'orchestrator': {
            'coordination_url': f'file://{folder}/locks',
            'max_workers': 1,
            'max_threads': 2,
            'batch_periods': 2,
        },
    }
    for name, section in options.items():
        sections[name] = {**sections.get(name, {}), **section}
    return ini.load(folder / 'cloudkitty.conf', sections)


class Run:
    """A worker, and the time, which passes only while it sleeps."""

    def __init__(self, conf, database):
        worker_run.clear(database)
        self.conf = conf
        self.now = BEFORE
        self._worker = worker_run.build(conf, lambda: self.now).worker

    def go(self, until, turns_max=40):
        """Work up to *until*."""
        self.now = max(self.now, until)
        for _ in range(turns_max):
            wake_at = self._worker.turn()
            if wake_at >= until + worker_run.HOUR / 2:
                return
            self.now = max(self.now, wake_at)
        raise AssertionError('it does not come to rest')

    def turn(self, at):
        """Make one turn at *at* or later; return when it wants the next."""
        self.now = max(self.now, at)
        return self._worker.turn()

    @property
    def results(self):
        return worker_run.results(self.conf)


UNKEPT = '2 scope ids are ignored: they are empty, longer than 256 characters, or contain control'


def cycle(run, *, break_it=lambda: None, heal=lambda: None, failures=0):
    """Rate some hours, and the rest while the source fails *failures* times."""
    run.go(BEFORE)
    break_it()
    wake_at = CYCLE
    for _ in range(failures):
        wake_at = run.turn(wake_at)
    heal()
    run.go(wake_at)
    return run.results


def told(caplog):
    """Return the log of what went wrong, and of what works again."""
    lines = [record for record in caplog.records if record.name.startswith('cloudkitty.')]
    bad = [record.getMessage() for record in lines if record.levelno >= logging.WARNING]
    good = [
        record.getMessage()
        for record in lines
        if record.levelno == logging.INFO
        and (' works again' in record.getMessage() or 'rated again' in record.getMessage())
    ]
    return bad, good


def check(caplog, expected, found, refused=()):
    """Everything is stored, and the log has one line when it began and one when it ended.

    :param refused: lines about scopes that no fetch keeps.
    """
    assert found == expected
    assert len(expected['points']) > 10
    bad, good = told(caplog)
    bad = [line for line in bad if line not in refused]
    assert (len(bad), len(good)) == (1, 1), (bad, good)


# Sources that are asked over HTTP: each gets the URL of the front.


def prometheus(request, front, timeout_s):
    return Source(
        'prometheus', {'collector_prometheus': {'prometheus_url': front.url, 'timeout': timeout_s}}
    )


def gnocchi(request, front, timeout_s):
    return Source(
        'gnocchi',
        {
            'collector_gnocchi': {
                'gnocchi_auth_type': 'basic',
                'gnocchi_user': 'admin',
                'timeout': timeout_s,
                'gnocchi_endpoint': f'http://{front.address}',
            }
        },
        {'': {'extra_args': {'resource_type': 'test', **BY_RESOURCE}}},
    )


def aetos(request, front, timeout_s):
    keystone = request.getfixturevalue('keystone')
    keystone.announce(
        f'http://{front.address}', name='aetos', kind='metric-storage', region=REGION_OF_FAULTS
    )
    return Source(
        'aetos',
        {
            'collector_aetos': {
                **LOGIN,
                'timeout': timeout_s,
                'auth_url': f'{keystone.url}/v3',
                'username': 'cloudkitty',
                'password': 'cloudkitty',
                'project_name': 'service',
                'project_domain_id': 'default',
                'region_name': REGION_OF_FAULTS,
            }
        },
    )


def monasca(request, front, timeout_s):
    return Source(
        'monasca',
        {
            'collector_monasca': {
                'auth_type': 'none',
                'endpoint': f'http://{front.address}',
                'timeout': timeout_s,
            }
        },
        {'': {'extra_args': BY_RESOURCE}},
    )


def ceilometer(request, front, timeout_s):
    return Source(
        'ceilometer',
        {
            'ceilometer_collector': {
                'auth_type': 'none',
                'endpoint': f'http://{front.address}',
                'timeout': timeout_s,
            }
        },
        {'': {'extra_args': BY_RESOURCE}},
    )


def meta(request, front, timeout_s):
    """One of two collectors fails; each has a metric that the other has not."""
    healthy = request.getfixturevalue('prometheus')
    return Source(
        'meta',
        {
            'collector_meta': {'collectors': 'east, west'},
            'collector_east': {
                'driver': 'prometheus',
                'prometheus_url': front.url,
                'timeout': timeout_s,
            },
            'collector_west': {'driver': 'prometheus', 'prometheus_url': healthy.url},
        },
        {'test_vcpus': {'collector': 'east'}, 'test_volume_gib': {'collector': 'west'}},
    )


def behind(name):
    """Return what a front of the fixture *name* answers."""

    def answer(request):
        server = request.getfixturevalue(name)
        return (faults.pass_on if name == 'prometheus' else faults.forward)(server.url)

    return answer


SERVERS = {
    'prometheus': (prometheus, behind('prometheus'), ()),
    'meta': (meta, behind('prometheus'), ()),
    'gnocchi': (gnocchi, behind('gnocchi'), pytest.mark.xdist_group('gnocchi')),
    'aetos': (aetos, behind('aetos'), pytest.mark.xdist_group('keystone')),
    'monasca': (monasca, lambda request: Monasca(), ()),
    'ceilometer': (ceilometer, lambda request: Ceilometer(), ()),
}


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=marks) for name, (_, _, marks) in SERVERS.items()]
)
@pytest.mark.parametrize('fault', FAULTS)
def test_a_server_fails_in_the_middle(request, caplog, tmp_path, database, name, fault):
    """After it answered the first question of the cycle."""
    caplog.set_level(logging.INFO, 'cloudkitty')
    build, whole, _ = SERVERS[name]
    whole = whole(request)
    with faults.FaultyServer(whole) as front:
        source = build(request, front, 1 if fault == 'hung' else 20)
        conf = write_conf(tmp_path, database, source.options, source.metrics)
        expected = cycle(Run(conf, database))
        assert told(caplog) == ([], [])

        def break_it():
            front.answer = faults.in_turn(whole, FAULTS[fault])

        def heal():
            front.answer = whole

        # Waiting for one that is hung takes its time.
        found = cycle(
            Run(conf, database),
            break_it=break_it,
            heal=heal,
            failures=1 if fault == 'hung' else FAILURES,
        )

    check(caplog, expected, found)


def removed(path):
    path.rename(path.with_suffix('.away'))


def garbled(path):
    path.write_bytes(b'\x00\xff no usage at all\n')


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize('damage', [removed, garbled, cut])
def test_a_file_fails_in_the_middle(caplog, tmp_path, database, damage):
    caplog.set_level(logging.INFO, 'cloudkitty')
    path, copy = tmp_path / 'usage.csv', tmp_path / 'whole'
    rows = [row for row in history.usage() if row['metric'] in METRICS]
    _write(path, rows)
    copy.write_bytes(path.read_bytes())
    conf = write_conf(
        tmp_path,
        database,
        {'collect': {'collector': 'file'}, 'collector_file': {'files': path}},
        {'': {'extra_args': {'aggregation_method': 'max'}}},
    )
    expected = cycle(Run(conf, database))
    assert told(caplog) == ([], [])

    found = cycle(
        Run(conf, database),
        break_it=lambda: damage(path),
        heal=lambda: path.write_bytes(copy.read_bytes()),
        failures=FAILURES,
    )

    check(caplog, expected, found)


def _write(path, rows):
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


# Fetchers: each gets the URL of the front; all but the list is asked elsewhere.


def fetcher_keystone(request, front, timeout_s):
    """Every project; those that the collector knows are two of them."""
    keystone = request.getfixturevalue('keystone')
    keystone.grant('reader', user='rater')
    return {
        'fetcher': {'backend': 'keystone'},
        'fetcher_keystone': {
            **LOGIN,
            'auth_url': f'http://{front.address}/v3',
            'username': 'rater',
            'password': 'rater',
            'system_scope': 'all',
            'ignore_rating_role': True,
            'timeout': timeout_s,
        },
    }


def fetcher_gnocchi(request, front, timeout_s):
    return {
        'fetcher': {'backend': 'gnocchi'},
        'fetcher_gnocchi': {
            'gnocchi_auth_type': 'basic',
            'gnocchi_user': 'admin',
            'timeout': timeout_s,
            'gnocchi_endpoint': f'http://{front.address}',
            'resource_types': 'test',
        },
    }


def fetcher_prometheus(request, front, timeout_s):
    return {
        'fetcher': {'backend': 'prometheus'},
        'fetcher_prometheus': {'prometheus_url': front.url, 'metric': 'up', 'timeout': timeout_s},
    }


def fetcher_monasca(request, front, timeout_s):
    return {
        'fetcher': {'backend': 'monasca'},
        'fetcher_monasca': {
            'auth_type': 'none',
            'endpoint': f'http://{front.address}',
            'timeout': timeout_s,
        },
    }


def fetcher_meta(request, front, timeout_s):
    """One of two lists fails."""
    return {
        'fetcher': {'backend': 'meta'},
        'fetcher_meta': {'fetchers': 'source, live'},
        'fetcher_source': {'sources': worker_run.SCOPES[0]},
        'fetcher_live': {
            'driver': 'prometheus',
            'prometheus_url': front.url,
            'metric': 'up',
            'timeout': timeout_s,
        },
    }


def live(request):
    """Return the answer of a Prometheus of today; the real one is of the past."""
    return faults.vector(*(({'project_id': name}, '1') for name in worker_run.SCOPES))


FETCHERS = {
    'keystone': (fetcher_keystone, behind('keystone'), pytest.mark.xdist_group('keystone')),
    'gnocchi': (fetcher_gnocchi, behind('gnocchi'), pytest.mark.xdist_group('gnocchi')),
    'prometheus': (fetcher_prometheus, live, ()),
    'monasca': (fetcher_monasca, lambda request: Monasca(), ()),
    'meta': (fetcher_meta, live, ()),
}


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=marks) for name, (_, _, marks) in FETCHERS.items()]
)
@pytest.mark.parametrize('fault', FAULTS)
def test_a_fetcher_fails_in_the_middle(request, caplog, tmp_path, database, name, fault):
    """The scopes that are known go on: none is lost, none seems to be gone."""
    caplog.set_level(logging.INFO, 'cloudkitty')
    build, whole, _ = FETCHERS[name]
    whole = whole(request)
    with faults.FaultyServer(whole) as front:
        options = build(request, front, 1 if fault == 'hung' else 20)
        _write(
            tmp_path / 'usage.csv',
            [
                {
                    'metric': 'test_vcpus',
                    'project_id': scope_id,
                    'quantity': hour + 1,
                    'resource': 'r',
                    'begin': period.begin.isoformat(),
                    'end': period.end.isoformat(),
                }
                for scope_id in _scopes_of(request, name)
                for hour, period in enumerate(history.PERIODS)
            ],
        )
        conf = write_conf(
            tmp_path,
            database,
            {
                **options,
                'collect': {'collector': 'file'},
                'collector_file': {'files': tmp_path / 'usage.csv'},
            },
            {},
        )
        expected = cycle(Run(conf, database))
        refused, good = told(caplog)
        # These have projects of any name, those with control characters too.
        assert (len(set(refused)), good) == (1 if name in ('gnocchi', 'monasca') else 0, [])
        assert all(UNKEPT in line for line in refused)
        caplog.clear()

        def break_it():
            front.answer = FAULTS[fault]

        def heal():
            front.answer = whole

        found = cycle(
            Run(conf, database),
            break_it=break_it,
            heal=heal,
            failures=1 if fault == 'hung' else FAILURES,
        )

    check(caplog, expected, found, refused)


def _scopes_of(request, name):
    if name != 'keystone':
        return worker_run.SCOPES
    keystone = request.getfixturevalue('keystone')
    return [keystone.project_id(project) for project in ('alpha', 'beta')]
