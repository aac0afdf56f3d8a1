"""The web page in a real browser: its numbers are the API's, for everybody who may read them."""

import csv
import functools
import io
import pathlib
import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cloudkitty.core import decimals
from cloudkitty.scopes import source_lag
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional.ui import browser as browsers
from cloudkitty.tests.functional.ui.conftest import (
    CROWD,
    DAY,
    DIFFICULT,
    DST_MONTH,
    FORMULA,
    HOLE_DAYS,
    HOSTILE,
    LATE,
    PAGES,
    PRICE,
    PROJECTS,
)

ROOT = pathlib.Path(__file__).parents[4]

# The largest page; its answers are counted without compression.
REQUESTS_MAX, BYTES_MAX = 8, 300_000
# What the costs page says in each.
LANGUAGES = {'Deutsch': 'Kosten von', 'Français': 'Coûts de'}
SECONDS_MAX = 20  # on a busy machine; alone it is less than two


def _exact(site, **question):
    """Return rows of the month as the storage has them."""
    span = {'begin': site.month.begin, 'end': site.month.end, 'paginate': False}
    return site.world.storage.total(**span, **question)['results']


def _sum(numbers):
    return functools.reduce(decimals.SUM_CONTEXT.add, map(Decimal, numbers), Decimal())


def test_the_costs_of_a_project_are_those_of_the_api_to_the_last_digit(site):
    site.open('costs', project='web-shop')

    rows = _exact(site, groupby=['type'], filters={'project_id': 'web-shop'})
    expected = {row['type']: row['rate'] for row in rows}
    services = site.browser.tables['By service']
    assert {row[0]: Decimal(row[2]) for row in services} == expected
    total = Decimal(site.browser.find('.figure [title]').get_attribute('title'))
    assert total == _sum(expected.values())
    resources = site.browser.tables['Resources by id']
    assert _sum(row[4] for row in resources) == total
    days = site.browser.tables['By day']
    assert len(days) == (site.month.end - site.month.begin).days
    assert _sum(row[1] for row in days) == total
    assert f'€{total:,.2f}' in site.browser.text


def test_all_projects_together_are_the_total(site):
    site.open('projects')

    (row,) = _exact(site)
    found = site.browser.tables['All projects']
    assert {row[0] for row in found} == {*PROJECTS, FORMULA}
    assert _sum(row[1] for row in found) == row['rate']
    assert {row[0]: row[3:] for row in found}[FORMULA] == ['+€0.60', 'new']
    assert 'traffic: ' in site.browser.find('.warning').text


def test_a_project_that_is_searched_for_is_found(site):
    site.open('projects', search='shop')

    assert [row[0] for row in site.browser.tables['All projects']] == ['web-shop']


def test_a_month_that_is_rated_is_final_and_this_one_is_not(site):
    site.open('months', project='web-shop')

    states = {row[0]: row[2] for row in site.browser.tables['Months']}
    assert states[f'{site.month.begin:%B %Y}'] == 'final'
    # On its first day nothing of a month is rated yet.
    now = datetime.now(UTC)
    unfinished = {name for name, state in states.items() if state == 'not final'}
    assert unfinished == ({f'{now:%B %Y}'} if now.day > 1 else set())
    costs = {row[0]: Decimal(row[1]) for row in site.browser.tables['Months']}
    (row,) = _exact(site, filters={'project_id': 'web-shop'})
    assert costs[f'{site.month.begin:%B %Y}'] == row['rate']
    site.open('health')
    assert 'this month is final' in site.browser.text


def test_a_price_is_previewed_before_it_is_kept(site):
    """Twice the price of a volume: the preview of the last month, then the rule and its start."""
    site.browser.open('prices')
    site.browser.find('a[aria-label="Change volume each unit"]').send_keys(Keys.ENTER)
    site.browser.wait_for('Change this price')
    cost = site.browser.find('input[name=cost]')
    assert cost.get_attribute('value') == '0.02'
    cost.clear()
    cost.send_keys('0.04')
    site.browser.find('button[type=button]').send_keys(Keys.ENTER)
    site.browser.wait_for('What ')

    caption = f'What {site.month.begin:%B %Y} would have cost'
    found = {row[0]: row[2:4] for row in site.browser.tables[caption]}
    (spent,) = _exact(site, filters={'project_id': 'web-shop'}, metric_types=['volume'])
    assert set(found) == {'web-shop', HOSTILE}
    assert list(map(Decimal, found['web-shop'])) == [spent['rate'], spent['rate'] * 2]
    assert _exact(site, filters={'project_id': 'web-shop'}, metric_types=['volume']) == [spent]
    site.browser.find('button[type=submit]').send_keys(Keys.ENTER)
    site.browser.wait_for('Saved.')
    ends, begins = site.browser.tables['volume']
    assert (ends[4], begins[4]) == ('0.02', '0.04')
    assert 'until' in ends[5] and 'until' not in begins[5]


def test_a_statement_and_the_draft_of_the_next_add_up(site):
    site.open('statements', project='web-shop')
    for caption in ('Lines', 'Closed statements'):
        assert caption in site.browser.tables
    draft = _statement(site)
    site.browser.driver.find_element(By.PARTIAL_LINK_TEXT, 'CK').send_keys(Keys.ENTER)
    site.browser.wait_for('All statements')
    closed = _statement(site)

    for lines, (net, tax, total) in (draft, closed):
        assert _sum(line[4] for line in lines) == net
        assert net + tax == total
    (machines,) = [line for line in closed[0] if line[0] == 'machines']
    assert Decimal(machines[4]) == round(Decimal(machines[3]) * Decimal('0.9'), 2)
    assert HOSTILE in site.browser.text


def _statement(site):
    sums = [Decimal(one.get_attribute('title')) for one in site.browser.find_all('.sums [title]')]
    return site.browser.tables['Lines'], sums


class Seen(NamedTuple):
    """What was seen of a page.

    :ivar faults: what axe-core finds fault with.
    :ivar widths: of the page, pixels, by that of the screen.
    :ivar requests: bytes by address.
    :ivar messages: of the console.
    """

    faults: list[str]
    widths: dict[int, int]
    requests: dict[str, int]
    messages: list[str]


@pytest.fixture(scope='module')
def tour(site):
    """Each page in light and dark, wide and narrow, with pictures for people to look at."""
    browser, seen = site.browser, {}
    browser.messages()
    for page in PAGES:
        faults, widths = [], {}
        for size in (browsers.WIDE, browsers.NARROW):
            browser.resize(size)
            site.open(page, project='web-shop')
            faults += browser.violations() if size == browsers.WIDE else []
            for is_dark in (False, True):
                browser.resize(size, is_dark=is_dark)
                faults += browser.violations(*browsers.BY_LOOKS)
                widths[size[0]] = browser.driver.execute_script('return document.body.scrollWidth')
                browser.picture(f'{page}-{size[0]}-{"dark" if is_dark else "light"}')
        browser.resize(browsers.WIDE)
        seen[page] = Seen(faults, widths, browser.requests(), browser.messages())
    return seen


@pytest.mark.parametrize('page', PAGES)
def test_everybody_can_use_every_page(tour, page):
    """axe-core finds nothing, and nothing is wider than a narrow screen."""
    assert tour[page].faults == []
    assert all(width <= screen for screen, width in tour[page].widths.items()), tour[page].widths


@pytest.mark.parametrize('page', PAGES)
def test_a_page_loads_from_its_own_service_only_and_not_much(tour, site, page):
    found = tour[page].requests
    assert all(address.startswith(site.browser.url) for address in found), found
    answers = {address: size for address, size in found.items() if '/v' in address}
    assert 0 < len(answers) <= REQUESTS_MAX
    assert sum(answers.values()) <= BYTES_MAX
    assert tour[page].messages == []


def test_a_page_about_many_projects_is_bounded(crowd):
    """The dearest are listed, the others are found by their names; sums are of all."""
    browser = crowd.browser
    crowd.open('projects')
    rows = browser.tables['All projects']
    assert (len(rows), rows[0][0]) == (100, f'project-{CROWD - 1:04}')
    assert f'{CROWD - 100} more' in browser.text
    total = Decimal(browser.find('.figure').get_attribute('title'))
    assert total == sum(range(CROWD))
    sizes = [(browser.requests(), browser.loading_s())]
    crowd.open('projects', search='project-0007')
    assert [row[:2] for row in browser.tables['All projects']] == [['project-0007', '7']]
    crowd.open('costs', project='project-0500')
    assert Decimal(browser.find('.figure [title]').get_attribute('title')) == 500
    sizes.append((browser.requests(), browser.loading_s()))

    for found, seconds in sizes:
        answers = [size for address, size in found.items() if '/v' in address]
        assert len(answers) <= REQUESTS_MAX
        assert sum(answers) <= BYTES_MAX, found
        assert seconds < SECONDS_MAX


def test_the_price_list_is_the_rules_of_the_project(site):
    """With units and validity, and what a month of use comes to."""
    site.open('priceList', project='web-shop')
    rows = {row[1]: row for row in site.browser.tables['Price list']}
    machine = rows['id = id-of-vm-1']
    assert Decimal(machine[2]) == PRICE * 2
    assert Decimal(machine[4]) == decimals.SUM_CONTEXT.multiply(PRICE * 2, Decimal(720))
    assert rows['all'][0] == 'volume'
    assert rows['all'][3] == '1 GiB for 1 hour'
    assert machine[5].startswith('since ')

    site.browser.find('input[name=_id]').send_keys('id-of-vm-1')
    volume = site.browser.find('input[name=volume]')
    volume.clear()
    volume.send_keys('3', Keys.ENTER)
    site.browser.wait_until(lambda: 'The calculation' in site.browser.tables)
    spans = {row[0]: Decimal(row[1]) for row in site.browser.tables['The calculation']}
    hour = decimals.CONTEXT.multiply(PRICE * 2, Decimal(3))
    assert spans['1 hour'] == hour
    assert spans['1 day'] == decimals.SUM_CONTEXT.multiply(hour, Decimal(24))


def test_the_keyboard_is_enough(site):
    site.open('costs', project='web-shop')
    focus = site.browser.driver.switch_to
    site.browser.find('body').send_keys(Keys.TAB)
    names = []
    while focus.active_element.text != 'Projects':
        names.append(focus.active_element.text)
        assert len(names) < 10
        focus.active_element.send_keys(Keys.TAB)
    focus.active_element.send_keys(Keys.ENTER)
    site.browser.wait_for('All projects in')

    assert names == ['Costs', 'Months', 'Price list', 'Statements']


OUTLINE = """
const style = getComputedStyle(document.activeElement);
return [style.outlineStyle, parseFloat(style.outlineWidth)]"""


def test_what_has_the_focus_is_outlined(site):
    """Whatever the keyboard reaches on the first page: links, choices, buttons and tables."""
    site.open('costs', project='web-shop')
    site.browser.find('body').send_keys(Keys.TAB)
    seen = set()
    for _ in range(20):
        element = site.browser.driver.switch_to.active_element
        seen.add(element.tag_name)
        style, width = site.browser.driver.execute_script(OUTLINE)
        assert style == 'solid' and width >= 2, element.get_attribute('outerHTML')
        element.send_keys(Keys.TAB)

    assert {'a', 'select', 'button', 'div'} <= seen


KEEP_FILE = """
const make = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  blob.arrayBuffer().then((bytes) => {
    window.savedFile = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  });
  return make.call(URL, blob);
};"""


def test_the_file_for_accounting_adds_up_to_the_total_of_the_page(site):
    """Also of a project whose resources have names that a spreadsheet would run."""
    site.open('costs', project=FORMULA)
    total = Decimal(site.browser.find('.figure [title]').get_attribute('title'))
    site.browser.driver.execute_script(KEEP_FILE)
    site.browser.driver.find_element(By.XPATH, "//button[text()='Download CSV']").click()
    site.browser.wait_until(lambda: site.browser.driver.execute_script('return window.savedFile'))
    saved = site.browser.driver.execute_script('return window.savedFile')

    assert saved[0] == '\ufeff', 'Excel takes it for UTF-8'
    rows = list(csv.DictReader(io.StringIO(saved[1:])))
    assert _sum(row['rate'] for row in rows) == total
    assert [row['id'] for row in rows] == ["'=1+1", 'plain', 'web-\\u202epohs']


def test_every_language_is_shown_and_remembered(site):
    site.open('costs', project='web-shop')
    for name, word in LANGUAGES.items():
        _choose_language(site, name, word)
    site.open('priceList', project='web-shop')
    assert 'Tarifs de' in site.browser.text
    _choose_language(site, 'English', 'Price list of')


@pytest.mark.parametrize(('name', 'word'), LANGUAGES.items())
def test_the_words_of_every_language_fit_a_narrow_screen(site, name, word):
    """With pictures for people to look at."""
    site.open('costs', project='web-shop')
    _choose_language(site, name, word)
    site.browser.resize(browsers.NARROW)
    widths = {}
    try:
        for page in PAGES:
            site.open(page, project='web-shop')
            widths[page] = site.browser.driver.execute_script('return document.body.scrollWidth')
            site.browser.picture(f'{page}-{name}')
    finally:
        site.browser.resize(browsers.WIDE)
        site.open('costs', project='web-shop')
        _choose_language(site, 'English', 'Costs of')
    assert all(width <= browsers.NARROW[0] for width in widths.values()), widths


def _choose_language(site, name, word):
    choice = site.browser.driver.find_elements(By.CSS_SELECTOR, '.choices select')[-1]
    choice.send_keys(name)
    site.browser.wait_for(word)


BARS = """
const places = selector => [...document.querySelectorAll(`svg.chart ${selector}`)]
  .map(element => [element, element.getBoundingClientRect()]);
const bars = places('rect:not(.forecast)');
return Object.fromEntries(places('text.axis:not(.value)').map(([label, at]) => {
  const middle = at.x + at.width / 2;
  const parts = bars.filter(([, bar]) => bar.x < middle && middle < bar.x + bar.width);
  return [label.textContent, parts.reduce((sum, [, bar]) => sum + bar.height, 0)];
}))"""


def test_a_month_with_a_hole_and_a_new_price_looks_like_it(site):
    """Days without data have no bar, and bars are as high as the cost."""
    site.open('costs', project=DIFFICULT)
    site.browser.picture('difficult')

    bars = {int(day): height for day, height in site.browser.driver.execute_script(BARS).items()}
    assert len(bars) > 10
    assert all((height == 0) == (day in HOLE_DAYS) for day, height in bars.items()), bars
    other = float(Decimal('0.03'))
    expected = (float(PRICE) * 2 + other) / (float(PRICE) + other)
    assert bars[27] / bars[5] == pytest.approx(expected, rel=0.02)
    table = site.browser.tables['By day']
    assert not {int(day) for day, _ in table} & set(HOLE_DAYS)


def test_two_units_of_a_metric_are_two_rows(site):
    site.open('costs', project=DIFFICULT)
    site.browser.picture('two-units')

    units = [row[1].split()[1] for row in site.browser.tables['By service'] if row[0] == 'storage']
    assert sorted(units) == ['GiB', 'requests']


def test_days_are_those_of_utc_wherever_the_reader_is(site):
    """Also in a month whose clocks are set back in Berlin: no day is lost, none is longer."""
    asked = f'costs?project={DIFFICULT}&month={DST_MONTH.begin:%Y-%m}'
    found = {}
    for zone in ('', 'Europe/Berlin', 'America/Los_Angeles', 'Pacific/Kiritimati'):
        zoned = {'timezoneId': zone}
        site.browser.driver.execute_cdp_cmd('Emulation.setTimezoneOverride', zoned)
        try:
            site.browser.open(asked)
            found[zone] = site.browser.tables
            if zone == 'Europe/Berlin':
                site.browser.picture('clocks-set-back')
        finally:
            site.browser.driver.execute_cdp_cmd('Emulation.setTimezoneOverride', {'timezoneId': ''})

    assert all(tables == found[''] for tables in found.values())
    days = {int(day): Decimal(cost) for day, cost in found['']['By day']}
    assert set(days) == {day for day in range(1, 32) if day not in HOLE_DAYS}
    assert days[25] == days[26] == days[27]


def test_samples_that_came_late_are_told_where_the_costs_are(site):
    month = site.month.begin - DAY
    site.open('costs', project=DIFFICULT, month=f'{month:%Y-%m}')
    site.browser.picture('late')

    told = site.browser.find('[role=status]').text
    assert told.count(LATE) == 1


@pytest.fixture
def lagging(site):
    """The source has no data of a metric since a day; periods wait for them."""
    identity = scope_state.Identity.of(site.world.conf)
    now = datetime.now(UTC)
    lag = source_lag.Lag(source_lag.HELD, now - timedelta(days=1), now, now)

    def record(lags, newest):
        site.world.database.write(
            lambda connection: source_lag.record(
                connection, identity, lags, newest=newest, defined=['cpu']
            )
        )

    record({'cpu': lag}, {'cpu': lag.newest})
    yield lag
    record({}, {'cpu': now})


def test_a_source_that_lags_is_told(site, lagging):
    """To the operator which metric since when, to the customer how far the costs reach."""
    site.browser.open('health')
    site.browser.picture('lag')
    ((metric, state, newest),) = site.browser.tables['Metrics with late data']
    assert (metric, state) == ('cpu', 'waiting for the source')
    assert newest.startswith(f'{lagging.newest:%b} {lagging.newest.day}, ')

    site.browser.open('costs?project=web-shop')
    site.browser.picture('costs-lag')
    since = f'the source has no data after {lagging.newest:%b} {lagging.newest.day}, '
    assert since in site.browser.find('[role=status]').text


def test_what_has_no_price_is_free_and_told(site):
    site.open('costs', project='web-shop')
    site.browser.picture('without-price')
    (row,) = [row for row in site.browser.tables['By service'] if row[0] == 'traffic']
    assert row[2] == '0'

    site.open('projects')
    (link,) = site.browser.find_all('.warning a')
    assert link.get_attribute('aria-label') == 'Set a price: traffic'
    link.send_keys(Keys.ENTER)
    site.browser.wait_for('A new price')
    assert site.browser.find('input[name=service]').get_attribute('value') == 'traffic'


def test_the_picture_of_the_readme_is_of_this_page(site):
    """The month under way, with its forecast; see doc/source/contributor/testing.rst."""
    site.browser.open('costs?project=web-shop')

    assert 'Costs of web-shop' in site.browser.text
    picture = site.browser.picture('costs', is_whole=False)
    size = struct.unpack('>II', picture.read_bytes()[16:24])
    shown = struct.unpack('>II', (ROOT / 'doc/source/_static/costs.png').read_bytes()[16:24])
    assert size == shown


def test_a_page_of_an_empty_month_says_so(site):
    site.browser.messages()
    site.browser.open('costs?project=web-shop&month=2001-01')
    site.browser.picture('empty')

    assert 'Nothing was charged in this month.' in site.browser.text
    assert not site.browser.find_all('svg.chart, table')
    assert site.browser.messages() == []


def test_an_unknown_page_is_the_first_one(site):
    site.browser.open('nothing')

    assert 'Costs of' in site.browser.text
