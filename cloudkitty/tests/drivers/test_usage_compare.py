"""cloudkitty-usage compare: what differs from a source that takes samples, and why."""

import json
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal

import pytest
import yaml

from cloudkitty.cli.usage_compare import FLOATS, Comparison
from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.core import metrics
from cloudkitty.core.coverage import Coverage, Gap
from cloudkitty.core.dataframe import DataPoint, FrozenDict
from cloudkitty.core.metering import facts
from cloudkitty.core.timeframe import Period
from cloudkitty.tests import gnocchi as peer
from cloudkitty.tests import history, ini, usage
from cloudkitty.tests.usage import HOUR, fact, life, us

BEGIN = facts.from_us(us(10))
PERIODS = [Period(BEGIN + number * HOUR, BEGIN + (number + 1) * HOUR) for number in range(2)]
COMMAND = [sys.executable, '-c', 'from cloudkitty.cli import usage; usage.main()']
SIZE = {'volume.size': {'unit': 'GiB', 'groupby': ['id']}}


class Sampler:
    """A collector that answers with given quantities, by hour and resource."""

    def __init__(self, quantities, gaps=()):
        self.conf = metrics.parse(
            {'metrics': {**SIZE, 'other': {'unit': 'x'}}},
            scope_key='project_id',
            check_extra_args=lambda given: FrozenDict(resource_key='id'),
        )
        self._quantities = quantities
        self._gaps = gaps

    def collect(self, metric_name, periods, scope_ids):
        metric = self.conf[metric_name]
        for (hour, resource_id), quantity in self._quantities.items():
            series = metric.series({'id': resource_id, 'project_id': 'p1'})
            points = [DataPoint.of(series, Decimal(quantity), Decimal(0))]
            yield 'p1', PERIODS[hour - 10], points

    def coverage(self, metric_names, periods, *, known, now, scope_ids=()):
        return {metric_names[0]: Coverage(gaps=self._gaps)}


def compared(conf, database, stated, quantities, *, gaps=(), tolerance=FLOATS):
    """Return [(hour, resource, theirs, ours, outcome, cause)] of all cells."""
    if stated:
        usage.store(database, *stated)
    conf.register_opts(MeteringCollector.OPTS, MeteringCollector.GROUP)
    ours = MeteringCollector(period=3600, service_conf=conf, conf={'metrics': SIZE})
    comparison = Comparison(database, Sampler(quantities, gaps), ours, tolerance)
    assert comparison.single == {'Gnocchi': ['other'], 'metering': []}
    return [
        (
            line.cell.period.begin.hour,
            line.cell.resource_id,
            line.theirs,
            line.ours,
            str(line.outcome),
            line.cause,
        )
        for line in comparison.lines(PERIODS, ['p1'])
    ]


def counter(hour, value):
    return fact(us(hour), value, kind=facts.CUMULATIVE)


@pytest.mark.parametrize(
    'stated, theirs, ours, outcome, cause',
    [
        (life(us(9), None, '4'), '4', '4', 'equal', ''),
        (life(us(9), None, '4'), '4.0000000001', '4', 'within', ''),
        (life(us(9), None, '4'), '5', '4', 'different', ''),
        (
            life(us(10.5), None, '4'),
            '2.3',
            '2',
            'different',
            'a life with 4 begins at 2024-11-29T10:30:00.000000+00:00',
        ),
        (
            life(us(9), us(10.5), '4'),
            '2.3',
            '2',
            'different',
            'it ended at 2024-11-29T10:30:00.000000+00:00',
        ),
        (
            life(us(8), us(9.5), '4'),
            '4',
            None,
            'only there',
            'it ended at 2024-11-29T09:30:00.000000+00:00, before the period',
        ),
        (
            [
                *life(us(9), None, '4'),
                fact(us(10.25), '8', kind=facts.STATE, stage=facts.CHANGE),
            ],
            '8',
            '7',
            'different',
            'a life with 8 begins at 2024-11-29T10:15:00.000000+00:00',
        ),
        (
            [fact(us(10.5), '4', kind=facts.STATE, stage=facts.SEEN)],
            '4',
            '2',
            'different',
            'a life with 4 is seen first at 2024-11-29T10:30:00.000000+00:00',
        ),
        (life(us(9), None, '4'), None, '4', 'only here', 'Gnocchi has nothing of it'),
        ([], '4', None, 'only there', 'nobody has told this service of it'),
        (
            [counter(9.9, '10'), counter(10.5, '3')],
            '0',
            '3',
            'different',
            'the counter began again before 2024-11-29T10:30:00.000000+00:00',
        ),
        (
            [counter(10.5, '3')],
            '3',
            '0',
            'different',
            'the first value is of 2024-11-29T10:30:00.000000+00:00',
        ),
        (
            [fact(us(10), '6', kind=facts.GAUGE)],
            '6',
            '2',
            'different',
            'no sample from 2024-11-29T10:00:00.000000+00:00 to 2024-11-29T11:00:00.000000+00:00',
        ),
        (
            [fact(us(9), '6', kind=facts.GAUGE)],
            '6',
            None,
            'only there',
            'no sample since 2024-11-29T09:00:00.000000+00:00',
        ),
    ],
)
def test_a_difference_and_its_cause(conf, database, stated, theirs, ours, outcome, cause):
    """By what was said to this service of the resource."""
    quantities = {} if theirs is None else {(10, 'v1'): theirs}

    found = compared(conf, database, stated, quantities)

    line = next(one for one in found if one[0] == 10)
    exact = [None if one is None else Decimal(one) for one in (theirs, ours)]
    assert line == (10, 'v1', *exact, outcome, cause)


def test_a_hole_of_the_other_side(conf, database):
    """It explains whatever differs in it."""
    gap = Gap(PERIODS[0].begin, PERIODS[0].end, is_hole=True, sign='x')

    found = compared(conf, database, life(us(9), None, '4'), {(10, 'v1'): '3'}, gaps=(gap,))

    assert [line[-1] for line in found] == [
        'Gnocchi has no samples from 2024-11-29T10:00:00+00:00 to 2024-11-29T11:00:00+00:00',
        'Gnocchi has nothing of it',
    ]


@pytest.mark.xdist_group('gnocchi')
def test_a_real_gnocchi(conf, database, gnocchi, tmp_path):
    """The command asks it; a volume that was deleted counts for a granule too long."""
    begin = history.BEGIN
    gnocchi.ask('POST', 'resource_type', {'name': 'compared', 'attributes': {}})
    resources = [
        peer.Resource(
            peer.resource_id('compared', name),
            'compared',
            [peer.Revision(begin - timedelta(days=9), {'project_id': 'compared'})],
            {'volume.size': [(begin.timestamp() + minute * 60, 2) for minute in range(0, end, 5)]},
            begin - timedelta(days=9),
            None,
        )
        for name, end in (('whole', 60), ('ended', 35))
    ]
    gnocchi.load(resources)
    start = facts.to_us(begin)
    half = start + 32 * 60 * facts.SECOND_US
    named = {'scope_id': 'compared', 'meter': 'volume.size'}
    usage.intake(database, begin + timedelta(hours=2)).store(
        [
            usage.entry(one)
            for name, end in (('whole', None), ('ended', half))
            for one in life(
                start, end, '2', resource_id=peer.resource_id('compared', name), **named
            )
        ],
        usage.ORIGIN,
    )
    definitions = {
        'volume.size': {
            'unit': 'GiB',
            'extra_args': {
                'resource_type': 'compared',
                'measure': 'time_weighted',
                'force_granularity': 300,
            },
        }
    }
    (tmp_path / 'metrics.yml').write_text(yaml.safe_dump({'metrics': definitions}))
    path = ini.write(
        tmp_path / 'cloudkitty.conf',
        {
            'database': {'connection': conf.database.connection},
            'collect': {'metrics_conf': tmp_path / 'metrics.yml'},
            'collector_gnocchi': {
                'gnocchi_auth_type': 'basic',
                'gnocchi_user': 'admin',
                'gnocchi_endpoint': gnocchi.url,
            },
        },
    )

    def run(*arguments):
        return subprocess.run(
            [*COMMAND, '--config-file', str(path), 'compare', '--with', 'gnocchi', *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )

    window = ('--begin', f'{begin:%Y-%m-%dT%H:%M}', '--end', f'{begin + HOUR:%Y-%m-%dT%H:%M}')
    ended = run(*window, '--json')

    assert ended.returncode == 1, ended.stderr
    told = json.loads(ended.stdout)
    assert (told['equal'] + told['within'], told['different']) == (1, 1), ended.stdout
    (line,) = told['differences']
    assert line['resource_id'] == peer.resource_id('compared', 'ended')
    assert Decimal(line['gnocchi']) > Decimal(line['metering'])
    assert line['cause'].endswith('it ended at ' + facts.render_us(half))
    table = run(*window)
    assert (table.returncode, 'it ended at' in table.stdout) == (1, True)
    assert run(*window, '--tolerance', '0.5').returncode == 0
    assert run('--begin', f'{begin:%Y-%m-%dT%H:%M}:01').returncode == 255
