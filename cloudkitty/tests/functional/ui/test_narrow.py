"""What a narrow screen shows without scrolling."""

from datetime import UTC, datetime

import pytest

from cloudkitty.tests.functional.ui import browser as browsers

# Pixels; letters of 12 pixels are a little higher.
LETTERS_MIN = 12


@pytest.fixture
def narrow(site):
    site.browser.resize(browsers.NARROW)
    yield site
    site.browser.resize(browsers.WIDE)


def test_the_newest_months_are_seen_and_their_names_can_be_read(narrow):
    narrow.browser.open('months?project=web-shop')

    labels = narrow.browser.find_all('svg.chart text.axis')
    assert labels[-1].text == f'{datetime.now(UTC):%b %y}'
    assert 0 < labels[-1].rect['x'] < browsers.NARROW[0]
    assert min(label.rect['height'] for label in labels) >= LETTERS_MIN


def test_the_cost_of_a_project_is_beside_its_name(narrow):
    """However long the name is."""
    narrow.open('projects')

    for cost in narrow.browser.find_all('td:nth-child(2)'):
        assert cost.rect['x'] + cost.rect['width'] <= browsers.NARROW[0]


def test_the_title_of_a_table_stays_in_view(narrow):
    narrow.open('projects')
    boxes = narrow.browser.find_all('.scroll')
    narrow.browser.driver.execute_script('arguments[0].scrollLeft = 1000', boxes[0])

    assert boxes[0].get_property('scrollLeft') > 0
    for title in narrow.browser.find_all('caption span'):
        assert title.rect['x'] >= 0
        assert title.rect['x'] + title.rect['width'] <= browsers.NARROW[0]
