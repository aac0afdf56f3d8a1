"""A real browser without a screen."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from cloudkitty.tests import services

AXE = Axe()
PICTURES = pathlib.Path(__file__).parents[4] / '.tools' / 'page-pictures'
WAIT_S = 30
POLL_S = 0.05
WIDE, NARROW = (1280, 1000), (320, 800)
FLAGS = (
    '--headless=new',
    # As root the browser's own sandbox does not start.
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--lang=en',
    # The network is cut: nothing but this machine can be reached.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
)
# What axe-core judges by size and colours; all else is the same on screens of every kind.
BY_LOOKS = ('color-contrast', 'scrollable-region-focusable')
IS_READY = (
    "const main = document.querySelector('main');"
    "return !!main && !main.hasAttribute('aria-busy') && !!main.querySelector('h1')"
)
LOADED = """
return JSON.stringify(performance.getEntriesByType('resource')
  .map(entry => [entry.name, entry.encodedBodySize, entry.responseEnd]))"""
HEIGHTS = """
const tall = [document.documentElement, ...document.querySelectorAll('dialog')];
return [innerWidth, innerHeight, Math.max(...tall.map(element => element.scrollHeight))]"""
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
        self._set_size(*size)
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if is_dark else 'light'}
        self.driver.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [scheme]})

    def _set_size(self, width: int, height: int) -> None:
        metrics = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False}
        self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)

    def open(self, page: str) -> None:
        """Load a page anew, `costs?project=p1`, and return when it is drawn."""
        self.driver.get('about:blank')
        self.driver.get(f'{self.url}/ui/#{page}')
        self.wait()

    def wait(self) -> None:
        """Return when the page is drawn."""
        self.wait_until(lambda: self.driver.execute_script(IS_READY))

    def wait_for(self, text: str) -> None:
        """Return when the page shows *text*."""
        self.wait_until(lambda: text in self.text)

    def wait_until(self, is_true: Callable[[], Any]) -> None:
        WebDriverWait(self.driver, WAIT_S, POLL_S).until(lambda _: is_true())

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

    def picture(self, name: str, *, is_whole: bool = True) -> pathlib.Path:
        """Return the file that the page is saved in, for people to look at.

        :param is_whole: with what stands below the screen, of the page or of what lies over it.
        """
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f'{name}.png'
        width, height, needed = self.driver.execute_script(HEIGHTS)
        if is_whole:
            self._set_size(width, max(height, needed))
        self.driver.save_screenshot(str(path))
        self._set_size(width, height)
        return path

    def violations(self, *rules: str) -> list[str]:
        """Return what axe-core finds fault with, by some rules or by all."""
        options: dict[str, Any] = {'resultTypes': ['violations'], 'iframes': 0}
        if rules:
            options['runOnly'] = list(rules)
        found = AXE.run(self.driver, options=options)['violations']
        return [f'{one["id"]}: {one["nodes"][0]["html"]}' for one in found]

    def messages(self) -> list[str]:
        """Return what stands in the console, and empty it."""
        return [entry['message'] for entry in self.driver.get_log('browser')]

    def requests(self) -> dict[str, int]:
        """Return the addresses that the page has loaded, with the bytes of each answer."""
        return {name: size for name, size, _ in self._loaded()}

    def loading_s(self) -> float:
        """Return how long it took from the start of the page to its last answer."""
        return max(end for *_, end in self._loaded()) / 1000

    def _loaded(self) -> list[tuple[str, int, float]]:
        found: Any = json.loads(self.driver.execute_script(LOADED))
        return found
