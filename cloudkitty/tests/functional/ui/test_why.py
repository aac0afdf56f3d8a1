"""The reasons for a price in a real browser: rules, numbers and the days that they hold."""

from decimal import Decimal

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cloudkitty.core import decimals
from cloudkitty.tests.functional.ui.conftest import DIFFICULT, HOUR, PRICE


def test_why_a_machine_costs_what_it_does_adds_up(site):
    """From its cost in the month to the rule and the numbers of one period."""
    site.open('costs', project='web-shop')
    (link,) = site.browser.driver.find_elements(
        By.XPATH, "//td[.='id-of-vm-1']/..//a[text()='Why?']"
    )
    link.send_keys(Keys.ENTER)
    site.browser.wait_for('The price of this period')

    shown = site.browser.find('dialog').text
    cost = PRICE * 2
    assert 'Why does id-of-vm-1 cost €' in shown
    assert f'hashmap: field id = id-of-vm-1: flat {cost}' in shown
    assert f'{cost} × 1.0 = {cost}' in shown
    assert 'With the current rules' not in shown
    (month,) = site.browser.tables['Used and charged']
    periods = (site.month.end - site.month.begin) / (6 * HOUR)
    assert Decimal(month[2]) == decimals.SUM_CONTEXT.multiply(cost, Decimal(periods))
    assert site.browser.violations() == []
    site.browser.find('dialog').send_keys(Keys.ESCAPE)
    site.browser.wait_until(lambda: not site.browser.find_all('dialog'))
    assert site.browser.driver.switch_to.active_element == link
    assert 'why=' not in site.browser.driver.current_url


def test_why_tells_the_rules_of_each_kind(site, priced):
    """Flat and rate, by an attribute and from a level on: rules, calculation and price."""
    for example, number, rules, calculation in (
        (
            priced[0],
            1,
            {
                'service instance: flat 1.25',
                'field flavor = m1.tiny: flat 0.5',
                'field image = img1: flat 2',
                'field vcpus = 2: rate 1.5',
            },
            '2.0 × 1.5 × 4.0 = 12',
        ),
        (
            priced[1],
            5,
            {
                'service volume.size: flat 0.001, group vt',
                'service volume.size from 50: rate 0.97, group vt, of scope t1',
            },
            '0.001 × 80.0 × 0.97 = 0.0776',
        ),
    ):
        resource, used = example.resources[number]
        asked = {'attribute': 'id', 'why': resource, 'type': example.metric}
        site.open('costs', project=used.scope, **asked)
        site.browser.wait_for('The price of this period')

        *told, made = [one.text for one in site.browser.find_all('dialog .steps code')]
        assert set(told) == rules
        assert made == calculation
        (price,) = site.browser.find_all('dialog .figure [title]')
        assert price.get_attribute('title') == used.price


def test_why_has_an_address_and_what_differs_is_said(site):
    """A price that no rule of now makes: the traffic has none, and a name is no markup."""
    site.open('costs', project='web-shop', attribute='id', why='router', type='traffic')
    site.browser.wait_for('Nothing was charged in this month.')
    site.open('costs', project='web-shop', attribute='id', why='id-of-router', type='traffic')
    site.browser.wait_for('No rule matches.')

    # There is no source in this test, which only an administrator is told.
    assert 'The samples cannot be shown' in site.browser.text


def test_a_change_of_the_price_is_told_with_its_day(site):
    site.open('costs', project=DIFFICULT, why='id-of-vm', attribute='id', type='instance')
    site.browser.wait_for('The price of this period')
    site.browser.picture('why')

    runs = [row[3] for row in site.browser.tables['Used and charged']]
    assert len(runs) == 3, 'before the hole, after it, and with the new price'
    assert Decimal(runs[0]) == Decimal(runs[1]) == Decimal(runs[2]) / 2


def test_usage_of_no_resource_has_reasons_too(site):
    """Those of all its metric in the project."""
    site.open('costs', project=DIFFICULT)
    link = site.browser.find('a[aria-label="Why does difficult (idle) cost this?"]')
    link.send_keys(Keys.ENTER)
    site.browser.wait_for('The price of this period')

    shown = site.browser.find('dialog').text
    assert 'Why does difficult cost €0.00?' in shown
    assert '0 GB\nproject_id = difficult' in shown


FORMS = """
const done = arguments[0];
import(new URL('words.js', document.querySelector('script[src]').src)).then((words) => done([
  words.quantity('0.00001234', 'GB'),
  words.quantity('1234.5678', 'GB'),
  words.clocks({ begin: '2026-10-01T12:00:00Z', end: '2026-10-01T13:00:00Z' }),
  words.clocks({ begin: '2026-10-01T12:00:10Z', end: '2026-10-01T12:00:20Z' }),
  words.clocks({ begin: '2026-10-01T12:00:50Z', end: '2026-10-01T12:01:00Z' }),
  words.said('since 2026-10-01T12:00:00+00:00, not 2026-99-01T00:00:00+00:00 nor 2026-10-01'),
]))"""


def test_numbers_and_times_say_what_they_are(site):
    """Little is not nothing, and the end of a short period is not its begin."""
    site.open('costs', project='web-shop')

    shown = site.browser.driver.execute_async_script(FORMS)
    # Browsers put a narrow blank before AM and PM.
    assert [text.replace('\u202f', ' ') for text in shown] == [
        '0.000012 GB',
        '1,234.57 GB',
        '12:00 PM – 1:00 PM UTC',
        '12:00:10 PM – 12:00:20 PM UTC',
        '12:00:50 PM – 12:01:00 PM UTC',
        'since Oct 1, 2026, 12:00 PM UTC, not 2026-99-01T00:00:00+00:00 nor 2026-10-01',
    ]
