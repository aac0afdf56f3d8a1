"""Report files in an object store: against a real server of S3's protocol."""

import urllib.request
from pathlib import Path

import pytest

from cloudkitty import errors
from cloudkitty.backend import get_backend
from cloudkitty.core.timeframe import month_at
from cloudkitty.tests import peers, services
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World
from cloudkitty.write_orchestrator import UNCHANGED, WRITTEN, WriteOrchestrator
from cloudkitty.writer.csv_rows import CSVWriter
from cloudkitty.writer.osrf import OSRFWriter

BACKEND = 'cloudkitty.backend.object.ObjectBackend'
PLACE = 's3://bills/cloud'
SPAN = month_at(OCTOBER)


class Moto(services.Daemon):
    """moto, which keeps objects in memory and answers as S3 does."""

    program = 'moto_server'
    ready_path = '/moto-api/'

    def command(self):
        program = peers.environment('moto') / self.program
        return [program, '-H', '127.0.0.1', '-p', str(self.port)]


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    made = Moto(tmp_path_factory.mktemp('moto'))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def store(server, monkeypatch):
    for name, value in {
        'AWS_ENDPOINT': f'http://{server.address}',
        'AWS_REGION': 'us-east-1',
        'AWS_ACCESS_KEY_ID': 'key',
        'AWS_SECRET_ACCESS_KEY': 'secret',
    }.items():
        monkeypatch.setenv(name, value)
    for path, method in (('moto-api/reset', 'POST'), ('bills', 'PUT')):
        asked = urllib.request.Request(f'http://{server.address}/{path}', method=method)
        urllib.request.urlopen(asked, timeout=30).close()
    return get_backend(BACKEND, PLACE)


def test_objects_are_replaced_as_a_whole(store):
    """And are read, measured and removed."""
    assert (store.size('a/b.csv'), store.digest('a/b.csv')) == (None, None)
    for content in (b'x' * 3_000_000, b'short', b''):
        with store.replace('a/b.csv') as out:
            out.write(content)
        with store.open('a/b.csv') as file:
            assert file.read() == content
        assert store.size('a/b.csv') == len(content)
    with pytest.raises(RuntimeError), store.replace('a/b.csv') as out:
        out.write(b'half')
        raise RuntimeError
    assert store.size('a/b.csv') == 0
    store.remove('a/b.csv')
    store.remove('a/b.csv')
    with pytest.raises(errors.NotFound), store.open('a/b.csv'):
        pass
    with pytest.raises(errors.InvalidInput):
        store.size('../b.csv')


def test_files_are_those_of_a_folder(store, conf, database, tmp_path):
    """Byte by byte, appended ones too."""
    conf.set_override('pipeline', [], 'output')
    world = World(conf)
    world.store([('a', OCTOBER, 'cpu', '2', '0.123', {'flavor_name': 'm1'})])
    writers = {'osrf': OSRFWriter(), 'csv': CSVWriter()}

    def run(backend, place):
        conf.set_override('backend', backend, 'output')
        conf.set_override('basepath', place, 'output')
        made = WriteOrchestrator(conf, database, lambda: world.now)
        made.use(writers)
        return [outcome.state for outcome in made.generate('a', SPAN)]

    assert run(BACKEND, PLACE) == [WRITTEN, WRITTEN]
    world.push('a', OCTOBER + HOUR, '1', '2')
    assert run(BACKEND, PLACE) == [WRITTEN, WRITTEN]
    assert run(BACKEND, PLACE) == [UNCHANGED, UNCHANGED]
    run('cloudkitty.backend.file.FileBackend', str(tmp_path / 'files'))
    for path in Path(tmp_path / 'files').iterdir():
        with store.open(path.name) as file:
            assert file.read() == path.read_bytes()


def test_a_bucket_that_is_not_there_is_one_line(store):
    made = get_backend(BACKEND, 's3://nobody/x')
    with pytest.raises(errors.ConfigurationError, match=r'\[output\]basepath: s3://nobody/x: '):
        with made.replace('a.csv') as out:
            out.write(b'x')
    with pytest.raises(errors.ConfigurationError, match=r'\[output\]basepath'):
        get_backend(BACKEND, 'no address')
