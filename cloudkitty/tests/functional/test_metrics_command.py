"""The command cloudkitty-metrics: what it says, and its exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from cloudkitty.tests import faults, ini
from cloudkitty.tests.fake_ceilometer import Ceilometer
from cloudkitty.tests.fake_monasca import Monasca

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[3]
WRONG = """\
metrics:
  cpu:
    unit: core
    factor: .nan
    colour: red
    extra_args: {aggregation_method: last, x: 1}
  ram:
  - unit: MiB
    skip_datapoints_expression: "1 +"
  - {unit: MiB, alt_name: x, groupby: [a.b, c-d]}
  disk: {}
  net: []
  5: {unit: x}
  gpu: &gpu {unit: x, collector: west}
  tpu: {<<: *gpu, alt_name: gpu, mutate: MAP}
  npu: {unit: x, groupby: [a, 5, no]}
other: 1
"""
PLACES = {
    '4:5': ['factor must be a finite number'],
    '5:5': ["unknown key 'colour'"],
    '6:18': ['aggregation_method must be one of'],
    '6:44': ["extra_args has the unknown key 'x'"],
    '9:5': ["skip_datapoints_expression '1 +' is not an expression"],
    '10:30': ["'a.b' in groupby", "'c-d' in groupby"],
    '11:3': ['the key unit is missing'],
    '12:3': ['the list of definitions is empty'],
    '13:3': ['the name must be text'],
    '14:23': ["collector 'west' is not configured; allowed: prometheus."],
    '15:3': ['mutate_map goes with mutate: MAP'],
    '16:31': ['groupby must be text of 1 to 255 characters, not 5; put it in quotes'],
    '16:34': ['groupby must be text of 1 to 255 characters, not False; put it in quotes'],
    '17:1': ["unknown key 'other'"],
}


def run(*arguments, conf=None):
    config = ('--config-file', str(conf)) if conf else ()
    return subprocess.run(
        [BIN / 'cloudkitty-metrics', *config, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_problem_of_a_file_is_told_with_its_place(tmp_path):
    path = tmp_path / 'metrics.yml'
    path.write_text(WRONG)

    result = run('check', path, '--collector', 'prometheus')

    told = {}
    for line in result.stdout.splitlines():
        place, _, text = line.removeprefix(f'{path}:').partition(': ')
        told.setdefault(place, []).append(text)
    assert {place: len(texts) for place, texts in told.items()} == {
        place: len(texts) for place, texts in PLACES.items()
    }
    for place, texts in PLACES.items():
        for text, line in zip(texts, told[place], strict=True):
            assert text in line
    assert (result.returncode, result.stderr) == (1, '')


@pytest.mark.parametrize(
    'content, text',
    [
        ('a: [\n  }', ':2:3: no valid YAML: while parsing a flow node expected the node content'),
        (
            'metrics:\n  cpu: {unit: x}\n  cpu: {unit: y}\n',
            ":3:3: no valid YAML: .* found 'cpu' twice",
        ),
        ('', ':1:1: metrics must be a mapping of metric names'),
        ('- a\n', ':1:1: the file must hold the key metrics'),
    ],
)
def test_a_file_that_is_no_definition_file_is_told(tmp_path, content, text):
    path = tmp_path / 'metrics.yml'
    path.write_text(content)

    result = run('check', path, '--collector', 'file')

    assert result.stdout.startswith(f'{path}{text}'.partition(' .*')[0])
    assert result.returncode == 1


def test_a_good_file_is_told(tmp_path):
    """For each collector among which its definitions choose."""
    conf = ini.write(
        tmp_path / 'conf',
        {
            'collect': {'collector': 'meta', 'scope_key': 'tenant_id'},
            'collector_meta': {'collectors': 'east, west'},
            'collector_east': {'driver': 'prometheus'},
            'collector_west': {'driver': 'file'},
        },
    )
    path = ROOT / 'etc' / 'cloudkitty' / 'prom_metrics.yml'

    result = run('check', path, conf=conf)

    assert result.stdout == f'{path}: nothing is wrong for collector east, west\n'
    assert (result.returncode, result.stderr) == (0, '')


def test_what_may_be_meant_otherwise_is_told(tmp_path):
    """It is no mistake: definitions of existing sites go on."""
    path = tmp_path / 'metrics.yml'
    path.write_text("""\
metrics:
  a: {unit: x, groupby: [type, month], metadata: [year]}
  b: {unit: x, mutate: MAP, mutate_map: {0: 1}}
  c: {unit: x, extra_args: {range_function: delta}}
  d_total: {unit: x}
  e: {unit: x, extra_args: {aggregation_method: sum}}
  f: {unit: x, extra_args: {matchers: ['status=~"ACTIVE"'], measure: share}}
  g_total: {unit: x, extra_args: {measure: increase}}
""")

    result = run('check', path, '--collector', 'prometheus')

    *lines, last = result.stdout.splitlines()
    assert [
        line.removeprefix(f'{path}:').partition(': warning: metric ')[::2] for line in lines
    ] == [
        ('2:16', "'a': reports cannot group by 'type': there it means something else."),
        ('2:16', "'a': the month of the period takes the place of the attribute 'month'."),
        ('2:40', "'a': the year of the period takes the place of the attribute 'year'."),
        (
            '3:16',
            "'b': the max of the period decides alone; measure: share, with matchers, counts time.",
        ),
        (
            '4:29',
            "'c': delta of a counter that begins again is below 0 and left out; measure: increase.",
        ),
        (
            '5:3',
            "'d_total': it is a counter, and what it stands at is no usage; measure: increase.",
        ),
        (
            '6:29',
            "'e': sum counts a series that is there twice, or that got another label, twice; "
            'measure: time_weighted.',
        ),
        (
            '7:29',
            "'f': it lists what is charged, so every other state is free; list what is free (!~).",
        ),
    ]
    assert last == f'{path}: nothing is wrong for collector prometheus'
    assert (result.returncode, result.stderr) == (0, '')


@pytest.fixture
def sources(tmp_path, prometheus):
    """A configuration of a real Prometheus and a file, and a definition file for both."""
    (tmp_path / 'metrics.yml').write_text("""\
metrics:
  test_vcpus: {unit: vcpu, alt_name: vcpus, groupby: [resource], metadata: [flavor],
               collector: prometheus}
  disk: {unit: GiB, groupby: [id], collector: file}
""")
    (tmp_path / 'usage.csv').write_text(
        'begin,end,metric,project_id,quantity,id\n'
        '2024-05-01T00:00:00Z,2024-05-01T01:00:00Z,disk,alpha,0.1,d1\n'
    )
    return ini.write(
        tmp_path / 'conf',
        {
            'collect': {'collector': 'meta'},
            'collector_meta': {'collectors': 'prometheus, file'},
            'collector_prometheus': {'prometheus_url': prometheus.url},
            'collector_file': {'files': tmp_path / 'usage.csv'},
        },
    )


def test_queries_and_points_are_shown(sources, tmp_path, prometheus):
    result = run(
        'try',
        tmp_path / 'metrics.yml',
        '--scope',
        'alpha',
        '--begin',
        '2024-05-01',
        '--end',
        '2024-05-01T02:00',
        conf=sources,
    )

    lines = result.stdout.splitlines()
    assert lines[0] == (
        "Scope 'alpha', from 2024-05-01T00:00:00+00:00 to 2024-05-01T02:00:00+00:00, periods: 2"
    )
    assert lines[2] == 'vcpus (test_vcpus)'
    assert lines[3].startswith(f'  query: GET {prometheus.url}/query_range ')
    assert 'max(max_over_time(test_vcpus{project_id="alpha"}[3600s]))' in lines[3]
    assert lines[4].split() == ['begin', 'quantity', 'unit', 'resource', 'project_id', 'flavor']
    assert sorted(line.split() for line in lines[5:9]) == [
        [f'2024-05-01T0{hour}:00:00+00:00', quantity, 'vcpu', resource, 'alpha', flavor]
        for hour in (0, 1)
        for resource, quantity, flavor in (('web', '1.0', 'm1.small'), ('db', '4.0', 'm1.large'))
    ]
    assert lines[9].startswith('  source, 2024-05-01T00:00:00+00:00: 2 series, 120 samples, ')
    assert lines[10].startswith('  source, 2024-05-01T01:00:00+00:00: 2 series, ')
    assert lines[12] == 'disk'
    assert lines[13] == f'  info: 1 of 1 files with usage are read ({tmp_path}/usage.csv)'
    assert f'in {tmp_path}/usage.csv' in lines[14]
    assert lines[-1].split() == ['2024-05-01T00:00:00+00:00', '0.1', 'GiB', 'd1', 'alpha']
    assert (result.returncode, result.stderr) == (0, '')


@pytest.mark.parametrize(
    'collector, section, options, whole, queries',
    [
        (
            'gnocchi',
            'collector_gnocchi',
            {'gnocchi_auth_type': 'basic', 'gnocchi_user': 'admin', 'gnocchi_endpoint': 'URL'},
            faults.as_json([]),
            ['POST Gnocchi at URL: /v1/search/resource/test?', '{"in":{"project_id":["alpha"]}}'],
        ),
        (
            'monasca',
            'collector_monasca',
            {'auth_type': 'none', 'endpoint': 'URL'},
            Monasca(),
            ['GET URL/v2.0/metrics/statistics ', "'dimensions': 'project_id:alpha'"],
        ),
        (
            'ceilometer',
            'ceilometer_collector',
            {'auth_type': 'none', 'endpoint': 'URL'},
            Ceilometer(),
            ['GET URL/v2/meters/test_vcpus/statistics ', "('q.value', 'alpha')"],
        ),
    ],
)
def test_every_source_shows_its_queries(tmp_path, collector, section, options, whole, queries):
    extra_args = '{resource_type: test}' if collector == 'gnocchi' else '{resource_key: resource}'
    (tmp_path / 'metrics.yml').write_text(
        f'metrics:\n  test_vcpus: {{unit: vcpu, extra_args: {extra_args}}}\n'
    )
    with faults.FaultyServer(whole) as server:
        url = f'http://{server.address}'
        conf = ini.write(
            tmp_path / 'conf',
            {
                'collect': {'collector': collector},
                section: {name: value.replace('URL', url) for name, value in options.items()},
            },
        )
        result = run(
            'try', tmp_path / 'metrics.yml', '--scope', 'alpha', '--begin', '2024-05-01', conf=conf
        )

    assert (result.returncode, result.stderr) == (0, '')
    (line,) = [line for line in result.stdout.splitlines() if line.startswith('  query: ')]
    for text in queries:
        assert text.replace('URL', url) in line


def test_one_metric_of_the_newest_period_has_no_points(sources, tmp_path):
    result = run(
        'try', tmp_path / 'metrics.yml', '--scope', 'alpha', '--metric', 'vcpus', conf=sources
    )

    assert '\n  no points\n  source, ' in result.stdout
    assert result.stdout.endswith(': no samples in this time\n')
    assert 'disk' not in result.stdout
    assert result.returncode == 0


def test_a_source_that_fails_is_shown_and_the_others_are_asked(sources, tmp_path):
    (tmp_path / 'usage.csv').write_text('no\nusage\n')

    result = run(
        'try', tmp_path / 'metrics.yml', '--scope', 'alpha', '--begin', '2024-05-01', conf=sources
    )

    assert f"  error: Collector 'file': {tmp_path}/usage.csv:2: metric is missing" in result.stdout
    assert 'm1.small' in result.stdout
    assert result.returncode == 1


@pytest.mark.parametrize(
    'arguments, text',
    [
        (['--end', '2024-05-01'], '--end needs --begin'),
        (
            ['--begin', '2024-05-01', '--end', '2024-05-01T00:30'],
            'there must be 1 to 48 whole periods',
        ),
        (['--begin', '2024-05-01', '--end', '2024-04-01'], 'there must be 1 to 48 whole periods'),
        (['--begin', '2024-05-01', '--end', '2024-06-01'], 'there must be 1 to 48 whole periods'),
        (['--begin', 'yesterday'], "'yesterday' is not an ISO 8601 date"),
        (['--metric', 'ram'], 'metrics.yml has no such metric'),
        (['--collector', 'nope'], "no driver is named 'nope'"),
    ],
)
def test_a_wrong_argument_is_told(sources, tmp_path, arguments, text):
    result = run('try', tmp_path / 'metrics.yml', '--scope', 'alpha', *arguments, conf=sources)

    assert text in result.stderr
    assert (result.returncode, result.stdout, result.stderr.count('\n')) == (1, '', 1)


def test_scopes_are_named_to_who_names_none(sources, tmp_path):
    """Ten of those that the fetcher lists."""
    with sources.open('a') as file:
        names = ','.join(f'p{number:02}' for number in range(12))
        file.write(f'\n[fetcher]\nbackend = source\n[fetcher_source]\nsources = {names}\n')

    result = run('try', tmp_path / 'metrics.yml', conf=sources)

    assert result.returncode == 1
    assert '--scope is needed; [fetcher]backend = source lists p00, p01, ' in result.stderr
    assert ' p09 and 2 more' in result.stderr


@pytest.fixture
def try_one(tmp_path, prometheus):
    """Return what tries one definition of one metric of the tests' history, for scope alpha."""

    def _try_one(name, definition, *, scope='alpha', begin='2024-05-01', **collect):
        path = tmp_path / 'metrics.yml'
        path.write_text(f'metrics: {{{name}: {{unit: x, {definition}}}}}')
        conf = ini.write(
            tmp_path / 'conf',
            {
                'collect': {'collector': 'prometheus', **collect},
                'collector_prometheus': {'prometheus_url': prometheus.url},
            },
        )
        return run('try', path, '--scope', scope, '--begin', begin, conf=conf)

    return _try_one


@pytest.mark.parametrize(
    'name, definition, collect, told',
    [
        (
            'test_vcpus',
            'groupby: [resource]',
            {'scope_key': 'tenant_id'},
            'test_vcpus has samples, none with label tenant_id; it has flavor, project_id, '
            'resource',
        ),
        (
            'test_vcpu',
            'groupby: [resource]',
            {},
            'the source has no metric test_vcpu; it has test_vcpus',
        ),
        (
            'test_vcpus',
            'groupby: [resource], extra_args: {measure: share, scrape_interval: 20}',
            {},
            'samples are 60 s apart, and scrape_interval is 20 s: it must not be shorter',
        ),
        (
            'test_vcpus',
            'groupby: [resource]',
            {'period': 40, 'begin': '2024-05-01T01:00'},
            'samples are 60 s apart, and a period is 40 s: some periods have none',
        ),
    ],
)
def test_a_definition_that_cannot_be_right_is_told(try_one, name, definition, collect, told):
    result = try_one(name, definition, **collect)

    assert f'  wrong: {told}\n' in result.stdout
    assert (result.returncode, result.stderr) == (1, '')


@pytest.mark.parametrize(
    'name, definition, options, told',
    [
        (
            'test_vcpus',
            'groupby: [resource], metadata: [flavor]',
            {},
            'source, 2024-05-01T00:00:00+00:00: 2 series, 120 samples, 60 s apart; '
            'type unknown; labels flavor, project_id, resource',
        ),
        (
            'test_vcpus',
            'extra_args: {measure: max}',
            {},
            '2 series differ only in flavor, resource: they are one resource',
        ),
        (
            'test_vcpus',
            'extra_args: {aggregation_method: sum}',
            {},
            'note: 2 series differ only in flavor, resource: they are added up, also where',
        ),
        (
            'test_vcpus',
            'metadata: [flavor]',
            {},
            'note: 2 series differ only in flavor, resource: metadata that differs makes points',
        ),
        (
            'test_cpu_seconds_total',
            'groupby: [resource]',
            {},
            'note: it is a counter, and what it stands at is no usage; try measure: increase',
        ),
        (
            'test_vcpus',
            'groupby: [resource, host], metadata: [image]',
            {},
            'note: no series has the label host, image',
        ),
        (
            'test_vcpus',
            'groupby: [resource], extra_args: {matchers: [\'flavor="x"\']}',
            {},
            'note: the scope has series, and none of them fits the matchers',
        ),
        (
            'test_vcpus',
            'groupby: [resource], extra_args: {measure: share, scrape_interval: 40}',
            {'period': 3600},
            'note: samples are 60 s apart, and scrape_interval is 40 s: one lost scrape is not',
        ),
        (
            'test_volume_gib',
            'groupby: [resource]',
            {'period': 21600, 'scope': 'beta'},
            'longest hole 7320 s, 01:59:00 to 04:01:00',
        ),
        ('test_vcpus', '', {'scope': 'nobody'}, 'others have some: alpha, beta'),
        ('quite_another', '', {}, 'the source has no such metric'),
    ],
)
def test_what_the_source_has_is_told(try_one, name, definition, options, told):
    result = try_one(name, definition, **options)

    assert told in result.stdout
    assert (result.returncode, result.stderr) == (0, '')
