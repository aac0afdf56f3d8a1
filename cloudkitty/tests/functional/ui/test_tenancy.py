"""What the browser of a customer asks for and shows: the own project, never a byte of another one.

The data are those of the API's test of isolation, with names that are markup, and readers may use
the routes that are the administrator's by default.
"""

import json
import re
import urllib.parse
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest
from selenium.webdriver.common.by import By

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional.api import tenants, test_isolation, world
from cloudkitty.tests.functional.ui import browser as browsers
from cloudkitty.tests.functional.ui.conftest import served

PROJECTS = ('p1', 'p2')
HOUR = timedelta(hours=1)
MONTH = 'month=2019-01'
# Pages, and what somebody may write into their addresses who knows the names of another project.
PAGES = (
    f'costs?{MONTH}',
    f'costs?{MONTH}&by=id',
    f'costs?{MONTH}&project={{other}}',
    f'costs?{MONTH}&attribute=id&type=instance&why=u{{own_number}}',
    f'costs?{MONTH}&attribute=id&type=instance&why=u{{other_number}}&project={{other}}',
    'months',
    'months?project={other}',
    'priceList',
    'priceList?project={other}',
    'statements?month=2018-11',
    'statements?month=2018-11&project={other}',
    'statements?number={own_statement}',
    'statements?number={other_statement}',
    f'projects?{MONTH}&search={{other}}',
    f'health?{MONTH}',
    'prices?project={other}',
    'setup',
)
FETCH = """
const done = arguments[arguments.length - 1];
fetch(arguments[0], { headers: { Accept: 'application/json' } })
  .then(async (answer) => done([answer.status, await answer.text()]))
  .catch((error) => done([0, String(error)]));
"""


def _hostile(project):
    return f'<img src=x onerror="document.title=\'{project}\'">'


class Answer(NamedTuple):
    """An answer of the API, with the path and the query that asked for it."""

    path: str
    body: str


class Recorder:
    """A WSGI application that keeps what another one answers."""

    def __init__(self, application):
        self._application = application
        self.answers: list[Answer] = []

    def __call__(self, environ, start_response):
        body = b''.join(self._application(environ, start_response))
        path = environ['PATH_INFO']
        if path.startswith(('/v1', '/v2')):
            query = urllib.parse.unquote_plus(environ.get('QUERY_STRING', ''))
            self.answers.append(Answer(f'{path}?{query}', body.decode()))
        return [body]


class Site(NamedTuple):
    """What runs.

    :ivar statements: the number of the closed statement of each project.
    """

    browser: browsers.Browser
    recorder: Recorder
    statements: dict[str, str]


def _push_hostile(made):
    """Give each project usage with names that are markup, and rate January to its end."""
    begin = datetime(2019, 1, 1, 5, tzinfo=UTC)
    for project in PROJECTS:
        name = _hostile(project)
        # It is free, so that the sums are those of the API's test.
        point = DataPoint('unit', 1, 0, {'project_id': project, 'id': name}, {'name': name})
        made.storage.push([DataFrame(begin, begin + HOUR, {name: [point]})], project)
    scopes = scope_state.tables.scopes
    rated = scopes.update().values(last_processed_timestamp=datetime(2019, 2, 1))
    made.database.write(lambda connection: connection.execute(rated))


@pytest.fixture(scope='module')
def site(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('tenancy'), sqlite_template) as made:
        tenants.fill(made)
        _push_hostile(made)
        made.conf.set_override('enabled', True, 'ui')
        application = made.behind_a_proxy(tenants.POLICY)
        admin = test_isolation.ADMIN
        enabled = {'enabled': True}
        world.call(application, '/v2/rating/modules/hashmap', 'PUT', json=enabled, **admin)
        listed = world.call(application, '/v2/statements', **admin).json['results']
        statements = {row['account_id']: row['number'] for row in listed}
        recorder = Recorder(application)
        with served(recorder) as url, browsers.Browser(url) as opened:
            yield Site(opened, recorder, statements)


@pytest.fixture(params=[test_isolation.READER, test_isolation.OTHER], ids=PROJECTS)
def project(request, site):
    """A project whose reader the browser belongs to, as what stands before the API says."""
    headers = {name.replace('_', '-'): text for name, text in request.param.items()}
    driver = site.browser.driver
    driver.execute_cdp_cmd('Network.enable', {})
    driver.execute_cdp_cmd('Network.setExtraHTTPHeaders', {'headers': headers})
    site.recorder.answers.clear()
    site.browser.messages()
    return headers['X-Project-Id']


def _of(project, site):
    """Return what would show that something is a project's: its names, ids and statement."""
    words = '|'.join([project, f'u{project[1:]}', re.escape(site.statements[project])])
    return re.compile(rf'\b({words})\b')


def _names(project, other, site):
    return {
        'other': other,
        'own_number': project[1:],
        'other_number': other[1:],
        'own_statement': site.statements[project],
        'other_statement': site.statements[other],
    }


def test_no_page_asks_for_or_shows_what_is_anothers(site, project):
    (other,) = set(PROJECTS) - {project}
    names, foreign = _names(project, other, site), _of(other, site)
    shown = {}
    for page in PAGES:
        site.recorder.answers.clear()
        address = page.format(**names)
        site.browser.open(address)
        if 'why=' in page:
            site.browser.wait_until(lambda: _is_explained(site.browser))
        shown[page] = site.browser.text

        answers = site.recorder.answers
        assert all(not foreign.search(answer.body) for answer in answers), (address, answers)
        # What the reader types is asked for by its name; a project is none of that.
        typed = {names['other_statement'], f'u{other[1:]}'}
        asked = [word for answer in answers for word in foreign.findall(answer.path)]
        assert set(asked) <= {word for word in typed if word in address}, (address, answers)
        if other not in address and not typed & set(foreign.findall(address)):
            assert not foreign.search(site.browser.driver.page_source), address
        assert not site.browser.find_all('main img, dialog img')
        assert 'CloudKitty' in site.browser.driver.title

    assert f'Costs of {project}' in shown[PAGES[0]]
    assert _hostile(project) in shown[PAGES[0]]
    assert shown[PAGES[2]] == shown[PAGES[0]]
    assert 'Nothing was charged in this month.' in shown[PAGES[4]]
    assert site.statements[project] in shown['statements?number={own_statement}']
    for page in PAGES[-4:]:
        assert 'You may not see this page' in shown[page]
    # Refusals are told in the console, and nothing else is.
    messages = site.browser.messages()
    assert all('Failed to load' in text and 'status of 4' in text for text in messages), messages


def _is_explained(browser):
    return browser.find_all('dialog:not([aria-busy]) h2')


def test_the_file_for_accounting_has_the_own_project_only(site, project):
    (other,) = set(PROJECTS) - {project}
    site.browser.open(f'costs?{MONTH}&project={other}')
    site.recorder.answers.clear()
    site.browser.driver.find_element(By.XPATH, "//button[text()='Download CSV']").click()
    site.browser.wait_until(lambda: site.recorder.answers)

    (answer,) = site.recorder.answers
    assert f'u{project[1:]}' in answer.body
    assert not _of(other, site).search(answer.path + answer.body)


def test_nobody_is_quoted_the_price_of_another_project(site, project):
    """By the calculator of the price list, whose address names the other one."""
    (other,) = set(PROJECTS) - {project}
    site.browser.open(f'priceList?project={other}')
    prices = site.browser.tables['Price list']
    site.recorder.answers.clear()
    site.browser.find('form button[type=submit]').click()
    site.browser.wait_until(lambda: 'The calculation' in site.browser.tables)

    # The own price is there in place of the one for everybody.
    assert [row[1] for row in prices] == ['all, only for this project']
    (answer,) = site.recorder.answers
    assert Decimal(json.loads(answer.body)) == 1


def test_requests_from_within_the_page_are_answered_as_any_other(site, project):
    """The table of the API's test, asked by a script of the page's origin with its session."""
    site.browser.open(f'costs?{MONTH}')
    for path, read, _ in test_isolation.ROUTES:
        status, text = site.browser.driver.execute_async_script(FETCH, path)

        assert status == 200, (path, text)
        if 'service=' not in path:
            assert read(json.loads(text)) == {project}, path
