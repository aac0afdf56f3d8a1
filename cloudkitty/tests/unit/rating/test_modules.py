"""The modules together: order, new rules, and modules that fail.

Source: doc/source/contributor/compatibility/rating.rst, "Worked examples".
"""

import concurrent.futures
import itertools
import re
import threading
import weakref
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pecan import rest

from cloudkitty import errors, rating
from cloudkitty.core import dataframe
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.db import tables
from cloudkitty.rating import module_state as db_modules
from cloudkitty.rating import noop, quote
from cloudkitty.rating.hashmap import processor
from cloudkitty.rating.hashmap.store import mappings, services
from cloudkitty.rating.modules import ModuleSet

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Doubling(rating.RatingProcessorBase):
    """A foreign module in the offset of a script: every price becomes price x 2 + 1."""

    module_name = 'pyscripts'
    description = 'Doubles.'

    def __init__(self, tenant_id=None):
        super().__init__(tenant_id)

    def process(self, frame):
        return dataframe.DataFrame(
            frame.start,
            frame.end,
            {
                name: [point.set_price(point.price * 2 + 1) for point in points]
                for name, points in frame.itertypes()
            },
        )


class Broken(Doubling):
    """A module that fails where its scope says."""

    def __init__(self, tenant_id=None):
        if tenant_id == 'at once':
            raise RuntimeError('no constructor')
        super().__init__(tenant_id)

    def reload_config(self, start=None):
        if self.tenant_id == 'at reload':
            raise RuntimeError('no rules')

    def process(self, frame):
        if self.tenant_id == 'at work':
            raise KeyError('a name')
        return None if self.tenant_id == 'silently' else frame


class Unready(Doubling):
    """A module whose rules cannot be loaded at first."""

    is_ready = False

    @classmethod
    def factory(cls, conf, database):
        if not cls.is_ready:
            raise RuntimeError('table missing')
        return cls


INSTALLED = {'hashmap': processor.HashMap, 'noop': noop.Noop, 'pyscripts': Doubling}


def frame(qty=4, start=START):
    point = dataframe.DataPoint('u', qty, 0, {'project_id': 'p'}, {})
    return dataframe.DataFrame(start, start + HOUR, {'instance': [point]})


def price(rated):
    return rated.usage['instance'][0].price


def set_state(database, name, **state):
    database.write(lambda connection: db_modules.update(connection, name, **state))


def store(database, name, priority):
    """Store a state as an old database may hold it."""
    with database.writer() as connection:
        connection.execute(tables.modules.insert().values(name=name, state=True, priority=priority))


def add_rule(database, cost, *, service='instance', **values):
    """Create a service, if needed, and a flat mapping of it."""

    def change(connection):
        known = {service.name: service for service in services.list_all(connection)}
        parent = known.get(service) or services.create(connection, service)
        new = mappings.NewMapping(
            cost=Decimal(cost), service_id=parent.service_id, start=START - 9 * HOUR, **values
        )
        return mappings.create(connection, new, now=datetime.now(UTC), author='me', force=True)

    return database.write(change)


@pytest.fixture
def modules(conf, database):
    return ModuleSet(conf, database, INSTALLED)


@pytest.mark.parametrize(
    'hashmap, pyscripts, expected',
    [
        (10, 5, 5),
        (5, 10, 3),
        (1, 1, 5),
        (-1, 1, 3),
        (0, 1, 5),
    ],
)
def test_the_highest_priority_runs_first_and_names_decide_ties(
    database, modules, hashmap, pyscripts, expected
):
    add_rule(database, '0.5')
    store(database, 'hashmap', hashmap)
    store(database, 'pyscripts', pyscripts)

    modules.refresh()

    assert price(modules.rate(frame(), 'p')) == expected


def test_all_metrics_of_a_frame_are_priced(database, modules):
    """Each by the rules of its service; one without rules stays as it is."""
    set_state(database, 'hashmap', enabled=True)
    add_rule(database, 2)
    add_rule(database, 3, service='volume')
    point = frame(4).usage['instance'][0]
    many = dataframe.DataFrame(
        START,
        START + HOUR,
        {'volume': [point], 'instance': [point, point.set_price(1)], 'other': [point]},
    )

    modules.refresh()
    rated = modules.rate(many, 'p')

    assert {name: [one.price for one in points] for name, points in rated.itertypes()} == {
        'instance': [8, 9],
        'other': [0],
        'volume': [12],
    }


def test_nothing_is_enabled_at_first_but_noop(database, modules):
    add_rule(database, '0.5')
    modules.refresh()
    assert modules.rate(frame(), 'p') == frame()


def test_states_and_rules_are_read_again_at_each_refresh(database, modules):
    set_state(database, 'hashmap', enabled=True)
    add_rule(database, 1)
    prices = []
    steps = (
        lambda: None,
        lambda: add_rule(database, 2, tenant_id='p'),
        lambda: set_state(database, 'pyscripts', enabled=True, priority=9),
        lambda: set_state(database, 'hashmap', enabled=False),
    )
    for step in steps:
        step()
        modules.refresh()
        prices.append((price(modules.rate(frame(1), 'p')), price(modules.rate(frame(1), 'q'))))
    assert prices == [(1, 1), (2, 1), (3, 2), (1, 1)]


def test_rules_are_loaded_once_per_version(conf, database):
    loads = []

    class Counting(processor.HashMap):
        @classmethod
        def factory(cls, conf, database):
            loads.append(cls)
            return super().factory(conf, database)

    modules = ModuleSet(conf, database, {**INSTALLED, 'hashmap': Counting})
    set_state(database, 'hashmap', enabled=True)
    for expected in (1, 2):
        add_rule(database, expected, tenant_id=str(expected))
        for _ in range(3):
            modules.refresh()
        assert len(loads) == expected


def test_each_period_is_priced_by_the_rules_valid_at_its_start(database, modules):
    set_state(database, 'hashmap', enabled=True)
    add_rule(database, 1, end=START)
    for hours, expected in ((-1, 4), (0, 0), (-2, 4), (-10, 0)):
        assert price(modules.rate(frame(start=START + hours * HOUR), 'p')) == expected


def test_a_quote_for_a_scope_is_made_by_its_rules(database, modules):
    """The rules are those of the moment, without a call of refresh()."""
    set_state(database, 'hashmap', enabled=True)
    add_rule(database, 1)
    add_rule(database, 2, tenant_id='p')

    assert price(modules.quote(frame(), 'p')) == 8
    assert price(modules.quote(frame(), 'q')) == 4
    add_rule(database, 3, tenant_id='q')
    assert price(modules.quote(frame(), 'q')) == 12


def test_quotes_of_several_threads_do_not_wait_for_each_other(conf, database):
    """Each has an instance of its own, so that modules need not be safe for threads."""
    meeting = threading.Barrier(2)
    built = []

    class Meeting(Doubling):
        def quote(self, frame):
            built.append(self)
            meeting.wait(timeout=20)
            return frame

    installed = {'noop': noop.Noop, 'pyscripts': Meeting}
    set_state(database, 'pyscripts', enabled=True)
    modules = ModuleSet(conf, database, installed)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        rated = list(pool.map(modules.quote, [frame(), frame()]))

    assert rated == [frame(), frame()]
    assert built[0] is not built[1]


def test_a_quote_is_made_by_general_rules(database, modules):
    set_state(database, 'hashmap', enabled=True)
    add_rule(database, 1)
    add_rule(database, 2, tenant_id='p')
    assert price(modules.quote(frame())) == 4
    assert price(modules.rate(frame(), 'p')) == 8


@pytest.mark.parametrize(
    'plugin, reason',
    [
        (ImportError('no such library'), 'no such library'),
        (Unready, 'table missing'),
    ],
)
def test_nothing_is_rated_while_an_enabled_module_cannot_load(conf, database, plugin, reason):
    modules = ModuleSet(conf, database, {**INSTALLED, 'x': plugin})
    modules.refresh()
    set_state(database, 'x', enabled=True)
    for attempt in (modules.refresh, lambda: modules.rate(frame(), 'p')):
        with pytest.raises(errors.ModuleLoadError, match=f"module 'x' cannot be loaded: {reason}"):
            attempt()
    set_state(database, 'x', enabled=False)
    assert modules.rate(frame(), 'p') == frame()


def test_a_module_that_becomes_loadable_is_used(conf, database, monkeypatch):
    modules = ModuleSet(conf, database, {**INSTALLED, 'x': Unready})
    set_state(database, 'x', enabled=True)
    with pytest.raises(errors.ModuleLoadError):
        modules.refresh()
    monkeypatch.setattr(Unready, 'is_ready', True)
    assert price(modules.rate(frame(), 'p')) == 1


def test_an_enabled_module_that_is_not_installed_stops_the_rating(database, modules):
    set_state(database, 'uninstalled', enabled=True)
    set_state(database, 'collector_gnocchi', enabled=True)
    with pytest.raises(errors.ModuleLoadError, match="'uninstalled' .* not installed"):
        modules.refresh()
    assert [module.module_id for module in modules.describe()] == [
        'hashmap',
        'noop',
        'pyscripts',
        'uninstalled',
    ]


@pytest.mark.parametrize(
    'scope, error, text',
    [
        ('at once', errors.ModuleLoadError, "'broken' cannot be loaded: no constructor"),
        ('at reload', errors.ModuleFailed, "'broken' failed: no rules"),
        ('at work', errors.ModuleFailed, "'broken' failed: 'a name'"),
        ('silently', errors.ModuleFailed, "'broken' failed: it returned NoneType"),
    ],
)
def test_a_module_that_fails_is_named(conf, database, scope, error, text):
    """Neither usage to be stored nor an offer has a price without it; other scopes have."""
    modules = ModuleSet(conf, database, {**INSTALLED, 'broken': Broken})
    set_state(database, 'broken', enabled=True)
    for price_it in (modules.rate, modules.quote):
        with pytest.raises(error, match=text):
            price_it(frame(), scope)
        assert price_it(frame(), 'well') == frame()
    with pytest.raises(error, match=text):
        quote.total_price(modules, {'well': frame(), scope: frame()})


def usage(periods=3, scope='p'):
    """Return one point in each of so many periods: 4 units, then one more each time."""
    return ScopePeriods.of_frames(scope, [frame(4 + n, START + n * HOUR) for n in range(periods)])


class Shortcut(Doubling):
    """Doubles in columns, of which it keeps count."""

    calls = 0

    def price_columns(self, whole):
        type(self).calls += 1
        return whole.with_columns(
            column._replace(prices=[price * 2 + 1 for price in column.prices])
            for column in whole.columns
        )


class Reworked(Shortcut):
    """Derived from it by somebody who knows nothing of columns."""

    def process(self, given):
        return Doubling.process(self, Doubling.process(self, given))


class Restless(Shortcut):
    """Derived as well; it prices by a rule of the period."""

    def reload_config(self, start=None):
        self.start = start

    def process(self, given):
        return super().process(given) if self.start == given.start else None


class Stumbling(Shortcut):
    """Its columns fail, and so does the third period."""

    def price_columns(self, whole):
        raise RuntimeError('too much at once')

    def process(self, given):
        if given.start == START + 2 * HOUR:
            raise KeyError('third')
        return super().process(given)


class Early(Stumbling):
    """Its second period fails."""

    def process(self, given):
        if given.start == START + HOUR:
            raise KeyError('second')
        return Doubling.process(self, given)


class Confused(Shortcut):
    """What it makes of columns are none."""

    def price_columns(self, whole):
        return whole.columns


@pytest.mark.parametrize('last', [Doubling, Shortcut, Reworked, Restless, Confused])
@pytest.mark.parametrize('hashmap', [10, -10])
def test_modules_with_and_without_columns_price_one_after_the_other(conf, database, hashmap, last):
    """Whichever of them comes first, each period has the price that its frame alone has."""
    modules = ModuleSet(conf, database, {**INSTALLED, 'pyscripts': last})
    add_rule(database, '0.5')
    store(database, 'hashmap', hashmap)
    store(database, 'pyscripts', 1)
    modules.refresh()

    rated, failure = modules.rate_periods(usage())

    assert failure is None
    assert list(rated) == [modules.rate(one, 'p') for one in usage()]
    assert len({price(one) for one in rated}) == 3


@pytest.mark.parametrize('kind, calls', [(Shortcut, 1), (Reworked, 0), (Restless, 0)])
def test_columns_are_left_to_classes_that_know_of_them(conf, database, kind, calls):
    modules = ModuleSet(conf, database, {**INSTALLED, 'pyscripts': kind})
    set_state(database, 'pyscripts', enabled=True)
    Shortcut.calls = Reworked.calls = Restless.calls = 0

    modules.rate_periods(usage())

    assert kind.calls == calls


def test_the_periods_before_one_that_cannot_be_rated_are_rated(conf, database, caplog):
    """Also where a module fails on all of them at once, and another one comes after it."""
    modules = ModuleSet(conf, database, {**INSTALLED, 'stumbling': Stumbling})
    set_state(database, 'stumbling', enabled=True, priority=9)
    set_state(database, 'pyscripts', enabled=True)

    rated, failure = modules.rate_periods(usage(periods=4))

    assert [price(one) for one in rated] == [3, 3]
    assert (failure.offset, type(failure.error)) == (2, errors.ModuleFailed)
    assert "'third'" in str(failure.error)
    assert 'rated one by one' in caplog.text


@pytest.mark.parametrize('priority', [1, 20])
def test_of_two_modules_that_fail_the_first_period_counts(conf, database, priority):
    """Whichever module it is: what comes after that period is not rated yet."""
    modules = ModuleSet(conf, database, {**INSTALLED, 'stumbling': Stumbling, 'early': Early})
    set_state(database, 'stumbling', enabled=True, priority=9)
    set_state(database, 'early', enabled=True, priority=priority)

    rated, failure = modules.rate_periods(usage(periods=4))

    assert (len(rated), failure.offset) == (1, 1)
    assert "'second'" in str(failure.error)


@pytest.mark.parametrize('scope', ['at once', 'at reload', 'at work', 'silently'])
def test_a_scope_that_cannot_be_rated_at_all_has_no_period(conf, database, scope):
    modules = ModuleSet(conf, database, {**INSTALLED, 'broken': Broken})
    set_state(database, 'broken', enabled=True)

    rated, failure = modules.rate_periods(usage(scope=scope))

    assert (list(rated), failure.offset) == ([], 0)
    with pytest.raises(type(failure.error), match=re.escape(str(failure.error))):
        modules.rate(frame(), scope)


def test_every_installed_module_is_described(conf, database):
    modules = ModuleSet(conf, database, {**INSTALLED, 'broken': ImportError('x')})
    set_state(database, 'hashmap', enabled=True, priority=7)
    assert modules.describe() == [
        ('broken', 'This module cannot be imported.', False, False, 1),
        ('hashmap', 'HashMap rating module.', True, True, 7),
        ('noop', 'Dummy test module.', True, False, 1),
        ('pyscripts', 'Doubles.', False, False, 1),
    ]


def test_our_modules_are_entry_points(conf, database):
    assert {'hashmap', 'noop', 'pyscripts'} <= {
        module.module_id for module in ModuleSet(conf, database).describe()
    }


def test_instances_in_memory_are_bounded(conf, database, monkeypatch):
    """Those that are forgotten are made again."""
    monkeypatch.setattr('cloudkitty.rating.modules.INSTANCES_MAX', 2)
    alive = weakref.WeakSet()

    class Counted(Doubling):
        def __init__(self, tenant_id=None):
            super().__init__(tenant_id)
            alive.add(self)

    modules = ModuleSet(conf, database, {**INSTALLED, 'pyscripts': Counted})
    set_state(database, 'pyscripts', enabled=True)
    for scope in itertools.islice(itertools.cycle('abc'), 6):
        assert price(modules.rate(frame(), scope)) == 1
        assert len(alive) <= 2


def test_rules_of_a_database_that_was_restored_are_loaded(conf, database, modules):
    """Its version is an older one, and its rules are others."""
    set_state(database, 'hashmap', enabled=True)
    add_rule(database, 1)
    add_rule(database, 2, tenant_id='p')
    modules.refresh()
    assert price(modules.rate(frame(1), 'p')) == 2
    with database.writer() as connection:
        connection.execute(
            tables.hashmap_mappings.delete().where(tables.hashmap_mappings.c.tenant_id == 'p')
        )
        connection.execute(tables.module_versions.update().values(version=1))

    modules.refresh()

    assert price(modules.rate(frame(1), 'p')) == 1


def test_what_hashmap_cannot_price_is_logged(database, modules, caplog):
    set_state(database, 'hashmap', enabled=True)
    add_rule(database, 1000)
    # As a collector of another project could make it: ours refuse such a number.
    point = dataframe.DataPoint.of(dataframe.Series('u', {}, {}), Decimal('9e999999'))
    huge = dataframe.DataFrame(START, START + HOUR, {'instance': [point]})
    assert modules.rate(huge, 'p') == huge
    assert 'scope p, period 2024-05-01 12:00:00+00:00, metric instance' in caplog.text


def test_plug_ins_find_the_base_of_their_controllers():
    assert issubclass(rating.RatingRestControllerBase, rest.RestController)
    assert not hasattr(rating, 'AnythingElse')
