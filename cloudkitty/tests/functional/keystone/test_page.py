"""The web page for users of a real Keystone: they log in and see their own project."""

import json

import pytest
import requests
from selenium.webdriver.common.by import By

from cloudkitty.tests.functional.ui.browser import Browser
from cloudkitty.tests.keystone import sso_headers

MONTH = 'month=2019-01'
# What a page could keep, and where tokens must not be.
KEPT = """
return JSON.stringify([
  location.href, document.cookie, {...localStorage}, {...sessionStorage}
])"""


@pytest.fixture(scope='module')
def browser(cloud):
    with Browser(cloud.api.url) as opened:
        yield opened


def _log_in(browser, page, *, user, password, project):
    browser.open(page)
    for name, value in (('user', user), ('password', password), ('project', project)):
        browser.find(f'input[name={name}]').send_keys(value)
    browser.find('button[type=submit]').click()


def test_a_wrong_password_is_told_and_the_page_stays(browser):
    _log_in(browser, f'costs?{MONTH}', user='alice', password='wrong', project='alpha')

    browser.wait_for('The name, password or project is wrong.')


def test_a_member_sees_the_costs_of_the_own_project_on_the_page_asked_for(browser, cloud):
    _log_in(browser, f'costs?{MONTH}', user='alice', password='alice', project='alpha')
    browser.wait_for('Costs of')

    assert 'Costs of alpha' in browser.text
    assert browser.find('h1').get_attribute('title') == cloud.keystone.project_id('alpha')
    assert [row[0:3:2] for row in browser.tables['By service']] == [
        ['instance', '0.5'],
        ['ip', '0.1'],
    ]
    assert 'Authentication is off' not in browser.text
    # Pages about all projects are not offered, and refused to whoever knows their names.
    assert [link.text for link in browser.find_all('nav a')] == ['Costs', 'Months', 'Price list']
    beta = cloud.keystone.project_id('beta')
    for page in ('projects', 'health', 'prices', 'setup'):
        _go(browser, page)
        browser.wait_for('You may not see this page')
        assert beta not in browser.driver.page_source
        _go(browser, f'costs?{MONTH}')
        browser.wait_for('Costs of alpha')


def _go(browser, page):
    browser.driver.execute_script(f"location.hash = '{page}'")


def test_a_reader_sees_the_prices_of_the_own_project(browser, cloud):
    """Also if another project is named; there are none in this test."""
    beta = cloud.keystone.project_id('beta')
    _log_in(browser, f'priceList?project={beta}', user='alice', password='alice', project='alpha')
    browser.wait_for('Price list of alpha')

    assert 'No price is set for this project.' in browser.text


@pytest.fixture
def ended(browser):
    """Return what makes the tokens of the page such that Keystone knows no more."""
    driver = browser.driver
    driver.execute_cdp_cmd('Network.enable', {})

    def end(is_over):
        headers = {'X-Auth-Token': 'gAAAAABended'} if is_over else {}
        driver.execute_cdp_cmd('Network.setExtraHTTPHeaders', {'headers': headers})

    yield end
    end(False)


def _log_in_again(browser):
    for name, value in (('user', 'alice'), ('password', 'alice'), ('project', 'alpha')):
        browser.find(f'input[name={name}]').send_keys(value)
    browser.find('.login button[type=submit]').click()


def test_a_log_in_that_has_expired_is_told_and_the_page_goes_on(browser, ended):
    """On the way to a page, over a drawer, and at a button: the log-in leads back to each."""
    _log_in(browser, f'costs?{MONTH}', user='alice', password='alice', project='alpha')
    browser.wait_for('Costs of alpha')
    for page, shown in (
        (f'priceList?{MONTH}', 'Price list of alpha'),
        (f'costs?{MONTH}&attribute=id&why=u1&type=instance', 'Why does u1 cost'),
    ):
        ended(True)
        _go(browser, page)
        browser.wait_for('Your log-in has expired')
        assert browser.driver.current_url.endswith(f'#{page}')
        ended(False)
        _log_in_again(browser)
        browser.wait_for(shown)

    browser.open(f'costs?{MONTH}')
    _log_in_again(browser)
    browser.wait_for('Costs of alpha')
    ended(True)
    browser.driver.find_element(By.XPATH, "//button[text()='Download CSV']").click()
    browser.wait_for('Your log-in has expired')
    assert 'Costs of alpha' in browser.driver.page_source
    ended(False)
    _log_in_again(browser)
    browser.wait_until(lambda: not browser.find_all('dialog'))
    assert 'Costs of alpha' in browser.text


def test_the_project_of_another_cannot_be_asked_for(browser, cloud):
    beta = cloud.keystone.project_id('beta')
    _log_in(
        browser, f'costs?{MONTH}&project={beta}', user='alice', password='alice', project='alpha'
    )
    browser.wait_for('Costs of')

    assert 'Costs of alpha' in browser.text
    assert '€0.60' in browser.text


def test_an_application_credential_is_enough(browser, cloud):
    made = cloud.keystone.add_credential('bob', project='beta', name='page')
    browser.open(f'costs?{MONTH}')
    browser.find('select[name=method]').send_keys('Application')
    browser.find('input[name=credential]').send_keys(made['id'])
    browser.find('input[name=secret]').send_keys(made['secret'])
    browser.find('button[type=submit]').click()
    browser.wait_for('Costs of')

    assert 'Costs of beta' in browser.text


@pytest.fixture
def vouched(browser, cloud):
    """Return what has the web server before Keystone say who the reader is."""
    cloud.keystone.add_issuer()
    driver = browser.driver
    driver.execute_cdp_cmd('Network.enable', {})

    def say(user):
        headers = {'headers': sso_headers(user) if user else {}}
        driver.execute_cdp_cmd('Network.setExtraHTTPHeaders', headers)

    yield say
    say(None)


def test_single_sign_on_leads_to_the_own_project_and_out_again(browser, cloud, vouched):
    """By the forms of a real Keystone; logging out makes the token invalid."""
    vouched('carol')
    browser.messages()
    browser.open('months')
    browser.driver.find_element(By.PARTIAL_LINK_TEXT, 'single sign-on').click()
    browser.wait_for('Months of gamma')

    address, cookie, *stores = json.loads(browser.driver.execute_script(KEPT))
    # The page that was asked for before.
    assert (cookie, address) == ('', f'{cloud.api.url}/ui/#months')
    assert [set(store) for store in stores] == [set(), set()]
    body = browser.find('body')
    assert body.get_attribute('data-token') is None
    assert all('token=' not in one for one in browser.requests())
    browser.driver.find_element(By.XPATH, "//button[text()='Log out']").click()
    browser.wait_for('single sign-on')
    assert 'gamma' not in browser.text


def test_only_keystone_may_send_the_form(cloud):
    token = cloud.keystone.token('alice')
    own = {'Origin': cloud.keystone.url}
    answers = {
        (origin, given): requests.post(
            f'{cloud.api.url}/ui/sso', data={'token': given}, headers=headers, timeout=30
        )
        for origin, headers in (('own', own), ('none', {}), ('other', {'Origin': 'http://evil'}))
        for given in (token, 'made-up')
    }

    status = {key: answer.status_code for key, answer in answers.items()}
    assert status.pop(('own', token)) == 200
    assert status.pop(('own', 'made-up')) == 401
    assert set(status.values()) == {403}
    page = answers['own', token]
    assert page.headers['Cache-Control'] == 'no-store'
    assert f'data-token="{token}"' in page.text
    assert token not in cloud.api.log_path.read_text(errors='replace')


def test_the_token_is_only_in_memory(browser, cloud):
    _log_in(browser, f'costs?{MONTH}', user='alice', password='alice', project='alpha')
    browser.wait_for('Costs of')

    address, cookie, *stores = json.loads(browser.driver.execute_script(KEPT))
    assert cookie == ''
    assert [set(store) for store in stores] == [set(), set()]
    assert address.endswith(f'#costs?{MONTH}')
    assert all('token=' not in one for one in browser.requests())
    log = cloud.api.log_path.read_text(errors='replace')
    assert '"password"' not in log
    browser.driver.refresh()
    browser.wait()
    assert browser.driver.find_elements(By.NAME, 'password')
