"""Usage and scopes from files: what is taken, and what is refused with file and line."""

import gzip
import logging
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.clients import files
from cloudkitty.collector.file import FileCollector
from cloudkitty.collector.meta import MetaCollector
from cloudkitty.core.timeframe import Period
from cloudkitty.fetcher.file import FileFetcher
from cloudkitty.tests import ini

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
HOURS = [
    Period(BEGIN + timedelta(hours=number), BEGIN + timedelta(hours=number + 1))
    for number in range(3)
]
HEADER = 'begin,end,metric,project_id,quantity,id\n'


def line(hour, quantity, scope_id='alpha', name='a', metric='cpu'):
    return (
        f'2024-05-01T{hour:02}:00:00Z,2024-05-01T{hour + 1:02}:00:00Z,{metric},{scope_id},'
        f'{quantity},{name}\n'
    )


@pytest.fixture
def folder(tmp_path):
    """The directory that the driver reads."""
    (tmp_path / 'usage').mkdir()
    return tmp_path / 'usage'


@pytest.fixture
def build(conf, folder):
    """Return what makes a collector of the metric cpu from the files in the directory."""

    def _build(method='sum', patterns=None, **definition):
        conf.register_opts(FileCollector.OPTS, FileCollector.GROUP)
        conf.set_override('files', patterns or [str(folder)], FileCollector.GROUP)
        return FileCollector(
            period=3600,
            service_conf=conf,
            conf={
                'metrics': {
                    'cpu': {
                        'unit': 'core',
                        'groupby': ['id'],
                        'extra_args': {'aggregation_method': method},
                        **definition,
                    }
                }
            },
        )

    return _build


def collected(driver, scope_ids=('alpha', 'beta'), periods=HOURS):
    """Return {(scope, hour, id): quantity}."""
    found = {}
    for scope_id, period, points in driver.collect('cpu', periods, scope_ids):
        for point in points:
            assert point.groupby['project_id'] == scope_id
            found[scope_id, period.begin.hour, point.groupby['id']] = point.qty
    return found


def write(path, *lines, header=HEADER):
    path.write_text(header + ''.join(lines))


def test_lines_count_in_the_period_they_begin_in(build, folder):
    write(
        folder / 'a.csv',
        line(0, 1),
        line(1, '0.1'),
        line(1, '0.2', name='b'),
        line(2, 7, scope_id='beta'),
        line(0, 9, metric='ram'),
        line(3, 5),
        line(0, 4, 'gamma'),
    )

    assert collected(build()) == {
        ('alpha', 0, 'a'): 1,
        ('alpha', 1, 'a'): Decimal('0.1'),
        ('alpha', 1, 'b'): Decimal('0.2'),
        ('beta', 2, 'a'): 7,
    }


def test_lines_between_two_periods_count_in_none(build, folder):
    """Periods that were rated already are not asked for again."""
    write(folder / 'a.csv', line(0, 1), line(1, 2), line(2, 3))

    assert collected(build(), periods=[HOURS[0], HOURS[2]]) == {
        ('alpha', 0, 'a'): 1,
        ('alpha', 2, 'a'): 3,
    }


def test_equal_lines_of_two_scopes_and_two_metrics_are_apart(conf, folder):
    """Each has its own unit and owner, however often they were seen."""
    write(
        folder / 'a.csv',
        line(0, 1),
        line(0, 2, scope_id='beta'),
        line(0, 3, metric='ram'),
        line(0, 4, scope_id='beta', metric='ram'),
    )
    conf.register_opts(FileCollector.OPTS, FileCollector.GROUP)
    conf.set_override('files', [str(folder)], FileCollector.GROUP)
    driver = FileCollector(
        period=3600,
        service_conf=conf,
        conf={
            'metrics': {
                'cpu': {'unit': 'core', 'groupby': ['id']},
                'ram': {'unit': 'GiB', 'groupby': ['id']},
            }
        },
    )

    for _ in range(2):
        found = [
            (scope_id, point.unit, point.groupby['project_id'], point.qty)
            for metric in ('cpu', 'ram')
            for scope_id, _, points in driver.collect(metric, HOURS, ['alpha', 'beta'])
            for point in points
        ]
        assert found == [
            ('alpha', 'core', 'alpha', 1),
            ('beta', 'core', 'beta', 2),
            ('alpha', 'GiB', 'alpha', 3),
            ('beta', 'GiB', 'beta', 4),
        ]


def test_a_file_that_changes_while_it_is_read_is_no_version_of_it(folder):
    """A mixture of two files must not be billed."""
    path = folder / 'a.csv'
    write(path, line(0, 1))
    (version,) = files.find([str(path)])
    records = files.read(version)
    next(records)

    write(path, line(0, 1), line(1, 2))

    with pytest.raises(errors.SourceError, match='a.csv: it was changed while it was read'):
        list(records)


@pytest.mark.parametrize(
    'method, expected',
    [('sum', '6.3'), ('max', '4.1'), ('min', '0.1'), ('avg', '2.1'), ('count', '3')],
)
def test_lines_of_a_period_are_aggregated(build, folder, method, expected):
    (folder / 'a.jsonl').write_text(
        ''.join(
            f'{{"timestamp": "2024-05-01T00:{minute}:00+00:00", "metric": "cpu", "quantity": '
            f'{quantity}, "project_id": "alpha", "id": 7, "up": true, "note": null}}\n'
            for minute, quantity in (('00', '0.1'), ('15', '2.1'), ('59', '4.1'))
        )
    )

    assert collected(build(method, metadata=['up', 'note', 'lacking'])) == {
        ('alpha', 0, '7'): Decimal(expected)
    }


@pytest.mark.parametrize(
    'quantity', ['0.1', '12345678901234567890.123456789012345678901234567890', '1e-30', '-3', '0']
)
@pytest.mark.parametrize('kind', ['csv', 'jsonl'])
def test_quantities_are_exact(build, folder, quantity, kind):
    if kind == 'csv':
        write(folder / 'a.csv', line(0, quantity))
    else:
        (folder / 'a.jsonl').write_text(
            '{"begin": "2024-05-01T02:00:00+02:00", "end": "2024-05-01T01:00:00Z", "id": "a", '
            f'"metric": "cpu", "quantity": {quantity}, "project_id": "alpha"}}\n'
        )

    driver = build(allow_negative=quantity.startswith('-'))
    assert collected(driver) == {('alpha', 0, 'a'): Decimal(quantity)}


@pytest.mark.parametrize(
    'row, reason',
    [
        (line(1, 'many'), "'many' is not a number"),
        (line(1, 'NaN'), "'NaN' is not a finite number"),
        (line(1, '1e20'), 'more than 20 digits before the point'),
        (line(1, '1e-101'), 'more than 20 digits before the point or 100 behind'),
        (line(1, ''), 'quantity is missing'),
        (line(1, 1, metric=''), 'metric is missing'),
        (line(1, 1, scope_id=''), 'project_id is missing'),
    ],
)
def test_a_bad_line_holds_its_period(build, folder, row, reason):
    """Other periods are collected."""
    write(folder / 'a.csv', line(0, 1), row, line(2, 2))
    driver = build()

    with pytest.raises(errors.CollectError) as caught:
        collected(driver)

    assert not isinstance(caught.value, errors.SourceUnreachable)
    assert f'{folder}/a.csv:3: ' in str(caught.value)
    assert reason in str(caught.value)
    assert collected(driver, periods=HOURS[:1]) == {('alpha', 0, 'a'): 1}
    assert collected(driver, periods=HOURS[2:]) == {('alpha', 2, 'a'): 2}


@pytest.mark.parametrize(
    'row, reason',
    [
        (
            '2024-05-01T00:00:00,2024-05-01T01:00:00,cpu,alpha,1,a\n',
            "begin '2024-05-01T00:00:00' has no zone; allowed: a time with Z or an offset",
        ),
        ('2024-05-01,2024-05-02,cpu,alpha,1,a\n', "begin '2024-05-01' has no zone"),
        ('1714521600,1714525200,cpu,alpha,1,a\n', "begin '1714521600' is not an ISO 8601 time"),
        ('2024-05-01T01:00:00Z,2024-05-01T00:00:00Z,cpu,alpha,1,a\n', 'end must be after begin'),
        (
            '2024-05-01T01:00:00Z,,cpu,alpha,1,a\n',
            'there must be either begin and end, or timestamp',
        ),
        ('cpu,alpha,1\n', '3 fields, and 6 column names'),
        ('"cpu"x,\n', "no CSV: ',' expected after '\"'"),
    ],
)
def test_a_line_whose_time_is_unknown_holds_all(build, folder, row, reason):
    write(folder / 'a.csv', line(0, 1), row)

    with pytest.raises(errors.SourceUnreachable) as caught:
        collected(build())

    assert str(caught.value).startswith(f"Collector 'file': {folder}/a.csv:3: {reason}")


@pytest.mark.parametrize(
    'content, reason',
    [
        ('{"begin": }\n', ':1: no JSON: Expecting value'),
        ('[1]\n', ':1: no JSON object'),
        ('{"metric": "cpu", "metric": "ram"}\n', ':1: no JSON: a name stands twice'),
        ('{"quantity": NaN}\n', ':1: no JSON: NaN is no number'),
        ('\n{"id": {"a": 1}}\n', ':2: id is neither text nor a number'),
        ('{"id": "\\u0000"}\n', ":1: 'id' has bytes that are no UTF-8, or a NUL"),
        ('[' * 100_000 + '\n', ':1: no JSON: '),
        ('{"quantity": 1', ':1: the last line has no end; the file is still being written, or was'),
    ],
)
def test_bad_json_is_told(build, folder, content, reason):
    (folder / 'a.jsonl').write_text(content)

    with pytest.raises(errors.SourceUnreachable) as caught:
        collected(build())

    assert f'{folder}/a.jsonl{reason}' in str(caught.value)


@pytest.mark.parametrize(
    'content, reason',
    [
        (b'', ':1: the line of column names is missing'),
        (b'a,a\n', ":1: the line of column names has 'a' twice"),
        (HEADER.encode() + line(0, 1).encode()[:-1], ':2: the last line has no end'),
        (HEADER.encode() + b'\xff\n', ':2: 1 fields, and 6 column names'),
        (
            HEADER.encode() + line(0, 1, name='\xff').encode('latin-1'),
            ":2: 'id' has bytes that are no",
        ),
        (HEADER.encode() + b'x' * 2**21, ':2: more than 1048576 bytes in a line'),
        (
            HEADER.encode() + b'\n'.join([b'x'] * 2000) + b'\n',
            ':2: 1 fields, and 6 column names (and 1000 more bad lines)',
        ),
    ],
)
def test_bad_csv_is_told(build, folder, content, reason):
    (folder / 'a.csv').write_bytes(content)

    with pytest.raises(errors.SourceUnreachable) as caught:
        collected(build())

    assert f'{folder}/a.csv{reason}' in str(caught.value)


@pytest.mark.parametrize('cut', [5, 30, -1])
def test_a_packed_file_that_is_cut_off_is_told(build, folder, cut):
    (folder / 'a.csv.gz').write_bytes(gzip.compress((HEADER + line(0, 1)).encode())[:cut])

    with pytest.raises(errors.SourceUnreachable, match=r'a\.csv\.gz: Compressed file ended'):
        collected(build())


@pytest.mark.parametrize(
    'patterns, reason',
    [
        (['/nonexistent/usage.csv'], '/nonexistent/usage.csv: there is no such file'),
        (['/nonexistent/*.csv'], '/nonexistent/[*].csv: there is no such file'),
        (
            ['/etc/passwd'],
            '/etc/passwd: the name must end in .csv, .jsonl, .ndjson, or one of them',
        ),
    ],
)
def test_a_file_that_is_none_is_told(build, patterns, reason):
    """That there is no file is never taken for no usage."""
    with pytest.raises(errors.SourceUnreachable, match=reason):
        collected(build(patterns=patterns))


def test_the_same_usage_twice_is_refused(build, folder):
    """A file that is delivered under two names must not be billed twice."""
    write(folder / 'a.csv', line(0, 1), line(1, 1))
    write(folder / 'b.csv', line(1, 1))

    with pytest.raises(errors.CollectError) as caught:
        collected(build())

    assert str(caught.value) == (
        f"Collector 'file': {folder}/b.csv:2: metric, scope, time and attributes are those of "
        f'{folder}/a.csv:3'
    )
    assert collected(build(), periods=HOURS[:1]) == {('alpha', 0, 'a'): 1}


def test_usage_beyond_its_period_is_refused(build, folder):
    write(folder / 'a.csv', '2024-05-01T01:00:00Z,2024-05-02T00:00:00Z,cpu,alpha,24,a\n')

    with pytest.raises(
        errors.CollectError,
        match='a.csv:2: end is after that of the period 2024-'
        r'05-01T01:00:00\+00:00',
    ):
        collected(build())


def test_a_quantity_that_gets_too_large_is_refused(build, folder):
    """What counts is the quantity after the factor: 20 digits before the point at most."""
    write(folder / 'a.csv', line(0, '1e19'))

    assert collected(build(factor=9)) == {('alpha', 0, 'a'): Decimal('9e19')}
    with pytest.raises(errors.CollectError, match='a quantity has more than 20 digits'):
        collected(build(factor=10))


def test_a_file_is_read_once_a_version(build, folder, caplog):
    """New, changed and removed files are seen at the next question."""
    write(folder / 'a.csv', line(0, 1))
    driver = build()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert collected(driver) == {('alpha', 0, 'a'): 1}
        write(folder / 'b.csv', line(1, 2))
        assert collected(driver) == {('alpha', 0, 'a'): 1, ('alpha', 1, 'a'): 2}
        write(folder / 'a.csv', line(0, 1), line(2, 3))
        assert collected(driver) == {
            ('alpha', 0, 'a'): 1,
            ('alpha', 1, 'a'): 2,
            ('alpha', 2, 'a'): 3,
        }
        os.remove(folder / 'b.csv')
        assert collected(driver) == {('alpha', 0, 'a'): 1, ('alpha', 2, 'a'): 3}

    assert [record.getMessage() for record in caplog.records] == [
        f'1 of 1 files with usage are read ({folder}/a.csv)',
        f'1 of 2 files with usage are read ({folder}/b.csv)',
        f'1 of 2 files with usage are read ({folder}/a.csv)',
    ]


def test_a_mended_file_is_read_again(build, folder):
    write(folder / 'a.csv', line(0, 'x'))
    driver = build()
    with pytest.raises(errors.CollectError):
        collected(driver)

    write(folder / 'a.csv', line(0, '8'))

    assert collected(driver) == {('alpha', 0, 'a'): 8}


def test_patterns_and_directories(build, folder):
    """A file that several mean counts once; hidden and foreign files of a directory do not."""
    (folder / 'deep').mkdir()
    write(folder / 'a.csv', line(0, 1))
    write(folder / '.b.csv', line(0, 2))
    write(folder / 'notes.txt', line(0, 3))
    write(folder / 'deep' / 'c.csv', line(1, 4))

    found = collected(build(patterns=[str(folder), f'{folder}/**/*.csv']))

    assert found == {('alpha', 0, 'a'): 1, ('alpha', 1, 'a'): 4}


def test_how_far_the_files_go_is_known(build, folder):
    write(folder / 'a.csv', line(0, 1), line(4, 1, metric='ram'))
    driver = build()
    now = BEGIN + timedelta(days=1)

    assert driver.newest(['cpu'], since=BEGIN, now=now) == {'cpu': BEGIN + timedelta(hours=5)}
    assert driver.newest(['cpu'], since=now, now=now) == {'cpu': None}
    write(folder / 'a.csv')
    assert driver.newest(['cpu'], since=BEGIN, now=now) == {'cpu': None}


@pytest.mark.parametrize('driver_class', [FileCollector, MetaCollector, FileFetcher])
def test_files_must_be_named(conf, driver_class):
    arguments = {'period': 60, 'conf': {'metrics': {'cpu': {'unit': 'x'}}}, 'service_conf': conf}
    if driver_class is FileFetcher:
        arguments = {'conf': conf}

    with pytest.raises(
        errors.ConfigurationError,
        match=f'\\[{driver_class.GROUP}\\]'
        r'(files|collectors) is empty',
    ):
        driver_class(**arguments)


@pytest.mark.parametrize(
    'content, reason',
    [
        ('project_id\na\n\n', None),
        ('name\na\n', ':2: project_id is missing'),
        ('project_id,x\na,1\n,2\n', ':3: project_id is missing'),
        ('project_id,x\na\n', ':2: 1 fields, and 2 column names'),
        ('project_id\na', ':2: the last line has no end'),
    ],
)
def test_scopes_of_a_file_are_all_or_none(conf, folder, content, reason):
    (folder / 'scopes.csv').write_text(content)
    conf.register_opts(FileFetcher.OPTS, FileFetcher.GROUP)
    conf.set_override('files', [f'{folder}/*.csv'], FileFetcher.GROUP)
    driver = FileFetcher(conf)

    if reason is None:
        assert driver.get_tenants() == ['a']
        return
    with pytest.raises(errors.FetcherError) as caught:
        driver.get_tenants()
    assert str(caught.value).startswith(f"Fetcher 'file': {folder}/scopes.csv{reason}")


def test_scopes_of_several_files_are_united(conf, folder):
    """A scope that several files name is one."""
    for name, content in (('b', 'project_id\nc\na\n'), ('a', 'project_id\na\nb\na\n')):
        (folder / f'{name}.csv').write_text(content)
    conf.register_opts(FileFetcher.OPTS, FileFetcher.GROUP)
    conf.set_override('files', [str(folder)], FileFetcher.GROUP)

    assert FileFetcher(conf).get_tenants() == ['a', 'b', 'c']


def test_several_collectors_of_files(conf, tmp_path):
    """How far the source goes is what the collector of each metric says."""
    for name, hour in (('one', 0), ('two', 4)):
        write(tmp_path / f'{name}.csv', line(hour, 1, metric=name))
    loaded = ini.load(
        tmp_path / 'conf',
        {
            'database': {'connection': conf.database.connection},
            'collector_meta': {'collectors': 'first, second'},
            'collector_first': {'driver': 'file', 'files': tmp_path / 'one.csv'},
            'collector_second': {'driver': 'file', 'files': tmp_path / 'two.csv'},
        },
    )
    driver = MetaCollector(
        period=3600,
        service_conf=loaded,
        conf={
            'metrics': {
                'one': {'unit': 'x', 'collector': 'first'},
                'two': {'unit': 'x', 'collector': 'second'},
            }
        },
    )

    assert driver.newest(['one', 'two'], since=BEGIN, now=BEGIN + timedelta(days=1)) == {
        'one': BEGIN + timedelta(hours=1),
        'two': BEGIN + timedelta(hours=5),
    }
    os.remove(tmp_path / 'two.csv')
    with pytest.raises(errors.SourceUnreachable, match="Collector 'second': .*two.csv: there is"):
        list(driver.collect('two', HOURS, ['alpha']))


def test_hours_without_lines_are_holes_where_the_same_resource_goes_on(build, folder):
    """Files with begin and end tell it without a question; instants that are added up do not."""
    driver = build()
    write(folder / 'a.csv', *(line(hour, 1) for hour in (*range(4), 5, 6, 7)))
    periods = [Period(BEGIN + n * timedelta(hours=1), BEGIN + (n + 1) * timedelta(hours=1))
               for n in range(3, 6)]  # fmt: skip
    now = BEGIN + timedelta(days=1)

    (gap,) = driver.coverage(['cpu'], periods, known={}, now=now)['cpu'].gaps

    assert (gap.begin.hour, gap.end.hour, gap.is_hole) == (4, 5, True)
    assert gap.sign == '1 resources have samples before and after it'
    instants = ''.join(
        f'2024-05-01T{hour:02}:00:00Z,cpu,alpha,1,a\n' for hour in (*range(4), 5, 6, 7)
    )
    (folder / 'a.csv').write_text('timestamp,metric,project_id,quantity,id\n' + instants)
    assert driver.coverage(['cpu'], periods, known={}, now=now)['cpu'].gaps == []
