"""The module with its database: choice and order of scripts, both modules together."""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.core import dataframe, decimals
from cloudkitty.db import tables
from cloudkitty.rating.hashmap.store import mappings, services
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.rating.pyscripts import host
from cloudkitty.rating.pyscripts import store as db_pyscripts
from cloudkitty.rating.pyscripts.processor import PyScripts
from cloudkitty.storage.v2 import sql

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PRICES = "for points in data['usage'].values():\n  for item in points: item['rating']['price'] "
DOUBLE = PRICES + "= item['rating']['price'] * 2 + 1"


def frame(qty=4, start=START):
    point = dataframe.DataPoint('u', qty, 0, {'project_id': 'p'}, {}, 'what it is')
    return dataframe.DataFrame(start, start + HOUR, {'instance': [point]})


def price(rated):
    return rated.usage['instance'][0].price


def enable(database, **priorities):
    with database.writer() as connection:
        for name, priority in priorities.items():
            connection.execute(
                tables.modules.insert().values(name=name, state=True, priority=priority)
            )


def add_script(database, data, name='s', **values):
    new = db_pyscripts.NewScript(
        **{'name': name, 'data': data, 'start': START - 9 * HOUR, **values}
    )
    return database.write(
        lambda connection: db_pyscripts.create(
            connection, new, now=datetime.now(UTC), author='me', force=True
        )
    ).script_id


def add_rule(database, cost):
    def change(connection):
        service = services.create(connection, 'instance')
        new = mappings.NewMapping(
            cost=Decimal(cost), service_id=service.service_id, start=START - 9 * HOUR
        )
        mappings.create(connection, new, now=datetime.now(UTC), author='me', force=True)

    database.write(change)


@pytest.fixture
def modules(conf, database):
    return ModuleSet(conf, database)


@pytest.mark.parametrize(
    'hashmap, pyscripts, expected',
    [
        (10, 5, '5'),
        (5, 10, '3'),
        (1, 1, '5'),
        (-1, 1, '3'),
        (1, -1, '5'),
    ],
)
def test_hashmap_and_scripts_in_every_order(database, modules, hashmap, pyscripts, expected):
    add_rule(database, '0.5')
    add_script(database, DOUBLE)
    enable(database, hashmap=hashmap, pyscripts=pyscripts)

    rated = modules.rate(frame(), 'p')

    assert str(decimals.render_decimal(price(rated))) == expected + '.0'
    assert rated.usage['instance'][0].description == 'what it is'


@pytest.mark.parametrize('names', itertools.permutations(['add 1', 'times 10']))
def test_scripts_run_by_start_and_then_by_name(database, modules, names):
    sources = {'add 1': PRICES + '+= 1', 'times 10': PRICES + '*= 10'}
    for name in names:
        add_script(database, sources[name], name)
    enable(database, pyscripts=1)
    assert price(modules.rate(frame(), 'p')) == 10

    add_script(database, PRICES + '+= 7', 'z', start=START - 10 * HOUR)
    modules.refresh()
    assert price(modules.rate(frame(), 'p')) == 80


def test_scripts_are_chosen_by_the_start_of_the_period(database, modules):
    """A deleted one goes on for what began before."""
    add_script(database, PRICES + '= 5', end=START)
    deleted = add_script(database, PRICES + '+= 1', 'deleted')
    database.write(
        lambda connection: db_pyscripts.delete(
            connection, deleted, now=START + HOUR / 2, author='me'
        )
    )
    enable(database, pyscripts=1)
    prices = [
        price(modules.rate(frame(start=START + hours * HOUR), 'p')) for hours in (-10, -9, -1, 0, 1)
    ]
    assert prices == [0, 5, 5, 1, 0]


def test_a_change_of_scripts_is_seen_at_the_next_refresh(database, modules):
    enable(database, pyscripts=1)
    modules.refresh()
    assert price(modules.rate(frame(), 'p')) == 0
    add_script(database, PRICES + '= 3')
    modules.refresh()
    assert price(modules.rate(frame(), 'p')) == 3


def test_the_process_of_former_scripts_ends(database, modules, monkeypatch):
    started = []
    start = host._start
    monkeypatch.setattr(host, '_start', lambda limits: started.append(start(limits)) or started[-1])
    enable(database, pyscripts=1)
    for number in range(2):
        add_script(database, PRICES + f'+= {number}', str(number))
        modules.refresh()
        modules.rate(frame(), 'p')
    assert [popen.poll() is None for popen in started] == [False, True]


def test_what_scripts_make_can_be_stored(any_conf, any_database):
    """Each limit of a script is one that every database keeps: no scope waits for ever."""
    add_script(
        any_database,
        """
from decimal import Decimal
item = data['usage']['instance'][0]
item['rating']['price'] = Decimal(10) ** 20 - Decimal('1e-7') + Decimal('1e-60')
item['vol'] = {'qty': '1e-99', 'unit': '\U0001f431' * 255}
item['groupby'] = {'project_id': '\U0001f431' * 256, 'a' * 255: None, 'b': 'x' * 100000}
item['metadata'] = {'nul': '\\0', 'many': [[[1.5]], {'x': 2 ** 63}]}
data['usage'] = {'\u00fc' * 255: [item] * 3, 'instance': [item]}
""",
    )
    enable(any_database, pyscripts=1)
    rated = ModuleSet(any_conf, any_database).rate(frame(), 'p')
    assert len(rated.usage) == 2
    storage = sql.SQLStorage(any_conf)
    for _ in range(2):
        storage.push([rated], 'p')
    (found,) = storage.retrieve(START, START + HOUR)['dataframes']
    assert {name: len(points) for name, points in found.itertypes()} == {
        name: len(points) for name, points in rated.itertypes()
    }
    (point,) = found.usage['instance']
    assert point.description == 'what it is'
    assert point.groupby['project_id'] == '\U0001f431' * 256
    storage.database.engine.dispose()


def test_a_quote_runs_the_scripts(database, modules):
    add_script(database, PRICES + "= item['vol']['qty'] / 3")
    enable(database, pyscripts=1)
    assert price(modules.quote(frame())) == Decimal('1.333333333333333333333333333')


def test_a_bad_script_lets_nothing_pass(database, modules):
    """Neither usage to be stored nor a quote goes on without its price."""
    add_script(database, 'return 0', 'bad')
    add_script(database, PRICES + '= 3', 'good')
    enable(database, pyscripts=1)
    for price_it in (lambda: modules.rate(frame(), 'p'), lambda: modules.quote(frame())):
        with pytest.raises(errors.PriceScriptFailed, match="Script 'bad'"):
            price_it()


def test_limits_are_options(conf, database, modules):
    modules.refresh()
    enable(database, pyscripts=1)
    add_script(database, 'import time; time.sleep(99)')
    conf.register_opts(PyScripts.OPTS, group=PyScripts.GROUP)
    conf.set_override('time_limit', 0.2, PyScripts.GROUP)
    modules.refresh()
    with pytest.raises(errors.PriceScriptFailed, match=r'it did not finish within 0\.2 s'):
        modules.rate(frame(), 'p')
