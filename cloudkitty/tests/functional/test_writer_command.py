"""cloudkitty-writer: report files of what is rated."""

import csv
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import orjson
import pytest

from cloudkitty import errors, write_orchestrator
from cloudkitty.backend import get_backend
from cloudkitty.core.timeframe import month_at
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment
from cloudkitty.write_orchestrator import FAILED, UNCHANGED, WRITTEN, WriteOrchestrator
from cloudkitty.writer.csv_rows import CSVWriter
from cloudkitty.writer.osrf import OSRFWriter

RUN = (sys.executable, '-c', 'from cloudkitty.cli.writer import main; main()')
SPAN = month_at(OCTOBER)
REWRITES = int(os.environ.get('CLOUDKITTY_TEST_REWRITES', '100'))
LONG = '0.1234567890123456789012345678'


@pytest.fixture
def world(conf, database, tmp_path):
    made = World(conf)
    conf.set_override('basepath', str(tmp_path / 'files'), 'output')
    made.store(
        [
            ('a', OCTOBER, 'compute', '2', LONG, {'name': '=1+1', 'flavor_name': 'm1'}),
            ('a', OCTOBER, 'volume', '3', '0.5', {'resource_id': 'v"1,'}),
            ('a', OCTOBER + HOUR, 'compute', '0', '1', {}),
            ('b', OCTOBER, 'compute', '1', '7', {}),
            ('a', moment('2026-11-01'), 'compute', '1', '9', {}),
        ]
    )
    return made


@pytest.fixture
def orchestrator(world):
    # The entry points are those of the installed package.
    world.conf.set_override('pipeline', [], 'output')
    made = WriteOrchestrator(world.conf, world.database)
    made.use({'osrf': OSRFWriter(), 'csv': CSVWriter()})
    return made


def states(orchestrator, scope='a', span=SPAN):
    return {outcome.name: outcome.state for outcome in orchestrator.generate(scope, span)}


def content(world, name):
    with open(f'{world.conf.output.basepath}/{name}', 'rb') as file:
        return file.read()


def test_osrf_has_a_period_each_and_the_total(world, orchestrator):
    """Numbers have all their digits."""
    list(orchestrator.generate('a', SPAN))
    text = content(world, 'a-osrf-2026-10.json')
    *periods, total = orjson.loads(text)

    assert [one['period']['begin'] for one in periods] == [
        '2026-10-01T00:00:00+00:00',
        '2026-10-01T01:00:00+00:00',
    ]
    [volume] = periods[0]['usage']['volume']
    assert volume['vol'] == {'qty': 3.0, 'unit': 'unit'}
    assert (volume['desc']['resource_id'], volume['rating']) == ('v"1,', {'price': 0.5})
    assert LONG.encode() in text
    assert b'"total":1.6234567890123456789012345678' in text
    assert set(total) == {'total'}


def test_csv_has_the_columns_of_former_releases(world, orchestrator):
    """The costs add up to the total; text that a spreadsheet would compute does not."""
    list(orchestrator.generate('a', SPAN))
    header, *rows = csv.reader(content(world, 'a-2026-10.csv').decode().splitlines())
    points, totals = rows[:-3], rows[-3:]
    named = [dict(zip(header, row, strict=True)) for row in points]

    assert header[:3] == ['UsageStart', 'UsageEnd', 'ResourceId']
    assert named[0] | {'ItemName': "'=1+1", 'Operation': 'RunInstances'} == named[0]
    assert named[0]['UsageStart'] == '2026/10/01 00:00:00'
    assert [one['RateValue'] for one in named][1:] == ['0.1666666666666666666666666667', '1']
    whole = Decimal('1.6234567890123456789012345678')
    assert sum(Fraction(one['Cost']) for one in named) == whole
    assert [row[3] for row in totals] == ['InvoiceTotal', 'AccountTotal', 'StatementTotal']
    assert {row[1] for row in totals} == {'a'}
    assert {Decimal(row[8]) for row in totals} == {whole}


def test_only_what_changed_is_written_again(world, orchestrator):
    """And an empty folder is filled with the same bytes."""
    names = {'a-osrf-2026-10.json': WRITTEN, 'a-2026-10.csv': WRITTEN}
    assert states(orchestrator) == names
    before = {name: content(world, name) for name in names}
    assert set(states(orchestrator).values()) == {UNCHANGED}
    assert set(states(orchestrator, 'b').values()) == {WRITTEN}

    world.store([('a', OCTOBER, 'compute', '2', '8', {'new': 'key'})])
    assert set(states(orchestrator).values()) == {WRITTEN}
    assert set(states(orchestrator, 'b').values()) == {UNCHANGED}
    for name in names:
        os.unlink(f'{world.conf.output.basepath}/{name}')
    world.store(
        [
            ('a', OCTOBER, 'compute', '2', LONG, {'name': '=1+1', 'flavor_name': 'm1'}),
            ('a', OCTOBER, 'volume', '3', '0.5', {'resource_id': 'v"1,'}),
        ]
    )
    assert states(orchestrator) == names
    assert {name: content(world, name) for name in names} == before


def test_a_writer_that_fails_fails_alone(world, orchestrator):
    """Its former file stays."""
    list(orchestrator.generate('a', SPAN))
    before = content(world, 'a-osrf-2026-10.json')

    class Broken(OSRFWriter):
        version = 2

        def body(self, state=None):
            return None

        def write(self, report, out):
            out.write(b'[')
            yield 1
            raise RuntimeError('no')

    orchestrator.writers = {'osrf': Broken(), 'csv': CSVWriter()}
    outcomes = {one.name: one for one in orchestrator.generate('a', SPAN)}

    assert outcomes['a-osrf-2026-10.json'][1:] == (FAILED, 'RuntimeError: no')
    assert outcomes['a-2026-10.csv'].state == UNCHANGED
    assert content(world, 'a-osrf-2026-10.json') == before
    assert sorted(os.listdir(world.conf.output.basepath)) == sorted(outcomes)


@pytest.mark.parametrize('scope', ['../x', 'a/b', '..', '.hidden', 256 * '漢', 'a\x00b', '-x'])
def test_a_scope_cannot_leave_the_folder(tmp_path, scope):
    name = write_orchestrator.file_name(scope, 'osrf', OCTOBER) + '.json'
    made = get_backend('cloudkitty.backend.file.FileBackend', str(tmp_path / 'files'))
    with made.replace(name) as out:
        out.write(b'x')

    assert (tmp_path / 'files' / name).read_bytes() == b'x'
    assert len(name.encode()) < 256
    assert [path.name for path in tmp_path.iterdir()] == ['files']
    assert (tmp_path / 'files' / name).stat().st_mode & 0o777 == 0o640
    with pytest.raises(errors.InvalidInput), made.replace('../x'):
        pass


def test_names_of_scopes_differ():
    """Long ones too."""
    long = 300 * 'x'
    names = {
        write_orchestrator.file_name(scope, '', OCTOBER)
        for scope in ('a/b', 'a%2Fb', 'a', 'A', long, long + 'y')
    }
    assert len(names) == 6


def test_a_reader_never_sees_a_part_of_a_file(tmp_path):
    """Whatever it is rewritten, and whoever is killed meanwhile."""
    made = get_backend('cloudkitty.backend.file.FileBackend', str(tmp_path))
    contents = {bytes([number]) * 200_000 for number in range(2)}
    seen, done = set(), threading.Event()

    def read():
        while not done.wait(0.01):
            if (tmp_path / 'a.csv').exists():
                seen.add((tmp_path / 'a.csv').read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(REWRITES):
        if number % 20:
            with made.replace('a.csv') as out:
                out.write(bytes([number % 2]) * 200_000)
            continue
        child = os.fork()
        if not child:
            with made.replace('a.csv') as out:
                out.write(b'half')
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    done.set()
    reader.join()

    assert seen == contents


def test_what_a_killed_process_left_is_removed(tmp_path):
    """A day later; a file that is being written is left alone."""
    left, written = tmp_path / '.part-old', tmp_path / '.part-new'
    for path in (left, written):
        path.write_bytes(b'half')
    os.utime(left, (1, 1))

    with get_backend('cloudkitty.backend.file.FileBackend', str(tmp_path)).replace('a.csv'):
        assert not left.exists()

    assert sorted(path.name for path in tmp_path.iterdir()) == ['.part-new', 'a.csv']


def test_a_backend_that_cannot_be_loaded_is_one_line():
    with pytest.raises(errors.DriverLoadError, match=r'\[output\]backend'):
        get_backend('cloudkitty.backend.tape.Tape', '/nowhere')


def test_the_months_of_a_span():
    """From the month of its begin on; the last one ends with it."""
    found = write_orchestrator.months(OCTOBER + timedelta(days=5), moment('2026-11-03'))

    assert [(span.begin, span.end) for span in found] == [
        (OCTOBER, moment('2026-11-01')),
        (moment('2026-11-01'), moment('2026-11-03')),
    ]


def test_the_command(world, tmp_path):
    """As of former releases: generate, and tenants_list."""
    options = tmp_path / 'cloudkitty.conf'
    options.write_text(
        f'[database]\nconnection = {world.conf.database.connection}\n'
        f'[output]\nbasepath = {tmp_path}/files\npipeline = jsonl\n'
    )

    def run(*arguments):
        return subprocess.run(
            [*RUN, '--config-file', str(options), *arguments], capture_output=True, text=True
        )

    span = ('--begin', '2026-10-01', '--end', '2026-11-01')
    assert run('tenants_list', *span).stdout == 'Tenant list:\na\nb\n'
    assert run('generate', *span).stdout == '2 written, 0 unchanged, 0 failed\n'
    assert run('generate', *span, '--tenant', 'a').stdout == '0 written, 1 unchanged, 0 failed\n'
    assert sorted(os.listdir(tmp_path / 'files')) == [
        'a-jsonl-2026-10.jsonl',
        'b-jsonl-2026-10.jsonl',
        'manifest-2026-10.json',
    ]
    (tmp_path / 'files' / 'a-jsonl-2026-10.jsonl').unlink()
    checked = run('generate', *span, '--check')
    assert checked.stdout == '1 unchanged, 0 different, 1 missing, 0 failed\n'
    assert (checked.returncode, checked.stderr) == (1, 'a-jsonl-2026-10.jsonl: missing\n')
    assert run('generate', *span, '--writer', 'osrf').returncode == 1
    assert run('generate', *span).stdout == '1 written, 1 unchanged, 0 failed\n'
    options.write_text(options.read_text().replace('jsonl', 'tape'))
    broken = run('generate', *span)
    assert (broken.returncode, '[output]pipeline' in broken.stderr) == (1, True)


PACKAGE = """\
from cloudkitty.writer import BaseReportWriter


class Counting(BaseReportWriter):
    extension = 'txt'

    def write(self, report, out):
        for period in report.periods:
            out.write(b'%d\\n' % sum(1 for _ in period.frame))
            yield 1


class Raising(BaseReportWriter):
    extension = 'txt'

    def write(self, report, out):
        yield 1
        raise RuntimeError('no paper')
"""
ENTRY_POINTS = """\
[cloudkitty.output.writers]
counting = counting:Counting
raising = counting:Raising
"""


def test_a_format_of_an_installed_package(world, tmp_path):
    """It is named in the pipeline like ours; one that raises fails its own files only."""
    site = tmp_path / 'site'
    (site / 'counting-1.dist-info').mkdir(parents=True)
    (site / 'counting.py').write_text(PACKAGE)
    (site / 'counting-1.dist-info' / 'METADATA').write_text('Name: counting\nVersion: 1\n')
    (site / 'counting-1.dist-info' / 'entry_points.txt').write_text(ENTRY_POINTS)
    options = tmp_path / 'cloudkitty.conf'
    options.write_text(
        f'[database]\nconnection = {world.conf.database.connection}\n'
        f'[output]\nbasepath = {tmp_path}/files\npipeline = raising, counting, osrf\n'
    )
    path = os.pathsep.join(filter(None, (str(site), os.environ.get('PYTHONPATH'))))

    ended = subprocess.run(
        [*RUN, '--config-file', options, 'generate', '--begin', '2026-10-01', '--tenant', 'a'],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': path, 'XDG_CACHE_HOME': str(tmp_path)},
    )

    assert 'RuntimeError: no paper' in ended.stderr
    assert ended.returncode == 1
    files = tmp_path / 'files'
    assert (files / 'a-counting-2026-10.txt').read_text() == '2\n1\n'
    assert (files / 'a-osrf-2026-10.json').exists()
    assert not (files / 'a-raising-2026-10.txt').exists()
