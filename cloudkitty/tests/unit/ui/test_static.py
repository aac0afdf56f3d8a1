"""The files of the web page: texts in every language, and no markup or code made of text."""

import gzip
import json
import re

import pytest

from cloudkitty import ui

LANGUAGES = {
    path.stem: json.loads(path.read_text()) for path in (ui.STATIC / 'text').glob('*.json')
}
SCRIPTS = {path.name: path.read_text() for path in ui.STATIC.rglob('*.js')}
CODE = '\n'.join(SCRIPTS.values())
PLACE = re.compile(r'\{\w+\}')
# What makes markup or code of text.
FORBIDDEN = re.compile(
    r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|'
    r'createContextualFragment|srcdoc|setHTML|DOMParser|javascript:'
)
# Most bytes of all scripts, styles and texts, compressed.
SIZE_MAX = 60_000


def _keys():
    """Return the keys that the scripts name, and beginnings of keys that are completed there."""
    whole = set(re.findall(r"\bt\(\s*'([\w]+)'", CODE))
    whole |= {key for pair in re.findall(r"\bt\([^()]*\? '(\w+)' : '(\w+)'", CODE) for key in pair}
    return whole


def test_there_are_three_languages():
    assert sorted(LANGUAGES) == ['de', 'en', 'fr']


@pytest.mark.parametrize('name', ['de', 'fr'])
def test_a_language_has_every_text_with_the_same_places(name):
    english = {key: sorted(PLACE.findall(text)) for key, text in LANGUAGES['en'].items()}

    assert {key: sorted(PLACE.findall(text)) for key, text in LANGUAGES[name].items()} == english
    assert all(text.strip() for text in LANGUAGES[name].values())


def test_no_line_of_french_begins_with_a_mark():
    """The blank before a mark does not end a line."""
    assert not [text for text in LANGUAGES['fr'].values() if re.search(' [:;?!»]', text)]


def test_every_text_that_is_shown_exists():
    keys = _keys()

    assert len(keys) > 40
    assert keys <= set(LANGUAGES['en'])


def test_every_text_is_shown_somewhere():
    unused = {
        key for key in LANGUAGES['en'] if not re.search(rf'\b{key.removeprefix("login_")}\b', CODE)
    }

    assert not unused


@pytest.mark.parametrize('name', SCRIPTS)
def test_no_script_makes_markup_or_code_of_text(name):
    assert not FORBIDDEN.findall(SCRIPTS[name])


def test_everything_is_loaded_from_this_service():
    text = CODE + (ui.STATIC / 'index.html').read_text() + (ui.STATIC / 'style.css').read_text()
    addresses = set(re.findall(r'(?:https?:)?//[\w.]+', text))

    # The name of a language of markup, which nobody loads.
    assert {one for one in addresses if '.' in one} <= {'http://www.w3.org'}


def test_the_page_is_small():
    files = [path.read_bytes() for path in ui.STATIC.rglob('*') if path.is_file()]

    assert sum(len(gzip.compress(content)) for content in files) < SIZE_MAX
