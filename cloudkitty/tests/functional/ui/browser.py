"""A real browser without a screen."""

import json
import pathlib
from typing import Any

from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from cloudkitty.tests import services

PICTURES = pathlib.Path(__file__).parents[4] / '.tools' / 'page-pictures'
WAIT_S = 30
WIDE, NARROW = (1280, 1000), (320, 800)
# As root the browser's own sandbox does not start.
FLAGS = ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--lang=en')
IS_READY = (
    "const main = document.querySelector('main');"
    "return !!main && !main.hasAttribute('aria-busy') && !!main.querySelector('h1')"
)
TABLES = """
return Object.fromEntries([...document.querySelectorAll('table')].map(table => [
  table.querySelector('caption').textContent,
  [...table.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => {
    const exact = cell.querySelector('[title]');
    return exact ? exact.getAttribute('title') : cell.textContent;
  }))]));
"""


class Browser:
    """Debian's Chromium.

    :param url: of the service whose page it shows.
    """

    def __init__(self, url: str):
        self.url = url
        options = webdriver.ChromeOptions()
        options.binary_location = services.find('chromium', 'chromium')
        for flag in FLAGS:
            options.add_argument(flag)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        driver = services.find('chromedriver', 'chromium-driver')
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        self.resize(WIDE)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.driver.quit()

    def resize(self, size: tuple[int, int], *, is_dark: bool = False) -> None:
        width, height = size
        metrics = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False}
        self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if is_dark else 'light'}
        self.driver.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [scheme]})

    def open(self, page: str) -> None:
        """Load a page anew, `costs?project=p1`, and return when it is drawn."""
        self.driver.get('about:blank')
        self.driver.get(f'{self.url}/ui/#{page}')
        self.wait()

    def wait(self) -> None:
        """Return when the page is drawn."""
        WebDriverWait(self.driver, WAIT_S).until(lambda driver: driver.execute_script(IS_READY))

    def wait_for(self, text: str) -> None:
        """Return when the page shows *text*."""
        WebDriverWait(self.driver, WAIT_S).until(lambda driver: text in self.text)

    @property
    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, 'body').text

    @property
    def tables(self) -> dict[str, list[list[str]]]:
        """The cells of all tables by caption; of a number that is rounded, the exact one."""
        return self.driver.execute_script(TABLES)

    def find(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def picture(self, name: str) -> pathlib.Path:
        """Return the file that what is shown is saved in, for people to look at."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f'{name}.png'
        self.driver.save_screenshot(str(path))
        return path

    def violations(self) -> list[str]:
        """Return what axe-core finds fault with."""
        return [
            f'{one["id"]}: {one["nodes"][0]["html"]}'
            for one in Axe().run(self.driver)['violations']
        ]

    def messages(self) -> list[str]:
        """Return what stands in the console, and empty it."""
        return [entry['message'] for entry in self.driver.get_log('browser')]

    def requests(self) -> list[str]:
        """Return the addresses that the page has loaded."""
        script = "return JSON.stringify(performance.getEntriesByType('resource').map(e => e.name))"
        found: Any = json.loads(self.driver.execute_script(script))
        return found
