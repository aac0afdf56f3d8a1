"""Driver `sqlalchemy` of storage interface 1: tables of this release and of earlier ones."""

import logging
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty import storage as storages
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.core.timeframe import to_naive
from cloudkitty.storage.v1.sqlalchemy import SQLAlchemyStorage
from cloudkitty.storage.v1.table import ROWS
from cloudkitty.tests.conformance import storage as conformance
from cloudkitty.tests.conformance.storage import HOUR, JUNE, MAY, frame, point, totals

# As releases before this one made it.
# Source: doc/source/contributor/compatibility/processing.rst, "Driver sqlalchemy of version 1".
FORMER = sa.Table(
    'rated_data_frames',
    sa.MetaData(),
    sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('begin', sa.DateTime, nullable=False),
    sa.Column('end', sa.DateTime, nullable=False),
    sa.Column('unit', sa.String(255), nullable=False),
    sa.Column('qty', sa.Numeric(15, 5), nullable=False),
    sa.Column('res_type', sa.String(255), nullable=False),
    sa.Column('rate', sa.Float, nullable=False),
    sa.Column('desc', sa.Text, nullable=False),
    sa.Column('tenant_id', sa.String(32)),
    sa.Index('idx_rated_data_frames_date', 'begin', 'end'),
    sa.Index('idx_tenantid_begin_end', 'tenant_id', 'begin', 'end'),
    mysql_charset='utf8',
    mysql_engine='InnoDB',
)


def opened(conf):
    conf.set_override('version', 1, 'storage')
    conf.set_override('backend', 'sqlalchemy', 'storage')
    return storages.get_driver(conf)


class TestOwnTable(
    conformance.ReadingContract,
    conformance.ExactnessContract,
    conformance.ReplacementContract,
    conformance.PushedContract,
    conformance.MarksContract,
):
    """A table that this release made keeps all of the contract but metadata apart."""

    @pytest.fixture
    def storage(self, any_database, any_conf):
        store = opened(any_conf)
        store.init()
        yield store
        store.database.engine.dispose()

    def test_nothing_is_said_to_be_lost(self, storage):
        assert storage.layout.losses == []


@pytest.fixture
def former(any_database, any_conf):
    """A store over a table of an earlier release, with points of two hours in it."""
    FORMER.create(any_database.engine)
    with any_database.writer() as connection:
        connection.execute(
            sa.insert(FORMER),
            [
                {
                    'begin': to_naive(MAY + hour * HOUR),
                    'end': to_naive(MAY + (hour + 1) * HOUR),
                    'unit': 'GiB',
                    'qty': Decimal('0.1'),
                    'res_type': kind,
                    'rate': 0.5,
                    'desc': desc,
                    'tenant_id': 'a',
                }
                for hour in range(2)
                for kind, desc in (('volume', '{"id": "v"}'), ('volume', '{"id": "V"}'))
            ],
        )
        connection.execute(
            sa.insert(FORMER),
            [
                {
                    'begin': to_naive(MAY),
                    'end': to_naive(MAY + HOUR),
                    'unit': 'None',
                    'qty': 0,
                    'res_type': '_NO_DATA_',
                    'rate': 0,
                    'desc': '""',
                    'tenant_id': 'b',
                }
            ],
        )
    store = opened(any_conf)
    yield store
    store.database.engine.dispose()


def test_a_former_table_is_read_and_added_to(former):
    former.init()
    former.push([frame(MAY + 2 * HOUR, {'volume': [point('a', '0.2', '0.25', id='v')]})], 'a')
    former.push([frame(MAY + HOUR, {'volume': [point('a', '0.3', 2, id='v')]})], 'a')

    assert totals(former, ['id']) == [
        ('V', Decimal('0.1'), Decimal('0.5')),
        ('v', Decimal('0.6'), Decimal('2.75')),
    ]
    assert totals(former, ['project_id'], filters={'project_id': ['A', 'b']}) == []
    (first, *_) = former.retrieve(MAY, JUNE)['dataframes']
    assert [
        (found.qty, found.price, found.unit, found.groupby['project_id'])
        for found in first.usage['volume']
    ] == [(Decimal('0.1'), Decimal('0.5'), 'GiB', 'a')] * 2


def test_former_prices_are_read_as_they_were_written(former):
    """Not with the digits that follow from a floating point number, which sums would gather."""
    prices = [Decimal(text) for text in ('0.01', '0.000013', '1234567.9', '16777216', '-0.3', '0')]
    former.push(
        [
            frame(
                MAY + HOUR * hour,
                {
                    'cpu': [
                        point('c', 1, price, id=f'{number}') for number, price in enumerate(prices)
                    ]
                },
            )
            for hour in range(3)
        ],
        'c',
    )

    assert [row[2] for row in totals(former, ['id'], filters={'project_id': 'c'})] == [
        3 * price for price in prices
    ]
    found = former.retrieve(MAY, MAY + HOUR, {'project_id': 'c'})['dataframes'][0]
    assert [one.price for one in found.usage['cpu']] == prices


def test_what_a_former_table_loses_is_told(former, caplog):
    with caplog.at_level(logging.WARNING):
        former.init()

    assert 'qty holds 10 digits before the point and 5 after it' in caplog.text
    assert 'rate holds a floating point number' in caplog.text
    assert 'at most 32 characters' in caplog.text
    for scope_id, quantity in (('a' * 33, '1'), ('a', '1e10')):
        with pytest.raises(errors.InvalidInput, match='has place for'):
            former.push([frame(MAY, {'volume': [point('a', quantity)]})], scope_id)
    with pytest.raises(errors.Conflict, match='cannot tell pushed points'):
        former.push([frame(MAY, {'volume': [point('a')]})])
    former.push([frame(MAY, {'volume': [point('c', '0.000015', 1)]})], 'c')
    assert totals(former, ['project_id'])[1:] == [('c', Decimal('0.00002'), 1)]


def test_a_missing_table_is_told(any_conf, any_database):
    store = opened(any_conf)

    with pytest.raises(errors.SchemaMismatch, match='run `cloudkitty-storage-init`'):
        store.retrieve(MAY, JUNE)
    store.database.engine.dispose()


def test_the_methods_of_interface_1(database, conf):
    """What a program that uses the driver itself finds."""
    driver = SQLAlchemyStorage(conf)
    driver.init()
    begin, end = to_naive(MAY), to_naive(JUNE)
    hour = to_naive(MAY + HOUR)
    driver.append([DataFrame(begin, hour, {'cpu': [point('a', 1, 2)]})], 'a')
    driver.append([DataFrame(begin, hour, {'disk': [point('a', 3, 1)]})], 'a')
    assert driver.get_state('a') is None

    driver.commit('a')
    driver.nodata(begin, hour, 'b')
    driver.commit('b')

    assert [driver.get_state(name) for name in ('a', None, 'c')] == [begin, begin, None]
    assert driver.get_tenants(begin, end) == ['a']
    assert driver.get_total(begin, end, groupby='tenant_id,res_type') == [
        {'begin': begin, 'end': end, 'rate': 1, 'tenant_id': 'a', 'res_type': 'disk'},
        {'begin': begin, 'end': end, 'rate': 2, 'tenant_id': 'a', 'res_type': 'cpu'},
    ]
    assert driver.get_total(begin, end, 'a', 'cpu') == [
        {'begin': begin, 'end': end, 'rate': 2, 'tenant_id': 'a', 'res_type': 'cpu'}
    ]
    (only,) = driver.get_time_frame(begin, end, 'cpu', 'a')
    assert only['usage']['cpu'][0]['rating'] == {'price': 2}
    assert driver.get_time_frame(begin, end, None, 'b') == []
    with database.reader() as connection:
        assert sorted(connection.execute(sa.select(ROWS.c.tenant_id, ROWS.c.res_type)).all()) == [
            ('a', 'cpu'),
            ('a', 'disk'),
            ('b', '_NO_DATA_'),
        ]
