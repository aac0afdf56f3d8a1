"""Values of a source that cannot be used are noted, and no month is final with them."""

import argparse
from datetime import timedelta

import pytest
import yaml

from cloudkitty.cli import gaps
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import reprocessing
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import services
from cloudkitty.tests.messy import cases
from cloudkitty.tests.messy.rating import Rating, of_prometheus

SPAN = Period(cases.DAY, cases.DAY + timedelta(hours=3))
SCOPES = ('fine', 'mostly', 'never', 'once')
ODD = {'unit': 'GiB', 'groupby': ['id']}
KINDS = {'odd_bytes_total': 'counter'}
METRICS = {
    'odd_gb': [
        {**ODD, 'alt_name': 'level', 'extra_args': {'measure': 'time_weighted'}},
        {**ODD, 'alt_name': 'mean', 'extra_args': {'measure': 'mean'}},
        {**ODD, 'alt_name': 'former'},
    ],
    'odd_bytes_total': [
        {**ODD, 'alt_name': 'traffic', 'extra_args': {'measure': 'increase'}},
        # Several series are compared at each instant.
        {**ODD, 'alt_name': 'rate', 'groupby': [], 'extra_args': {'measure': 'rate'}},
    ],
    'balance': [{**ODD, 'extra_args': {'aggregation_method': 'min'}}],
}
NOT_NUMBERS = 'values left out that are NaN, infinite or too large'
NOTES = {
    'fine': [],
    'once': [],
    # What is left tells a mean, and less than a sum needs.
    'mostly': [
        f'{NOT_NUMBERS}: odd_bytes_total@#rate, odd_bytes_total@#traffic, odd_gb@#level',
    ],
    'never': [
        f'{NOT_NUMBERS}: odd_bytes_total@#rate, odd_bytes_total@#traffic, odd_gb@#former, '
        'odd_gb@#level, odd_gb@#mean; values left out that are below 0: balance',
    ],
}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    rows = cases.families(KINDS, cases.values_cannot_be_used())
    with services.Prometheus(tmp_path_factory.mktemp('unusable'), history=rows) as server:
        yield server


def rating_of(folder, url, metrics=None):
    return of_prometheus(folder, url, metrics or METRICS, SCOPES, wait_periods=1)


def notes(rating):
    """Return the reasons by scope; all are of the second hour."""
    found = {}
    for name, row in rating.scopes().items():
        assert {(one['begin'][11:13], one['end'][11:13]) for one in row['noted']} <= {('01', '02')}
        found[name] = [one['reason'] for one in row['noted']]
    return found


def states(rating):
    answer = rating.completeness(SPAN)
    return answer['final'], [entry['state'] for entry in answer['results']]


def unusable(rating):
    """Return (metric, sign) of the gaps; all are of the second hour."""
    found = [one for one in rating.completeness(SPAN)['gaps'] if one['state'] == 'unusable']
    assert {(one['begin'][11:16], one['end'][11:16]) for one in found} <= {('01:00', '02:00')}
    return {(one['metric'], one['sign']) for one in found}


def accept(rating, metric, **changes):
    arguments = {
        'metric': metric,
        'begin': '2026-11-28T01:00:00',
        'end': '2026-11-28T02:00:00',
        'reason': 'the exporter was broken',
    }
    gaps._accept(rating.conf, argparse.Namespace(**{**arguments, **changes}))


def test_values_that_cannot_be_used_are_noted_on_their_scope(tmp_path, source, capsys):
    """As gaps of their metrics, which an operator accepts one by one."""
    rating = rating_of(tmp_path, source.url)

    rating.run(SPAN)

    assert notes(rating) == NOTES
    assert states(rating) == (False, ['final', 'gap', 'gap', 'final'])
    numbers = 'values are NaN, infinite or too large'
    assert unusable(rating) == {
        ('balance', 'values are below 0'),
        *((f'odd_bytes_total@#{name}', numbers) for name in ('rate', 'traffic')),
        *((f'odd_gb@#{name}', numbers) for name in ('former', 'level', 'mean')),
    }
    found = rating.summary(SPAN, 'type', 'tenant_id', 'time')
    hour = '2026-11-28T01:00:00+00:00'
    level = {scope: found.get(('level', scope, hour)) for scope in SCOPES}
    assert (level['never'], level['fine']) == (None, 5)
    assert float(level['once']) == pytest.approx(5 * 59 / 60)
    assert float(level['mostly']) == pytest.approx(5 * 20 / 60)
    text = 'Metric odd_gb@#level: '
    lines = [one for one in capsys.readouterr().out.splitlines() if text in one]
    told = [one for one in lines if 'left out' in one]
    assert len(told) == 1 and "'never'" in told[0] and "'mostly'" in told[0]

    for metric, _ in unusable(rating):
        assert states(rating)[0] is False
        accept(rating, metric)

    assert states(rating) == (True, ['final'] * 4)
    assert notes(rating) == NOTES


def test_what_is_accepted_of_one_metric_is_not_of_another(tmp_path, source):
    rating = rating_of(tmp_path, source.url)
    rating.run(SPAN)

    accept(rating, 'odd_gb@#level', begin='2026-11-28T00:00:00', end='2026-11-28T03:00:00')

    assert states(rating) == (False, ['final', 'gap', 'gap', 'final'])
    assert {metric for metric, _ in unusable(rating)} == {
        'balance',
        'odd_bytes_total@#rate',
        'odd_bytes_total@#traffic',
        'odd_gb@#former',
        'odd_gb@#mean',
    }


def test_rating_again_takes_them_away_once_no_scope_has_them(tmp_path, source):
    rating = rating_of(tmp_path, source.url, {'odd_gb': METRICS['odd_gb'][:1]})
    rating.run(SPAN)
    assert [one for one, found in notes(rating).items() if found] == ['mostly', 'never']
    rows = [
        (name, labels, [(at, 5) for at, _ in samples])
        for name, labels, samples in cases.values_cannot_be_used()
        if name == 'odd_gb'
    ]
    with services.Prometheus(tmp_path / 'whole', history=cases.families({}, rows)) as whole:
        rating.conf.set_override('prometheus_url', whole.url, 'collector_prometheus')
        left = []
        for scope_id in ('never', 'mostly'):
            with rating.database() as database:
                database.write(
                    lambda connection, scope_id=scope_id: reprocessing.create(
                        connection,
                        [scope_id],
                        identity=scope_state.Identity.of(rating.conf),
                        window=Period(SPAN.begin, cases.HOUR.end),
                        reason='the exporter is mended',
                    )
                )
            rating.turn(SPAN.end + timedelta(hours=2))
            left.append((states(rating), len(unusable(rating))))

    assert left == [
        ((False, ['final', 'gap', 'final', 'final']), 1),
        ((True, ['final'] * 4), 0),
    ]
    hours = rating.summary(SPAN, 'type', 'tenant_id')
    assert [hours['level', scope] for scope in ('never', 'mostly')] == [15, 15]


def test_a_line_of_a_file_that_cannot_be_used_is_noted_in_the_end(tmp_path):
    """It is refused, and the other scopes are rated."""
    lines = ['metric,tenant_id,begin,end,quantity,id']
    for scope, quantity in (('fine', 1), ('never', -1)):
        for hour in range(3):
            value = quantity if hour == 1 else 1
            lines.append(
                f'cpu,{scope},2026-11-28T0{hour}:00:00Z,2026-11-28T0{hour + 1}:00:00Z,{value},x'
            )
    (tmp_path / 'usage.csv').write_text('\n'.join(lines) + '\n')
    metrics = tmp_path / 'metrics.yml'
    metrics.write_text(yaml.safe_dump({'metrics': {'cpu': {'unit': 'x', 'groupby': ['id']}}}))
    rating = Rating(
        tmp_path,
        {
            'collect': {
                'collector': 'file',
                'scope_key': 'tenant_id',
                'metrics_conf': metrics,
                'lag_max': 3600,
            },
            'collector_file': {'files': tmp_path / 'usage.csv'},
        },
        ['fine', 'never'],
    )

    rating.run(SPAN)
    assert states(rating) == (False, ['final', 'failed'])
    for minutes in (20, 40, 61):
        rating.turn(SPAN.end + timedelta(hours=1, minutes=minutes))

    assert notes(rating) == {'fine': [], 'never': ['refused by the source: cpu']}
    assert unusable(rating) == {('cpu', 'refused by the source')}
    assert states(rating) == (False, ['final', 'gap'])
    assert rating.summary(SPAN, 'type', 'tenant_id') == {('cpu', 'fine'): 3, ('cpu', 'never'): 2}
    accept(rating, 'cpu')
    assert states(rating) == (True, ['final', 'final'])
