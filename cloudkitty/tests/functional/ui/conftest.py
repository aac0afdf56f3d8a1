"""A service with two months of usage, and a browser that shows its page."""

import contextlib
import pathlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest
from waitress import server

from cloudkitty.audit import trail
from cloudkitty.billing.documents import Documents
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.pricing.rules import Rule
from cloudkitty.scopes import late_data
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional import hashmap_page
from cloudkitty.tests.functional.api import world
from cloudkitty.tests.functional.ui.browser import Browser
from cloudkitty.tests.unit.core.pricing.tariffs import flat

HERE = pathlib.Path(__file__).parent
PAGES = ('costs', 'months', 'priceList', 'statements', 'projects', 'health', 'prices', 'setup')
CROWD = 1000
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOSTILE = '<img src=x onerror="document.title=1">'
# Its months have what makes a chart or a table go wrong.
DIFFICULT = 'difficult'
PROJECTS = ('web-shop', HOSTILE, DIFFICULT)
# Has usage of one hour, with a name that a spreadsheet would take for a formula.
FORMULA = 'formula'
# Shown as it is, it would be read as "web-shop".
REVERSED = 'web-\u202epohs'
# In Berlin it has a day of 25 hours.
DST_MONTH = timeframe.Period(datetime(2025, 10, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC))
LATE = 'metric instance: the source has no data'
CHANGE_DAY, HOLE_DAYS = 15, (10, 11, 12)
# More digits than a page shows.
PRICE = Decimal('0.1234567890123456789012345678')
VOLUME_PRICE = Decimal('0.02')


def pytest_collection_modifyitems(items):
    """Keep these tests on one worker: a browser for each would take the machine."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group('keystone'))


class Site(NamedTuple):
    """What runs.

    :ivar month: the month before this one, for which everything is rated.
    """

    browser: Browser
    world: world.World
    month: timeframe.Period

    def open(self, page: str, **values: str) -> None:
        """Show a page of the month, or of another one that *values* name."""
        values = {'month': f'{self.month.begin:%Y-%m}', **values}
        query = '&'.join(f'{name}={value}' for name, value in values.items())
        self.browser.open(f'{page}?{query}')


def _frames(project: str, span: timeframe.Period) -> Iterator[DataFrame]:
    """Yield six hours of each day: two machines, a disk that grows, traffic without a price."""
    begin = span.begin
    label = HOSTILE if project == HOSTILE else ''
    while begin < span.end:
        machines = [
            _point(project, 'instance', 1, PRICE * (number + 1), f'vm-{number}', label)
            for number in range(2)
        ]
        size = 20 + begin.day
        yield DataFrame(
            begin,
            begin + 6 * HOUR,
            {
                'instance': machines,
                'volume': [_point(project, 'GiB', size, VOLUME_PRICE * size, 'disk', label)],
                'traffic': [_point(project, 'MB', 5, 0, 'router', label)],
            },
        )
        begin += 6 * HOUR


def _difficult_frames(span: timeframe.Period) -> Iterator[DataFrame]:
    """Yield six hours of each day but three: the price doubles, a metric has two units.

    Another one is of no resource, and nothing of it is used.
    """
    begin = span.begin
    while begin < span.end:
        price = PRICE * (1 if begin.day < CHANGE_DAY else 2)
        if begin.day not in HOLE_DAYS:
            usage = {
                'instance': [_point(DIFFICULT, 'instance', 1, price, 'vm')],
                'storage': [
                    _point(DIFFICULT, 'GiB', 3, '0.01', 'bucket'),
                    _point(DIFFICULT, 'requests', 400, '0.02', 'bucket'),
                ],
                'idle': [DataPoint('GB', 0, 0, {'project_id': DIFFICULT}, {})],
            }
            yield DataFrame(begin, begin + 6 * HOUR, usage)
        begin += DAY


def _formula_frame(begin: datetime) -> DataFrame:
    points = [
        DataPoint('unit', 1, price, {'project_id': FORMULA, 'id': name}, {})
        for name, price in (('=1+1', '0.3'), ('plain', '0.2'), (REVERSED, '0.1'))
    ]
    return DataFrame(begin, begin + HOUR, {'instance': points})


def _point(project, unit, qty, price, name, label=''):
    attributes = {'project_id': project, 'id': f'id-of-{name}'}
    return DataPoint(unit, qty, price, attributes, {'name': f'{name} {label}'.strip()})


def fill(made: world.World, now: datetime) -> timeframe.Period:
    """Store usage from the month before last to *now*; return the last whole month."""
    this = timeframe.month_at(now)
    last = timeframe.month_at(this.begin - DAY)
    first = timeframe.month_at(last.begin - DAY)
    end = now.replace(hour=0, minute=0, second=0, microsecond=0)
    made.storage.push(_difficult_frames(DST_MONTH), DIFFICULT)
    made.storage.push([_formula_frame(last.begin)], FORMULA)
    for project in PROJECTS:
        span = timeframe.Period(first.begin, end)
        frames = _difficult_frames(span) if project == DIFFICULT else _frames(project, span)
        made.storage.push(frames, project)
    identity = scope_state.Identity.of(made.conf)
    with made.database.writer() as connection:
        scope_state.record_seen(
            connection, identity, PROJECTS, now=now, initial_mark=end - HOUR, final_mark=now
        )
        scope_state.claim_fetch(connection, identity, seen=None, now=now)
        late_data.record(connection, [_late_note(connection, first)])
    return last


def _late_note(connection, month):
    """Return the note that two days of the difficult project lacked samples."""
    _, (scope,) = scope_state.list_scopes(connection, scope_id=[DIFFICULT])
    begin = month.begin + 3 * DAY
    return late_data.Note(scope.id, begin, begin + 2 * DAY, LATE)


def make_statement(made: world.World, application, month: str) -> None:
    """Give the web shop an account, and close a month of it."""
    document = {
        'plans': {
            'standard': {
                'currency': 'EUR',
                'items': [
                    {
                        'name': 'machines',
                        'metric': 'instance',
                        'price': 'rated',
                        'discount': '10 %',
                    },
                    {'name': HOSTILE, 'price': {'flat': '5'}},
                ],
            }
        },
        'taxes': {'VAT': [{'from': '2018-01-01', 'rate': '20 %'}]},
        'accounts': {
            'acme': {
                'name': f'ACME {HOSTILE}',
                'scopes': ['web-shop'],
                'plan': 'standard',
                'owner': 'web-shop',
                'tax': {'standard': 'VAT'},
            }
        },
    }
    Documents(made.database).apply(document, month, actor=trail.Actor('ann'), now=datetime.now(UTC))
    asked = {'account_id': 'acme', 'month': month}
    answer = world.call(application, '/v2/statements', 'POST', json=asked)
    assert answer.status_int == 200, answer.text


def rules() -> list[Rule]:
    """Return the rules by which the usage of fill() has its prices."""
    machines = [
        flat(PRICE * (number + 1), field='id', value=f'id-of-vm-{number}') for number in range(2)
    ]
    hostile = dict.fromkeys(('service', 'field', 'group', 'value', 'scope'), HOSTILE)
    return [*machines, flat(VOLUME_PRICE, service='volume'), flat('1', **hostile)]


def build(made: world.World):
    """Return an application with its page, whose user is the administrator."""
    made.conf.set_override('enabled', True, 'ui')
    made.conf.set_override('currency', 'EUR', 'rating')
    made.conf.set_override('enabled', True, 'billing')
    made.conf.set_override('auth_strategy', 'noauth')
    # No description is held against it: the page is no part of the API.
    return made.noauth().application


@contextlib.contextmanager
def served(application) -> Iterator[str]:
    """Yield the URL at which *application* listens."""
    listener = server.create_server(application, host='127.0.0.1', port=0)
    thread = threading.Thread(target=listener.run, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{listener.effective_port}'
    listener.close()
    # A browser that keeps its connection open does not keep the tests waiting.
    thread.join(1)


@pytest.fixture(scope='session')
def site(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('ui'), sqlite_template) as made:
        application = build(made)
        month = fill(made, datetime.now(UTC))
        hashmap_page.make_rules(application, rules(), month.begin)
        make_statement(made, application, f'{month.begin - DAY:%Y-%m}')
        with served(application) as url, Browser(url) as browser:
            yield Site(browser, made, month)


@contextlib.contextmanager
def shown(site: Site, application) -> Iterator[None]:
    """Let the browser show the page of another service for a while."""
    with served(application) as url:
        former, site.browser.url = site.browser.url, url
        yield
        site.browser.url = former


@pytest.fixture
def crowd(site, tmp_path_factory, sqlite_template):
    """A service with many projects, in the same browser."""
    month = site.month
    names = [f'project-{number:04}' for number in range(CROWD)]
    points = [
        DataPoint('unit', 1, number, {'project_id': name, 'id': 'vm'}, {})
        for number, name in enumerate(names)
    ]
    with world.opened(tmp_path_factory.mktemp('crowd'), sqlite_template) as made:
        application = build(made)
        made.storage.push([DataFrame(month.begin, month.begin + HOUR, {'instance': points})])
        identity = scope_state.Identity.of(made.conf)
        marks = {'initial_mark': month.end, 'final_mark': month.end}
        with made.database.writer() as connection:
            scope_state.record_seen(connection, identity, names, now=month.end, **marks)
            scope_state.claim_fetch(connection, identity, seen=None, now=month.end)
        with shown(site, application):
            yield site._replace(world=made)


@pytest.fixture
def priced(site, tmp_path_factory, sqlite_template):
    """A service that has rated examples of the page on hashmap, in the same browser."""
    examples = (hashmap_page.ATTRIBUTES, hashmap_page.VOLUMES)
    with world.opened(tmp_path_factory.mktemp('priced'), sqlite_template) as made:
        hashmap_page.write_usage(made, examples, site.month.begin)
        application = build(made)
        for example in examples:
            hashmap_page.make_rules(application, example.rules, site.month.begin)
        hashmap_page.rate_usage(made, site.month.begin + 3 * HOUR)
        with shown(site, application):
            yield examples
