"""What the collector and the fetcher make of pushed usage."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.core.columns import NEGATIVE, Unusable
from cloudkitty.core.metering import facts
from cloudkitty.core.timeframe import Period
from cloudkitty.fetcher.metering import MeteringFetcher
from cloudkitty.tests import usage
from cloudkitty.tests.usage import HOUR, NOW, ORIGIN, entry, fact, life, us

BEGIN = facts.from_us(us(10))
HOURS = [Period(BEGIN + number * HOUR, BEGIN + (number + 1) * HOUR) for number in range(3)]


def build(conf, *, sources=(), **definition):
    """Return a collector of volume.size."""
    conf.register_opts(MeteringCollector.OPTS, MeteringCollector.GROUP)
    conf.set_override('sources', list(sources), MeteringCollector.GROUP)
    content = {'metrics': {'volume.size': {'unit': 'GiB', **definition}}}
    return MeteringCollector(period=3600, service_conf=conf, conf=content)


def collected(driver, scope_ids=('p1',), periods=HOURS):
    """Return {(hour, id, attributes beside it): quantity}."""
    found = {}
    for scope_id, period, points in driver.collect('volume.size', periods, scope_ids):
        for point in points:
            assert point.groupby['project_id'] == scope_id
            others = (*point.series.groupby.values(), *point.series.metadata.values())
            attributes = set(others) - {scope_id, point.groupby['id']}
            key = (period.begin.hour, point.groupby['id'], *sorted(attributes))
            assert key not in found
            found[key] = point.qty
    return found


def push(database, *stated, **more):
    outcome = usage.intake(database).store([entry(one, **more) for one in stated], ORIGIN)
    assert outcome.rejected == {}


def test_a_volume_by_the_second(any_conf, any_database):
    """The hour costs the same to the last digit, whatever order its facts come in, also twice."""
    start = us(12) + 42 * 60 * facts.SECOND_US
    stated = [
        *life(start + 7_581_206, start + 23_945_305, '3'),
        fact(start + 12_858_113, '5', kind=facts.STATE, stage=facts.CHANGE),
    ]
    for order in itertools.permutations(stated):
        for one in (*order, random.Random(1).choice(order)):
            usage.store(any_database, one)

    noon = facts.from_us(us(12))
    found = collected(build(any_conf), periods=[Period(noon, noon + HOUR)])

    # (3 × 5.276907 + 5 × 11.087192) ÷ 3600
    assert found == {(12, 'v1'): Decimal('0.01979630027777777777777777778')}


@pytest.mark.parametrize(
    'stated, definition, expected',
    [
        (
            life(us(10.25), us(12.5), '4'),
            {},
            {(10, 'v1'): 3, (11, 'v1'): 4, (12, 'v1'): 2},
        ),
        # Open, and changed.
        (
            [
                *life(us(9), None, '4'),
                fact(us(11.5), '8', kind=facts.STATE, stage=facts.CHANGE),
            ],
            {'extra_args': {'kind': 'state', 'per': 'minute'}},
            {(10, 'v1'): 240, (11, 'v1'): 360, (12, 'v1'): 480},
        ),
        (
            life(us(9), None, '4'),
            {'extra_args': {'kind': 'state', 'aggregation_method': 'max'}, 'factor': '1/2'},
            {(10, 'v1'): 2, (11, 'v1'): 2, (12, 'v1'): 2},
        ),
        # A gauge from before the periods holds on, and not for ever.
        (
            [fact(us(9.9), '6', kind=facts.GAUGE), fact(us(10.5), '3', kind=facts.GAUGE)],
            {'extra_args': {'kind': 'gauge', 'hold': 1800}},
            {(10, 'v1'): Decimal('0.4') * 6 + Decimal('0.5') * 3},
        ),
        (
            [fact(us(10.5), '3', kind=facts.GAUGE), fact(us(10.6), '5', kind=facts.GAUGE)],
            {'extra_args': {'kind': 'gauge', 'aggregation_method': 'mean'}},
            {(10, 'v1'): 4},
        ),
        # A counter goes on where it was days ago.
        (
            [
                fact(us(1, day=27), '100', kind=facts.CUMULATIVE),
                fact(us(10.5), '107', kind=facts.CUMULATIVE),
                fact(us(12.5), '2', kind=facts.CUMULATIVE),
            ],
            {},
            {(10, 'v1'): 7, (12, 'v1'): 2},
        ),
        # The first value is a baseline.
        (
            [fact(us(10.5), '107', kind=facts.CUMULATIVE)],
            {},
            {(10, 'v1'): 0},
        ),
        # Unless the resource was young then.
        (
            [
                fact(us(10.5), '107', kind=facts.CUMULATIVE),
                *life(us(10.3), None, meter='instance'),
            ],
            {},
            {(10, 'v1'): 107},
        ),
        ([fact(us(10.5), '2', tag=1), fact(us(10.6), '3', tag=2)], {}, {(10, 'v1'): 5}),
        ([fact(us(10.5), '-2')], {}, {}),
        ([fact(us(10.5), '-2')], {'allow_negative': True}, {(10, 'v1'): -2}),
        # Only what is asked for.
        ([fact(us(10.5), '2')], {'extra_args': {'kind': 'gauge'}}, {}),
        ([fact(us(10.5), '2')], {'extra_args': {'source': 'other'}}, {}),
        ([fact(us(10.5), '2', scope_id='p2'), fact(us(9.9)), fact(us(13))], {}, {}),
    ],
)
def test_kinds(conf, database, stated, definition, expected):
    """Each kind of usage is aggregated as it means."""
    push(database, *stated)

    assert collected(build(conf, **definition)) == expected


def test_quantities_below_0_are_told(conf, database):
    push(database, fact(us(10.5), '2'), fact(us(11.5), '-2'), fact(us(12.5), '-2', scope_id='p2'))

    found = build(conf).collect_columns('volume.size', HOURS, ['p1', 'p2'])

    told = [(scope_id, one) for scope_id, one in found if isinstance(one, Unusable)]
    assert told == [('p1', Unusable([1], NEGATIVE)), ('p2', Unusable([2], NEGATIVE))]


def test_attributes_of_the_time(conf, database):
    """A change of an attribute divides a period; what the definition does not name adds up."""
    slow, fast = ({'volume_type': name, 'host': name * 2} for name in ('slow', 'fast'))
    push(
        database,
        *life(us(10), None, '4', attributes=facts.Attributes(slow)),
        fact(
            us(10.25), '4', kind=facts.STATE, stage=facts.CHANGE, attributes=facts.Attributes(fast)
        ),
        fact(
            us(10.5),
            '4',
            kind=facts.STATE,
            stage=facts.CHANGE,
            attributes=facts.Attributes(fast, host='other'),
        ),
    )

    found = collected(build(conf, groupby=['volume_type']), periods=HOURS[:1])

    assert found == {(10, 'v1', 'slow'): 1, (10, 'v1', 'fast'): 3}


@pytest.mark.parametrize('kind', facts.KINDS)
def test_a_batch_of_periods_says_what_each_of_them_says(any_conf, any_database, kind):
    """Also if a resource has several sources, and changes between periods or in them."""
    choose = random.Random(kind)
    for number in range(60):
        resource_id, source = choose.choice('abcd'), choose.choice('rst')
        at = us(choose.choice([8, 9, 10, 11, 12]) + choose.choice([0, 0.25, 0.6]))
        quantity, tag = str(number), number + 1 if kind == facts.DELTA else 0
        stage = choose.choice([facts.BEGIN, facts.CHANGE, facts.END])
        stage = stage if kind == facts.STATE else facts.SAMPLE
        attributes = facts.Attributes(state=choose.choice('xy'))
        usage.store(
            any_database,
            fact(
                at,
                quantity,
                kind=kind,
                resource_id=resource_id,
                source=source,
                stage=stage,
                tag=tag,
                attributes=attributes,
            ),
        )
    driver = build(any_conf, metadata=['state'], extra_args={'hold': 7200})

    found = collected(driver)

    assert len({hour for hour, *_ in found}) == 3
    each = [collected(driver, periods=[hour]) for hour in HOURS]
    assert found == {**each[0], **each[1], **each[2]}


def test_several_sources_are_never_added_up(conf, database):
    """In each period the first that has data counts; the project's own counts last."""
    push(database, *life(us(10), us(12), '4', source='b'))
    push(database, *life(us(11), None, '5', source='a'))
    push(database, *life(us(10), None, '7', source='p1:a'))
    push(database, fact(us(12.5), '9', kind=facts.GAUGE, source='a'))

    assert collected(build(conf)) == {(10, 'v1'): 4, (11, 'v1'): 5, (12, 'v1'): 5}
    assert collected(build(conf, sources=['b'])) == {(10, 'v1'): 4, (11, 'v1'): 4, (12, 'v1'): 5}
    only = build(conf, extra_args={'source': 'p1:a'})
    assert collected(only) == dict.fromkeys([(hour, 'v1') for hour in (10, 11, 12)], 7)


def test_many_scopes_at_once(any_conf, any_database):
    """Each has its own; periods with gaps between them are asked for as well."""
    for number in range(30):
        push(any_database, *life(us(10), None, str(number + 1), scope_id=f'p{number}'))

    found = {
        (scope_id, period.begin.hour): points[0].qty
        for scope_id, period, points in build(any_conf).collect(
            'volume.size', [HOURS[0], HOURS[2]], [f'p{number}' for number in range(30)]
        )
    }

    assert found == {(f'p{number}', hour): number + 1 for number in range(30) for hour in (10, 12)}


def test_how_far_sources_are_complete(any_conf, any_database):
    """The one that is behind counts; who never says so is not waited for."""
    driver = build(any_conf)
    since = NOW - timedelta(days=1)
    assert driver.newest(['volume.size'], since=since, now=NOW) == {}

    intake = usage.intake(any_database)
    for source, hour in (('a', 12), ('b', 11), ('a', 14)):
        intake.store(
            [usage.Entry('{}', (), source=source, meter='volume.size', until=us(hour - 1))], ORIGIN
        )

    found = driver.newest(['volume.size'], since=since, now=NOW)
    assert found == {'volume.size': facts.from_us(us(10))}
    assert driver.newest(['volume.size'], since=NOW + HOUR, now=NOW) == {}


@pytest.mark.parametrize(
    'extra_args, named',
    [
        ({'kind': 'level'}, 'kind'),
        ({'kind': 'state', 'aggregation_method': 'mean'}, 'aggregation_method'),
        ({'aggregation_method': 'max'}, 'needs kind'),
        ({'hold': 90000}, 'hold'),
        ({'hold': 0}, 'hold'),
        ({'per': 'day'}, 'per'),
        ({'first': 'never'}, 'first'),
    ],
)
def test_definitions_that_are_refused(conf, extra_args, named):
    """The error names the key."""
    with pytest.raises(errors.InvalidInput, match=named):
        build(conf, extra_args=extra_args)


def test_a_database_that_is_away(conf, tmp_path):
    """Nothing is said of the usage, so nothing is rated."""
    conf.set_override('connection', f'sqlite:///{tmp_path}/none/none.sqlite', 'database')

    with pytest.raises(errors.SourceUnreachable):
        collected(build(conf))
    with pytest.raises(errors.FetcherError):
        MeteringFetcher(conf).get_tenants()


def test_scopes_with_usage_of_late(any_conf, any_database):
    """Those whose resources exist, or that were measured, in the last days."""
    now = datetime.now(UTC)
    fetcher = MeteringFetcher(any_conf)
    any_conf.set_override('since', 10, 'fetcher_metering')

    def push_all(stated):
        usage.intake(any_database, now).store([entry(one) for one in stated], ORIGIN)

    def ago(days):
        return facts.to_us(now - timedelta(days=days))

    push_all(life(ago(30), None, scope_id='alive'))
    push_all(life(ago(30), ago(9), scope_id='just gone'))
    push_all(life(ago(30), ago(11), scope_id='long gone'))
    push_all([fact(ago(9), scope_id='measured'), fact(ago(11), scope_id='silent')])

    assert fetcher.get_tenants() == ['alive', 'just gone', 'measured']


@pytest.mark.parametrize(
    'kind, expected', [(facts.GAUGE, True), (facts.CUMULATIVE, True), (facts.DELTA, None)]
)
def test_holes_of_what_is_measured_again_and_again(any_conf, any_database, kind, expected):
    """The same resource is measured before and after; what is used up comes when it comes."""
    minutes = [*range(0, 400, 10)]
    for minute in minutes:
        if not 200 <= minute < 270:
            usage.store(any_database, fact(us(8 + minute / 60), '1', kind=kind))
    driver = build(any_conf)

    found = driver.coverage(['volume.size'], HOURS, known={}, now=NOW, scope_ids=['p1'])

    gaps = [gap for one in found.values() for gap in one.gaps]
    assert [
        ((gap.begin - BEGIN).total_seconds() / 60, (gap.end - BEGIN).total_seconds() / 60)
        for gap in gaps
    ] == ([(80, 150)] if expected else [])
    assert [gap.is_hole for gap in gaps] == ([True] if expected else [])
