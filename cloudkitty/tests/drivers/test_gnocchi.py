"""The Gnocchi drivers and a real server: resources with a past, and a server that goes away."""

import random
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from statistics import fmean

import pytest
from keystoneauth1 import loading

from cloudkitty import errors
from cloudkitty.collector.gnocchi import GnocchiCollector
from cloudkitty.core import timeframe
from cloudkitty.core.columns import Unusable
from cloudkitty.fetcher.gnocchi import GnocchiFetcher
from cloudkitty.tests import faults, history
from cloudkitty.tests import gnocchi as peer

pytestmark = pytest.mark.xdist_group('gnocchi')

HOURS = 4
PERIODS = [history.hour(number) for number in range(HOURS)]
BEGIN = history.BEGIN
END = PERIODS[-1].end
LONG_AGO = BEGIN - timedelta(days=30)
SCOPES = ('past-a', 'past-b', 'past-c')
MINUTE = timedelta(minutes=1)
# Name: since when it is whose and of which flavor; from which to which minute it is measured.
PASTS = {
    'steady': ([(LONG_AGO, 'past-a', 'small')], (0, 240)),
    'moved': ([(LONG_AGO, 'past-a', 'small'), (BEGIN + 80 * MINUTE, 'past-b', 'small')], (0, 240)),
    'back': (
        [
            (LONG_AGO, 'past-a', 'small'),
            (BEGIN + 70 * MINUTE, 'past-b', 'small'),
            (BEGIN + 95 * MINUTE, 'past-a', 'small'),
        ],
        (0, 240),
    ),
    'moved-before': (
        [(LONG_AGO, 'past-c', 'small'), (LONG_AGO + MINUTE, 'past-b', 'small')],
        (0, 240),
    ),
    'resized': (
        [(LONG_AGO, 'past-a', 'small'), (BEGIN + 100 * MINUTE, 'past-a', 'large')],
        (0, 240),
    ),
    'ended': ([(LONG_AGO, 'past-a', 'small')], (0, 45)),
    # Gnocchi got to know it two hours after it was used.
    'late': ([(BEGIN + 150 * MINUTE, 'past-c', 'small')], (30, 240)),
    'hole': ([(LONG_AGO, 'past-c', 'small')], (115, 190)),
}


def measures(name):
    """Return {minute: value}; sums of the values are exact in binary too."""
    dice = random.Random(name)
    return {minute: dice.randrange(1000) / 4 for minute in range(*PASTS[name][1])}


def resource(name):
    start = BEGIN.timestamp()
    rising, total = [], 0.0
    for minute, value in measures(name).items():
        total += value
        rising.append((start + minute * 60, total))
    ended_at = BEGIN + PASTS[name][1][1] * MINUTE if name == 'ended' else None
    return peer.Resource(
        peer.resource_id('past', name),
        'machine',
        [
            peer.Revision(begin, {'project_id': scope_id, 'flavor': flavor, 'name': name})
            for begin, scope_id, flavor in PASTS[name][0]
        ],
        {
            'level': [(start + minute * 60, value) for minute, value in measures(name).items()],
            'total': rising,
        },
        min(LONG_AGO, PASTS[name][0][0][0]),
        ended_at,
    )


@pytest.fixture(scope='module')
def server(gnocchi):
    """The session's Gnocchi, with the resources of PASTS."""
    gnocchi.ask(
        'POST', 'resource_type', {'name': 'machine', 'attributes': peer.texts('flavor', 'name')}
    )
    gnocchi.load([resource(name) for name in PASTS])
    return gnocchi


def build(
    conf,
    url,
    metric='level',
    *,
    options=None,
    groupby=('name',),
    metadata=(),
    period=3600,
    **extra_args,
):
    peer.basic_auth(conf, GnocchiCollector, url, **(options or {}))
    return GnocchiCollector(
        period=period,
        service_conf=conf,
        conf={
            'metrics': {
                metric: {
                    'unit': 'x',
                    'groupby': list(groupby),
                    'metadata': list(metadata),
                    'extra_args': {
                        'resource_type': 'machine',
                        'force_granularity': 300,
                        **extra_args,
                    },
                }
            }
        },
    )


def collected(driver, metric='level', scope_ids=SCOPES, periods=PERIODS):
    """Return {(scope, hour, name): quantity}."""
    found = {}
    for scope_id, period, points in driver.collect(metric, periods, scope_ids):
        for point in points:
            place = scope_id, period.begin.hour, point.groupby['name']
            assert place not in found
            assert point.groupby['project_id'] == scope_id
            found[place] = point.qty
    return found


def owner(name, minute):
    """Return whose the resource is in that minute; the first owner has it from the begin on."""
    since = [begin for begin, *_ in PASTS[name][0]]
    current = sum(begin <= BEGIN + minute * MINUTE for begin in since)
    return PASTS[name][0][max(0, current - 1)][1]


def expected(method):
    """Return what collected() should, computed from the single measures."""
    parts, wholes = defaultdict(list), defaultdict(list)
    for name in PASTS:
        for minute, value in measures(name).items():
            parts[owner(name, minute), minute // 60, name].append(value)
            wholes[minute // 60, name].append(value)
    functions = {
        'max': max,
        'min': min,
        'first': lambda values: values[0],
        'last': lambda values: values[-1],
        'mean': fmean,
    }
    found = {}
    for place, values in parts.items():
        if method in ('sum', 'count'):
            found[place] = sum(values) if method == 'sum' else len(values)
        else:
            share = len(values) / len(wholes[place[1:]])
            found[place] = functions[method](values) * share
    return found


def assert_close(found, wanted):
    assert found.keys() == wanted.keys()
    for place, value in wanted.items():
        # The means are binary numbers, as Gnocchi's are.
        assert abs(found[place] - Decimal(value)) < Decimal('1e-9'), place


@pytest.mark.parametrize('method', ['mean', 'sum', 'count', 'max', 'min', 'first', 'last'])
def test_quantities_are_those_of_the_measures(conf, server, method):
    """Of the whole period, each owner's part by the time it was the owner."""
    driver = build(conf, server.url, aggregation_method=method)

    assert_close(collected(driver), expected(method))


@pytest.mark.parametrize('measure', ['share', 'time_weighted', 'mean', 'max'])
def test_a_measure_is_one_of_the_period(conf, server, measure):
    """What was there for a part of it counts for that part."""
    driver = build(conf, server.url, measure=measure)

    wanted = expected('max' if measure == 'max' else 'mean')
    if measure in ('share', 'time_weighted'):
        wanted = defaultdict(float)
        for name in PASTS:
            for minute, value in measures(name).items():
                part = (1 if measure == 'share' else value) / 60
                wanted[owner(name, minute), minute // 60, name] += part
    assert_close(collected(driver), wanted)


def test_the_growth_of_a_counter_is_a_measure(conf, server):
    driver = build(conf, server.url, 'total', measure='increase', aggregation_method='max')

    found = collected(driver, 'total', periods=PERIODS[1:])

    whole = measures('steady')
    assert found['past-a', 1, 'steady'] == sum(whole[minute] for minute in range(60, 120))


@pytest.mark.parametrize('method', ['mean', 'sum', 'count', 'median'])
def test_hourly_granules_are_divided_by_time(conf, server, method):
    driver = build(conf, server.url, aggregation_method=method, force_granularity=3600)
    found = collected(driver)

    whole = measures('moved')
    values = sorted(whole[minute] for minute in range(60, 120))
    hour = {
        'mean': fmean(values),
        'sum': sum(values),
        'count': 60,
        'median': (values[29] + values[30]) / 2,
    }[method]
    assert abs(found['past-a', 1, 'moved'] - Decimal(hour) / 3) < Decimal('1e-9')
    assert abs(found['past-b', 1, 'moved'] - Decimal(hour) * 2 / 3) < Decimal('1e-9')
    assert ('past-b', 0, 'moved') not in found
    assert ('past-a', 2, 'moved') not in found


@pytest.mark.parametrize('scope_id', SCOPES)
def test_a_scope_alone_gets_what_it_gets_among_others(conf, server, scope_id):
    """Also where the other owners of a resource are not asked for."""
    driver = build(conf, server.url, aggregation_method='mean')
    together = {place: qty for place, qty in collected(driver).items() if place[0] == scope_id}

    assert collected(driver, scope_ids=[scope_id]) == together
    assert {
        key: qty
        for period in PERIODS
        for key, qty in collected(driver, scope_ids=[scope_id], periods=[period]).items()
    } == together


def test_the_coarsest_granules_are_used_when_none_are_asked_for(conf, server):
    by_hour = collected(build(conf, server.url, aggregation_method='max', force_granularity=3600))

    assert collected(build(conf, server.url, force_granularity=0)) == by_hour


@pytest.mark.parametrize('granularity, minutes', [(300, 5), (3600, 60), (0, 5)])
def test_data_reaches_to_the_end_of_the_shortest_granule(conf, server, granularity, minutes):
    """The last measure of the history is at the begin of an hour."""
    last = history.PERIODS[-1].end
    driver = build(
        conf,
        server.url,
        'test_vcpus',
        groupby=(),
        resource_type='test',
        force_granularity=granularity,
    )

    found = driver.newest(['test_vcpus'], since=BEGIN, now=last + timedelta(hours=2))

    assert found == {'test_vcpus': last + minutes * MINUTE}


@pytest.mark.parametrize('granularity', [300, 3600, 0])
def test_what_a_counter_rose_by(conf, server, granularity):
    """The difference to the granule before counts, also that before the first period."""
    driver = build(
        conf,
        server.url,
        'total',
        aggregation_method='max',
        re_aggregation_method='rate:max',
        force_granularity=granularity,
    )

    found = collected(driver, 'total', periods=PERIODS[1:])

    whole = measures('steady')
    for hour in range(1, HOURS):
        assert found['past-a', hour, 'steady'] == Decimal(
            sum(whole[minute] for minute in range(hour * 60, hour * 60 + 60))
        )


def test_the_words_of_a_custom_query_are_replaced(conf, server):
    driver = build(
        conf,
        server.url,
        aggregation_method='sum',
        custom_query=(
            '(* (aggregate RE_AGGREGATION_METHOD (metric METRIC_NAME AGGREGATION_METHOD)) 2)'
        ),
    )

    assert_close(collected(driver), {place: value * 2 for place, value in expected('sum').items()})


def test_attributes_are_those_of_the_time(conf, server):
    driver = build(conf, server.url, aggregation_method='count', metadata=['flavor'])

    found = {
        (period.begin.hour, point.metadata['flavor'])
        for _, period, points in driver.collect('level', PERIODS, ['past-a'])
        for point in points
        if point.groupby['name'] == 'resized'
    }

    # A point has one set of metadata: the last of its period.
    assert found == {(0, 'small'), (1, 'large'), (2, 'large'), (3, 'large')}


@pytest.mark.parametrize(
    'every, expected', [(True, {'small': 40, 'large': 20}), (False, {'large': 60})]
)
def test_revisions_are_told_apart_unless_they_are_not_wanted(conf, server, every, expected):
    driver = build(
        conf,
        server.url,
        aggregation_method='count',
        groupby=['name', 'flavor'],
        use_all_resource_revisions=every,
    )

    ((_, _, points),) = driver.collect('level', PERIODS[1:2], ['past-a'])

    assert {
        point.groupby['flavor']: point.qty for point in points if point.groupby['name'] == 'resized'
    } == expected


def test_a_group_of_several_resources_has_their_sum(conf, server):
    driver = build(
        conf, server.url, aggregation_method='count', groupby=['flavor'], resource_key='flavor'
    )

    ((_, _, points),) = driver.collect('level', PERIODS[:1], ['past-a'])

    assert [(point.groupby['flavor'], point.qty) for point in points] == [('small', 4 * 60 + 45)]


def test_a_deleted_resource_takes_its_measures_along(conf, server):
    """Gnocchi forgets both; what others used is still there."""
    doomed = resource('steady')._replace(id=peer.resource_id('past', 'doomed'))
    driver = build(conf, server.url, groupby=[], aggregation_method='count')
    (before,) = driver.collect('level', PERIODS[:1], ['past-a'])
    server.load([doomed])
    (between,) = driver.collect('level', PERIODS[:1], ['past-a'])

    server.ask('DELETE', f'resource/generic/{doomed.id}')

    (after,) = driver.collect('level', PERIODS[:1], ['past-a'])
    assert {point.groupby['id'] for point in between[2]} - {
        point.groupby['id'] for point in before[2]
    } == {doomed.id}
    assert sorted(map(repr, after[2])) == sorted(map(repr, before[2]))


def test_periods_need_not_begin_with_a_granule(conf, server):
    driver = build(conf, server.url, aggregation_method='sum', force_granularity=300)
    begin = BEGIN + timedelta(minutes=2, seconds=30)
    period = timeframe.Period(begin, begin + timedelta(hours=1))

    found = collected(driver, scope_ids=['past-a'], periods=[period])

    whole = measures('steady')
    edges = [sum(whole[minute] for minute in range(first, first + 5)) for first in (0, 60)]
    inner = sum(whole[minute] for minute in range(5, 60))
    assert found['past-a', 0, 'steady'] == Decimal(inner + sum(edges) / 2)


@pytest.mark.parametrize('scope_count, period_count', [(1, 1), (100, 1), (1000, 1), (1000, 4)])
def test_requests_do_not_grow_with_scopes_and_periods(conf, server, scope_count, period_count):
    """Once for resources, once for those that are new or changed, once for measures."""
    with faults.FaultyServer(faults.forward(server.url)) as proxy:
        driver = build(conf, f'http://{proxy.address}', aggregation_method='mean')
        scope_ids = ['past-a', 'past-b', 'past-c', *map(str, range(1000))][:scope_count]

        assert list(driver.collect('level', PERIODS[:period_count], scope_ids))
        assert len(proxy.requests) <= 3


def test_many_resources_come_in_pages(conf, server, monkeypatch):
    monkeypatch.setattr('cloudkitty.clients.gnocchi.PAGE_SIZE', 2)
    monkeypatch.setattr('cloudkitty.collector.gnocchi.RESOURCES_MAX', 3)
    monkeypatch.setattr('cloudkitty.collector.gnocchi.SCOPES_MAX', 2)
    driver = build(conf, server.url, aggregation_method='mean')

    assert_close(collected(driver), expected('mean'))
    peer.basic_auth(conf, GnocchiFetcher, server.url, resource_types=['machine'])
    assert GnocchiFetcher(conf).get_tenants() == sorted(SCOPES[:3])


@pytest.mark.parametrize(
    'extra_args, text',
    [
        ({'force_granularity': 7}, 'force_granularity must divide it'),
        ({'force_granularity': 7200}, 'force_granularity must divide it'),
        (
            {'aggregation_method': 'median'},
            'median of a period cannot be told from granules of 300 s',
        ),
        ({'aggregation_method': 'rate:95pct'}, '95pct of a period cannot be told'),
        ({'force_granularity': -1}, 'must be a whole number, 0 or more'),
        ({'force_granularity': True}, 'must be a whole number, 0 or more'),
        ({'use_all_resource_revisions': 'no'}, 'must be true or false'),
        ({'re_aggregation_method': '95pct'}, 're_aggregation_method must be one of'),
        ({'resource_type': ''}, 'resource_type must be text of at least one'),
        ({'measure': 'seen'}, 'measure must be one of share, time_weighted, mean, max, increase'),
        ({'measure': 'max', 'custom_query': 'x'}, 'measure, which goes with neither re_aggrega'),
        ({'no_such': 1}, "unknown key 'no_such'"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(conf, extra_args, text):
    with pytest.raises(errors.InvalidInput) as caught:
        build(conf, 'http://127.0.0.1:9', **extra_args)

    assert text in str(caught.value)


def test_the_type_of_the_resources_is_needed(conf):
    with pytest.raises(errors.InvalidInput, match='extra_args lacks the key resource_type'):
        GnocchiCollector.check_configuration({'metrics': {'a': {'unit': 'x'}}}, 'project_id')


def test_the_resource_key_is_in_groupby():
    conf = {'metrics': {'a': {'unit': 'x', 'extra_args': {'resource_type': 'b'}}}}
    found = GnocchiCollector.check_configuration(conf, 'project_id')

    assert found['a'].groupby == ('project_id', 'id')
    conf['metrics']['a']['metadata'] = ['id']
    with pytest.raises(errors.InvalidInput, match='id is the resource_key'):
        GnocchiCollector.check_configuration(conf, 'project_id')


@pytest.mark.parametrize(
    'arguments, text',
    [
        ({'groupby': ['no_such']}, "has no attribute 'no_such', which metric level is grouped by"),
        ({'resource_type': 'no_such'}, 'Resource type no_such does not exist'),
        ({'force_granularity': 60}, 'Granularities are missing'),
        ({'aggregation_method': 'std', 'force_granularity': 3600}, 'unknown aggregation'),
        ({'custom_query': '(nonsense'}, 'Invalid operations'),
        ({'custom_query': '(metric level max)'}, 'does custom_query aggregate'),
    ],
)
def test_a_refused_question_is_told_from_a_silent_server(conf, server, arguments, text):
    driver = build(conf, server.url, **arguments)

    with pytest.raises(errors.CollectError) as caught:
        driver.fetch_all('level', *PERIODS[0], 'past-a')

    assert text in str(caught.value)
    assert not isinstance(caught.value, errors.SourceUnreachable)


UNREACHABLE = [
    faults.text('<html>'),
    faults.text('<html>', status=404),
    faults.text('', status=401),
    faults.text('<html>', status=503),
    faults.text('<html>', status=500),
    faults.truncated,
    faults.reset,
    faults.as_json({}),
    faults.as_json([1]),
    faults.as_json(None, status=400),
    faults.hang,
    faults.drip,
    faults.drip_head,
]


@pytest.mark.parametrize('answer', UNREACHABLE)
def test_a_failing_source_is_an_error_never_no_data(conf, answer):
    with faults.FaultyServer(answer) as server:
        url = f'http://{server.address}'
        driver = build(conf, url, options={'timeout': 1})
        with pytest.raises(errors.SourceUnreachable, match=f'Gnocchi at {url}: '):
            driver.fetch_all('level', *PERIODS[0], 'past-a')
        peer.basic_auth(conf, GnocchiFetcher, url, timeout=1)
        with pytest.raises(errors.FetcherError, match=f"Fetcher 'gnocchi': Gnocchi at {url}: "):
            GnocchiFetcher(conf).get_tenants()


@pytest.mark.parametrize(
    'row',
    [
        {},
        {'id': 'x'},
        {
            'id': 'x',
            'revision_start': 'soon',
            'revision_end': None,
            'project_id': 'past-a',
            'name': 'n',
        },
    ],
)
def test_an_odd_answer_is_of_this_metric_only(conf, row):
    with faults.FaultyServer(faults.as_json([row])) as server:
        driver = build(conf, f'http://{server.address}')
        with pytest.raises(errors.CollectError) as caught:
            driver.fetch_all('level', *PERIODS[0], 'past-a')

    assert not isinstance(caught.value, errors.SourceUnreachable)


@pytest.mark.parametrize('odd', [float('nan'), float('inf'), None])
def test_a_measure_that_is_no_number_holds_nobody_back(conf, odd, caplog):
    """Any tenant can add one to a resource of their own; the rest of it counts."""
    revision = {'revision_start': timeframe.render(LONG_AGO), 'revision_end': None}
    rows = [
        {'id': name, 'name': name, 'project_id': scope_id, **revision}
        for name, scope_id in (('good', 'past-a'), ('odd', 'past-b'))
    ]

    def granules(name, *values):
        found = [
            [timeframe.render(BEGIN + number * MINUTE * 5), 300.0, value]
            for number, value in enumerate(values)
        ]
        return {'group': {'id': name}, 'measures': {'measures': {'aggregated': found}}}

    usage = [granules('good', 1.0, 2.0), granules('odd', 4.0, odd, 3.0)]
    answers = faults.in_turn(faults.as_json(rows), faults.as_json(usage))
    with faults.FaultyServer(answers) as server:
        driver = build(conf, f'http://{server.address}', aggregation_method='max')

        found = collected(driver, periods=PERIODS[:1])

    hour = PERIODS[0].begin.hour
    assert found == {('past-a', hour, 'good'): 2, ('past-b', hour, 'odd'): 4}
    assert 'level: 1 granules that are NaN or infinite skipped' in caplog.text


@pytest.mark.parametrize(
    'values, quantity, is_unusable',
    [
        # Each is five minutes of an hour.
        ([2.0] * 10 + [float('nan')] * 2, 2, False),
        ([2.0] * 9 + [float('nan')] * 3, 2, True),
        ([float('inf')] * 12, None, True),
        ([-2.0] * 12, None, True),
    ],
)
def test_measures_that_cannot_be_used_are_told(conf, values, quantity, is_unusable):
    """If nothing is left of a period, or too little; of the scope that had the resource."""
    revision = {'revision_start': timeframe.render(LONG_AGO), 'revision_end': None}
    row = {'id': 'odd', 'name': 'odd', 'project_id': 'past-b', **revision}
    granules = [
        [timeframe.render(PERIODS[1].begin + number * MINUTE * 5), 300.0, value]
        for number, value in enumerate(values)
    ]
    usage = {'group': {'id': 'odd'}, 'measures': {'measures': {'aggregated': granules}}}
    answers = faults.in_turn(faults.as_json([row]), faults.as_json([usage]))
    with faults.FaultyServer(answers) as server:
        driver = build(conf, f'http://{server.address}', aggregation_method='max')

        found = list(driver.collect_columns('level', PERIODS[:2], SCOPES))

    usable = [(scope_id, one) for scope_id, one in found if not isinstance(one, Unusable)]
    told = [(scope_id, list(one.offsets)) for scope_id, one in found if isinstance(one, Unusable)]
    assert [(scope_id, list(one.quantities)) for scope_id, one in usable] == (
        [] if quantity is None else [('past-b', [quantity])]
    )
    assert told == ([('past-b', [1])] if is_unusable else [])


def test_a_full_page_that_names_no_next_one_is_no_answer(conf):
    """A proxy may have removed the header; the other resources would be lost."""
    with faults.FaultyServer(faults.as_json([{'id': 'x'}] * 1000)) as server:
        peer.basic_auth(conf, GnocchiFetcher, f'http://{server.address}')
        with pytest.raises(errors.FetcherError, match='remove the header Link'):
            GnocchiFetcher(conf).get_tenants()


def test_an_answer_without_end_is_refused(conf):
    with faults.FaultyServer(faults.huge) as server:
        driver = build(conf, f'http://{server.address}')
        driver.client.answer_size_max = 2**20
        with pytest.raises(errors.CollectError, match='the answer has more than 1048576 bytes'):
            driver.fetch_all('level', *PERIODS[0], 'past-a')


def test_collecting_goes_on_when_the_server_is_back(conf, server):
    driver = build(conf, server.url)
    hasty = build(conf, server.url, options={'timeout': 1})
    whole = collected(driver)

    server.kill()
    try:
        with pytest.raises(errors.SourceUnreachable):
            collected(driver)
    finally:
        server.start()
    assert collected(driver) == whole

    server.hold()
    try:
        with pytest.raises(errors.SourceUnreachable, match='no answer in time'):
            collected(hasty)
    finally:
        server.resume()
    assert collected(driver) == whole


@pytest.mark.parametrize(
    'options, text',
    [
        ({'gnocchi_endpoint': ''}, '[collector_gnocchi]gnocchi_endpoint is not set'),
        (
            {'gnocchi_endpoint': 'a:8041'},
            "[collector_gnocchi]gnocchi_endpoint is 'a:8041'; allowed",
        ),
        ({'gnocchi_auth_type': 'keystone'}, '[collector_gnocchi]auth_type is missing'),
        ({'cafile': '/no/such'}, '[collector_gnocchi]cafile: there is no file /no/such'),
        ({'certfile': '/no/such'}, '[collector_gnocchi]certfile: there is no file /no/such'),
    ],
)
def test_a_wrong_option_is_named(conf, options, text):
    with pytest.raises(errors.ConfigurationError) as caught:
        build(conf, 'http://127.0.0.1:9', options=options)

    assert text in str(caught.value)


@pytest.mark.parametrize(
    'types, wanted',
    [
        (['machine'], SCOPES),
        ([], (*SCOPES, 'alpha')),
        (['generic'], (*SCOPES, 'alpha')),
        (['machine', 'test'], (*SCOPES, 'alpha')),
    ],
)
def test_scopes_of_types(conf, server, types, wanted):
    """Gnocchi's answer has owners of today, so past-a is that of other resources."""
    peer.basic_auth(conf, GnocchiFetcher, server.url, resource_types=types)

    found = GnocchiFetcher(conf).get_tenants()

    assert set(wanted) <= set(found)
    assert ('alpha' in found) == ('alpha' in wanted)


def test_another_attribute_can_name_the_scope(conf, server):
    peer.basic_auth(conf, GnocchiFetcher, server.url, scope_attribute='flavor')

    assert GnocchiFetcher(conf).get_tenants() == ['large', 'm1.large', 'm1.small', 'small']
    conf.set_override('scope_attribute', 'no_such', GnocchiFetcher.GROUP)
    with pytest.raises(errors.FetcherError, match="has an attribute 'no_such'"):
        GnocchiFetcher(conf).get_tenants()


def test_a_token_that_is_no_longer_valid_is_replaced(conf, server, keystone):
    """In the middle of a cycle; a wrong password is an outage, and is not in the error."""
    keystone.grant('admin', user='metering', project='service')
    group = GnocchiCollector.GROUP
    conf.register_opts(loading.get_auth_plugin_conf_options('v3password'), group)
    login = {
        'gnocchi_auth_type': 'keystone',
        'auth_type': 'v3password',
        'auth_url': f'{keystone.url}/v3',
        'username': 'metering',
        'password': 'metering',
        'project_name': 'service',
        'user_domain_id': 'default',
        'project_domain_id': 'default',
    }
    with server.with_tokens(keystone) as api:
        keystone.announce(api.url, name='gnocchi', kind='metric')
        driver = build(conf, '', options=login)
        whole = collected(driver)
        assert_close(whole, expected('max'))

        keystone.revoke(driver.client.api.get_token())
        assert collected(driver) == whole

        driver = build(conf, '', options={**login, 'password': 'wrong-secret'})
        with pytest.raises(errors.SourceUnreachable, match='Unauthorized') as caught:
            collected(driver)
        assert 'wrong-secret' not in str(caught.value)


GAUGES = {
    # Name: minutes in which resources of two scopes are measured, and whether they ended.
    'away': ([(0, 75), (160, 240)], False),
    'left': ([(0, 75)], True),
    'witness': ([(0, 240)], False),
}


@pytest.fixture(scope='module')
def gauges(server):
    begin = BEGIN.timestamp()
    server.load(
        peer.Resource(
            peer.resource_id('gauge', name, scope_id),
            'machine',
            [peer.Revision(LONG_AGO, {'project_id': scope_id, 'flavor': 'f', 'name': name})],
            {name: [(begin + m * 60, 1) for span in spans for m in range(*span, 5)]},
            LONG_AGO,
            BEGIN + spans[-1][1] * MINUTE if has_ended else None,
        )
        for name, (spans, has_ended) in GAUGES.items()
        for scope_id in ('gauge-a', 'gauge-b')
    )
    return server


def test_holes_are_told_from_resources_that_ended(conf, gauges):
    """All gaps are found with one small request for each metric, and two for each gap."""
    driver = build(conf, gauges.url, 'away')
    for name in ('left', 'witness'):
        driver.conf |= build(conf, gauges.url, name).conf

    found = driver.coverage(
        ['away', 'left', 'witness'],
        PERIODS[1:3],
        known={},
        now=END,
        scope_ids=['gauge-a', 'gauge-b'],
    )

    assert {
        name: [((one.begin - BEGIN) // MINUTE, (one.end - BEGIN) // MINUTE, one.is_hole, one.sign)]
        for name, coverage in found.items()
        for one in coverage.gaps
    } == {
        'away': [(75, 160, True, '2 resources have samples before and after it')],
        'left': [
            (75, 240, False, 'other metrics have samples in it, and no resource has samples '
             'before and after it')
        ],
    }  # fmt: skip
    assert {coverage.spacing_s for coverage in found.values()} == {300}
