"""A month of which nothing is rated yet, as each is in its first hours."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty.core import timeframe
from cloudkitty.tests.functional.ui.conftest import PROJECTS


@pytest.fixture
def ahead(site):
    """The site with the first month of which nothing is rated."""
    rated = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    last = timeframe.month_at(rated - timedelta(hours=1))
    return site._replace(month=timeframe.month_at(last.end))


def test_nothing_is_compared_before_something_is_rated(ahead):
    """Neither a saving of 100 % nor the whole month before as its same days."""
    ahead.open('costs', project='web-shop')

    month = timeframe.month_at(ahead.month.begin - timedelta(days=1))
    titles = [title.text for title in ahead.browser.find_all('.tile h2')]
    assert (titles[0], titles[-1]) == ('This month so far', f'{month.begin:%B %Y}')
    assert 'Nothing of this month is rated yet.' in ahead.browser.find('[role=status]').text
    assert '100%' not in ahead.browser.text
    assert 'same days' not in ahead.browser.text.lower()


def test_no_project_has_saved_what_is_not_rated_yet(ahead):
    ahead.open('projects')

    found = ahead.browser.tables
    assert list(found) == ['All projects']
    assert {row[0] for row in found['All projects']} >= set(PROJECTS)
    assert {(Decimal(row[1]), *row[3:]) for row in found['All projects']} == {(Decimal(0), '', '')}


def test_the_set_up_is_complete_on_the_first_day_of_a_month(site):
    """What is rated is looked for in the month before, too."""
    site.browser.open('setup')

    steps = [step.text for step in site.browser.find_all('.steps h2')]
    assert '✓ Usage is rated' in steps
    assert 'traffic: ' in site.browser.find_all('.steps li')[-1].text
