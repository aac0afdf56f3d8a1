"""Names that tenants choose, in a real browser: each is text, and is read as it is written."""

from cloudkitty.tests.functional.ui.conftest import FORMULA, HOSTILE, PAGES, REVERSED


def test_names_are_text_whatever_they_hold(site):
    site.browser.messages()
    for page in PAGES:
        site.open(page, project=HOSTILE.replace('"', '%22').replace(' ', '%20'))
        assert not site.browser.find_all('main img')
        assert 'CloudKitty' in site.browser.driver.title

        if page in ('projects', 'prices', 'priceList'):
            assert HOSTILE in site.browser.text
    assert site.browser.messages() == []


LEFT_TO_RIGHT = """
const [done] = [...arguments].slice(-1);
const script = performance.getEntriesByType('resource').find(({ name }) => name.endsWith('dom.js'));
import(script.name).then(({ el }) => {
  const line = el('p', {}, '\\u05d0\\u05d1: ', el('code', {}, '1 \\u00d7 2 = 2'));
  document.querySelector('main').append(line);
  const places = [];
  const walk = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    for (let at = 0; at < node.length; at += 1) {
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, at + 1);
      if (/\\d/.test(String(range))) places.push(range.getBoundingClientRect().x);
    }
  }
  line.remove();
  done(places);
});"""


def test_names_are_read_in_the_order_in_which_they_are_written(site):
    """One that would turn what follows is shown with its escape, also to who points at it."""
    site.open('costs', project=FORMULA)
    assert 'web-\\u202epohs' in [row[0] for row in site.browser.tables['Resources by id']]
    assert 'web-\\u202epohs' in site.browser.text
    site.open('costs', project=REVERSED)
    assert site.browser.find('h1').get_attribute('title') == 'web-\\u202epohs'
    site.browser.wait_for('Costs of web-\\u202epohs')

    # A calculation after a name of Hebrew letters.
    places = site.browser.driver.execute_async_script(LEFT_TO_RIGHT)
    assert len(places) == 3
    assert places == sorted(places)
