"""What an operator and a user of a project do with the rating panels, in a browser.

Run by the Python of Horizon's environment, with facts in JSON on standard input: horizon and api
(URLs), out (folder for screenshots), tokens (by user), project_id (of alice). Each figure that a
page shows is compared with what the API says.
"""

import json
import pathlib
import re
import shutil
import sys
from urllib import parse

import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

WAIT_S = 20
FLAGS = (
    '--headless=new',
    '--no-sandbox',
    '--disable-dev-shm-usage',
    '--disable-gpu',
    '--window-size=1400,1000',
)
RULES = '/v1/rating/module_config'
SCRIPT = "for points in data['usage'].values():\n    pass\n"
QUOTE = """
const done = arguments[arguments.length - 1];
const token = document.cookie.match(/csrftoken=([^;]+)/);
fetch('/project/rating/quote', {method: 'POST', body: JSON.stringify(arguments[0]), headers: {
    'X-Requested-With': 'XMLHttpRequest', 'X-CSRFToken': token ? token[1] : ''}})
  .then(answer => answer.text()).then(done, error => done(String(error)));
"""


# A slice of the pie on the page of costs.
SLICE = re.compile(r'"label": "([^"]+)",\s*"value": ([0-9.]+)')


class TourFailed(Exception):
    """A page is not as it should be."""


class Visitor:
    """A browser that is logged in."""

    def __init__(self, facts: dict, user: str):
        self.facts = facts
        self.user = user
        self.shots = 0
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which('chromium')
        for flag in FLAGS:
            options.add_argument(flag)
        self.driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(shutil.which('chromedriver'))
        )

    def __enter__(self):
        self.driver.get(f'{self.facts["horizon"]}/auth/login/')
        self.driver.find_element(By.NAME, 'username').send_keys(self.user)
        self.driver.find_element(By.NAME, 'password').send_keys(self.user)
        self.driver.find_element(By.ID, 'loginBtn').click()
        self._wait(lambda driver: '/auth/login' not in driver.current_url)
        return self

    def __exit__(self, *exc_info):
        if exc_info[0]:
            self.shoot('failed')
        self.driver.quit()

    def _wait(self, condition):
        return WebDriverWait(self.driver, WAIT_S).until(condition)

    def open(self, path: str) -> None:
        self.driver.get(self.facts['horizon'] + path)
        self.complain_about_errors()

    def complain_about_errors(self) -> None:
        told = [
            alert.text
            for alert in self.driver.find_elements(By.CSS_SELECTOR, '.alert-danger, .has-error')
        ]
        if any(told):
            raise TourFailed(f'{self.driver.current_url}: {" ".join(told)}')

    @property
    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, 'body').text

    def expect(self, *texts: str) -> None:
        """See to it that the page shows *texts*."""
        for text in texts:
            if text not in self.text:
                raise TourFailed(f'{self.driver.current_url} does not show {text!r}')

    def wait_for_drawing(self, selector: str) -> None:
        """Return when what *selector* finds is there and no longer moves."""
        seen = []

        def stands_still(driver):
            now = [
                path.get_attribute('d') for path in driver.find_elements(By.CSS_SELECTOR, selector)
            ]
            seen.append(now)
            return any(now) and seen[-2:-1] == [now]

        self._wait(stands_still)

    def fill_in(self, path: str, **values: str) -> None:
        """Open the form at *path*, fill it in, and send it."""
        self.open(path)
        for name, value in values.items():
            field = self.driver.find_element(By.NAME, name)
            if field.tag_name == 'select':
                Select(field).select_by_value(value)
            else:
                field.clear()
                field.send_keys(value)
        self.shoot(f'form-{path.strip("/").split("/")[2]}')
        before = self.driver.find_element(By.TAG_NAME, 'html')
        form = self.driver.find_element(By.NAME, next(iter(values))).find_element(
            By.XPATH, './ancestor::form'
        )
        form.find_element(By.CSS_SELECTOR, '[type=submit]').click()
        self._wait(lambda driver: before != driver.find_element(By.TAG_NAME, 'html'))
        self.complain_about_errors()

    def toggle(self, module_id: str) -> None:
        """Press the button that switches a module."""
        before = self.driver.find_element(By.TAG_NAME, 'html')
        self.driver.find_element(
            By.CSS_SELECTOR, f'[value="modules__toggle_module__{module_id}"]'
        ).click()
        self._wait(lambda driver: before != driver.find_element(By.TAG_NAME, 'html'))
        self.complain_about_errors()

    def shoot(self, name: str) -> None:
        self.shots += 1
        path = pathlib.Path(self.facts['out']) / f'{self.user}-{self.shots:02}-{name}.png'
        self.driver.save_screenshot(str(path))

    def ask(self, path: str, **arguments):
        """Return what the API answers this user."""
        answer = requests.request(
            arguments.pop('method', 'GET'),
            self.facts['api'] + path,
            timeout=30,
            headers={'X-Auth-Token': self.facts['tokens'][self.user]},
            **arguments,
        )
        answer.raise_for_status()
        return answer.json()

    def check(self, what: str, is_right: bool) -> None:
        if not is_right:
            raise TourFailed(what)
        print(f'{self.user}: {what}', flush=True)


def switch_on(operator: Visitor) -> None:
    operator.open('/admin/rating_modules/')
    operator.expect('hashmap', 'pyscripts', 'noop')
    operator.shoot('modules')
    operator.toggle('hashmap')
    operator.fill_in('/admin/rating_modules/edit_priority/hashmap', priority='5')
    operator.shoot('modules-after')
    module = operator.ask('/v1/rating/modules/hashmap')
    operator.check('hashmap is on, with priority 5', module['enabled'] and module['priority'] == 5)


def make_rules(operator: Visitor) -> None:
    """A service, a field and a mapping; a threshold, which is changed; a group."""
    operator.fill_in('/admin/hashmap/create_service', service='instance')
    [service] = operator.ask(f'{RULES}/hashmap/services')['services']
    operator.check('the service is there', service['name'] == 'instance')
    where = f'/admin/hashmap/create_field/service/{service["service_id"]}'
    operator.fill_in(where, field='flavor_name')
    [field] = operator.ask(f'{RULES}/hashmap/fields?service_id={service["service_id"]}')['fields']
    operator.check('the field is there', field['name'] == 'flavor_name')
    operator.fill_in(
        f'/admin/hashmap/create_mapping/field/{field["field_id"]}',
        value='m1',
        type='flat',
        cost='0.25',
    )
    [mapping] = operator.ask(f'{RULES}/hashmap/mappings')['mappings']
    operator.check(
        'the mapping is there', (mapping['value'], float(mapping['cost'])) == ('m1', 0.25)
    )
    operator.open('/admin/hashmap/')
    operator.expect('instance', 'flavor_name', 'm1', '0.25')
    operator.shoot('rules')
    operator.open(f'/admin/hashmap/field/{field["field_id"]}')
    operator.expect('m1', mapping['cost'])
    operator.shoot('field')
    operator.fill_in(
        f'/admin/hashmap/create_threshold/service/{service["service_id"]}',
        level='10',
        type='rate',
        cost='0.9',
    )
    thresholds = f'{RULES}/hashmap/thresholds?service_id={service["service_id"]}'
    [threshold] = operator.ask(thresholds)['thresholds']
    operator.fill_in(
        f'/admin/hashmap/edit_threshold/service/{threshold["threshold_id"]}', level='20'
    )
    operator.shoot('service')
    [threshold] = operator.ask(thresholds)['thresholds']
    operator.check('the threshold is changed', float(threshold['level']) == 20)
    operator.fill_in('/admin/hashmap/create_group/', name='discounts')
    [group] = operator.ask(f'{RULES}/hashmap/groups')['groups']
    operator.check('the group is there', group['name'] == 'discounts')


def add_script(operator: Visitor) -> None:
    operator.fill_in('/admin/pyscripts/create', name='nothing', script_data=SCRIPT)
    operator.expect('nothing')
    operator.shoot('scripts')
    [script] = operator.ask(f'{RULES}/pyscripts/scripts')['scripts']
    operator.check('the script is there', script['data'].split() == SCRIPT.split())
    operator.open(f'/admin/pyscripts/{script["script_id"]}')
    operator.expect('nothing', script['script_id'], 'pass')
    operator.shoot('script')


def read_summary(operator: Visitor) -> None:
    operator.open('/admin/rating_summary/')
    operator.shoot('summary')
    rows = operator.ask('/v2/summary?groupby=project_id&response_format=object')['results']
    figures = [row['rate'] for row in rows]
    operator.expect(*(f'{figure:.2f}' for figure in [*figures, sum(figures)]))
    operator.check(f'the summary shows {figures} and their sum', len(figures) == 2)
    project_id = operator.facts['project_id']
    operator.open(f'/admin/rating_summary/{project_id}/?type=true')
    operator.shoot('summary-of-a-project')
    rows = operator.ask(
        '/v2/summary?'
        + parse.urlencode(
            {'groupby': 'type', 'response_format': 'object', 'filters': f'project_id:{project_id}'}
        )
    )
    figures = [row['rate'] for row in rows['results']]
    operator.expect(*(f'{figure:.2f}' for figure in [*figures, sum(figures)]))
    operator.check(f'that of a project shows {figures}', len(figures) == 2)


def read_costs(user: Visitor) -> None:
    user.open('/project/rating/')
    user.shoot('rating')
    rows = user.ask('/v2/summary?groupby=type&response_format=object')['results']
    figures = {row['type']: row['rate'] for row in rows}
    user.expect(*(f'{figure:.2f}' for figure in [*figures.values(), sum(figures.values())]))
    user.expect('100.25', 'server-1', 'disk-1')
    user.check(
        f'the rating page shows {figures} and last month',
        figures == {'instance': 12.5, 'volume.size': 3.75},
    )
    user.open('/project/reporting/')
    user.expect('instance', 'volume.size')
    user.wait_for_drawing('#repartition_cumulated path')
    user.shoot('reporting')
    drawn = {name: float(figure) for name, figure in SLICE.findall(user.driver.page_source)}
    user.check(f'the cost page draws {drawn}', drawn == figures)


def ask_price(user: Visitor) -> None:
    resources = [{'desc': {'flavor_name': 'm1', 'vcpus': 2}, 'volume': 3}]
    shown = float(user.driver.execute_async_script(QUOTE, resources))
    told = float(
        user.ask(
            '/v1/rating/quote',
            method='POST',
            json={'resources': [{'service': 'instance', **resources[0]}]},
        )
    )
    user.check(f'the price is {shown}, as the API says', shown == told == 0.75)


def try_what_is_not_allowed(user: Visitor) -> None:
    """The panels leave it to the API to say no, and then know only that something went wrong."""
    user.driver.get(user.facts['horizon'] + '/admin/rating_modules/')
    user.shoot('not-allowed')
    user.check('the modules are not shown', 'pyscripts' not in user.text)
    status = requests.get(
        f'{user.facts["api"]}/v1/rating/modules',
        timeout=30,
        headers={'X-Auth-Token': user.facts['tokens'][user.user]},
    ).status_code
    user.check('the API says 403', status == 403)


TOURS = {
    'admin': (switch_on, make_rules, add_script, read_summary),
    'alice': (read_costs, ask_price, try_what_is_not_allowed),
}


def main() -> None:
    facts = json.load(sys.stdin)
    for old in pathlib.Path(facts['out']).glob('*.png'):
        old.unlink()
    for user, steps in TOURS.items():
        with Visitor(facts, user) as visitor:
            for step in steps:
                step(visitor)
    print(f'screenshots: {facts["out"]}')


if __name__ == '__main__':
    try:
        main()
    except TourFailed as exc:
        sys.exit(f'tools/horizon: {exc}')
