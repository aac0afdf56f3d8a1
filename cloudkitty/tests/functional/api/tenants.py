"""Two projects with usage of the same hours, scopes, failures, tasks, prices and statements."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from cloudkitty.audit import trail
from cloudkitty.billing import closing, documents, statements
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.rating.hashmap.store import mappings, services
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional.api import conftest, world

ALL = {'p1', 'p2'}
SECRET = 'http://10.0.0.7:9090: down'
# What readers may use by default, and what an operator may give them.
POLICY = {
    name: 'rule:project_reader_or_admin'
    for name in (
        'scope:get_state',
        'completeness:get',
        'report:list_tenants',
        'schedule:get_task_reprocesses',
    )
}

# An account of two projects that neither of them owns.
ACCOUNTS = {
    'plans': {'p': {'currency': 'EUR', 'items': [{'name': 'fee', 'price': {'flat': '5'}}]}},
    'accounts': {'both': {'scopes': ['p1', 'p2'], 'plan': 'p'}},
}


def fill(made: world.World) -> None:
    """Store all of it: usage of January 2019, and statements of November 2018."""
    for scope_id, frame in conftest.frames():
        made.storage.push([frame], scope_id)
    begin = datetime(2019, 1, 1, tzinfo=UTC)
    made.conf.set_override('enabled', True, 'billing')
    _close_november(made, begin)
    documents.Documents(made.database).apply(ACCOUNTS, '2019-01', actor=trail.Actor('u'), now=begin)
    made.database.write(lambda connection: _change(connection, made.conf, begin))


def _change(connection, conf, begin):
    identity = scope_state.Identity.of(conf)
    scope_state.record_seen(
        connection, identity, ['p1', 'p2'], now=begin, initial_mark=begin, final_mark=begin
    )
    scope_state.record_failure(
        connection,
        {1: begin, 2: begin},
        SECRET,
        now=begin,
        retry_at=begin + timedelta(hours=1),
    )
    _order(connection, identity, begin)
    _make_rules(connection, begin)


def _order(connection, identity, begin):
    """Order that the day before is rated again, which fails, and what another one would cost."""
    day = timedelta(days=1)
    for is_dry_run in (False, True):
        scope_reprocessing.create(
            connection,
            None,
            identity=identity,
            window=Period(begin - day, begin),
            reason='new prices',
            is_dry_run=is_dry_run,
        )
    scope_reprocessing.record_failure(
        connection, dict.fromkeys(range(1, 5)), SECRET, now=begin, retry_at=begin + day
    )
    prices = {'cpu': scope_reprocessing.Prices(Decimal(1), Decimal(2))}
    scope_reprocessing.add_prices(connection, {3: prices, 4: prices})


def _close_november(made, now):
    """Close a month in which each project is an account of its own."""
    service = statements.Statements(made.conf, made.database, made.storage, lambda: now)
    service.documents.apply(
        {'defaults': {'currency': 'EUR'}}, '2018-01', actor=trail.Actor('u'), now=now
    )
    day = datetime(2018, 11, 15, tzinfo=UTC)
    for project in sorted(ALL):
        frame = DataFrame(day, day + timedelta(hours=1))
        frame.add_point(DataPoint('unit', 1, 2, {'project_id': project}, {}), 'cpu')
        made.storage.push([frame], project)
        closing.Closing(service).close(project, '2018-11', 'u')


def _make_rules(connection, begin):
    """Make a price for everybody, and one for each project."""
    service = services.create(connection, 'cpu').service_id
    for scope in (None, *sorted(ALL)):
        new = mappings.NewMapping(cost=Decimal(1), service_id=service, tenant_id=scope, start=begin)
        mappings.create(connection, new, now=begin, author='u')
