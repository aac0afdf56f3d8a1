"""Statements for people: HTML and PDF, in each language."""

import io
import re
import string
from datetime import datetime

import pypdf
import pytest
from babel.messages import pofile

from cloudkitty import errors
from cloudkitty.tests.drivers.output import bills
from cloudkitty.writer import languages, statement_view
from cloudkitty.writer.languages import Language
from cloudkitty.writer.statement_html import HTMLWriter
from cloudkitty.writer.statement_pdf import PDFWriter

HOSTILE = '<script>alert(1)</script> #panic("x") {{ 7*7 }} $x$'
LANGUAGES = languages.known()


@pytest.fixture
def world(conf, database):
    return bills.made(conf)


def rendered(made, statement, **changes):
    sink = io.BytesIO()
    made.write(statement._replace(content={**statement.content, **changes}), sink)
    return sink.getvalue()


def pdf_text(data):
    """Return the words of a PDF file, however its lines are broken."""
    found = ' '.join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages)
    return re.sub(r'\s+', ' ', found)


def html_text(data):
    return re.sub(r'\s+', ' ', re.sub('<[^>]+>', ' ', data.decode()))


@pytest.mark.parametrize('language', LANGUAGES)
def test_a_reader_finds_what_is_owed_and_why(world, language):
    """Number, total, taxes and the amount of each line, in the digits of the language."""
    for statement in [*bills.closed(world), bills.draft(world)]:
        content = statement.content
        known = Language(language)
        wanted = {
            known.number(content['total']),
            known.number(content['net']),
            content.get('number', known.text('Draft statement')),
            known.day(datetime.fromisoformat(content['begin']), content['zone']),
            *(known.number(line['amount']) for line in content['lines']),
            *(known.number(tax['amount']) for tax in content['taxes']),
        }
        for made, read in ((HTMLWriter(), html_text), (PDFWriter(), pdf_text)):
            text = read(rendered(made, statement, language=language))
            missing = {one for one in wanted if re.sub(r'\s+', ' ', one) not in text}
            assert missing == set(), type(made)


def test_the_steps_explain_an_amount(world):
    [statement, *_] = bills.closed(world)
    text = html_text(rendered(HTMLWriter(), statement, language='de'))

    assert 'Stufe 1: 100 × 0,05 = 5' in text
    assert '100 frei, es bleiben 161' in text
    assert 'Korrekturen für September 2026: Projekt p1' in text


def test_the_same_statement_makes_the_same_bytes(world):
    """PDF/A-2b, with the time at which it was closed."""
    for statement in (bills.closed(world)[0], bills.draft(world)):
        for made in (HTMLWriter(), PDFWriter()):
            assert rendered(made, statement) == rendered(made, statement)
    data = rendered(PDFWriter(), bills.closed(world)[0])
    reader = pypdf.PdfReader(io.BytesIO(data))
    marks = reader.trailer['/Root']['/Metadata'].get_data().decode()
    assert '<pdfaid:part>2</pdfaid:part>' in marks
    assert '<pdfaid:conformance>B</pdfaid:conformance>' in marks
    assert reader.metadata['/CreationDate'].startswith('D:20261120')


def test_no_text_is_taken_for_instructions(world):
    """Names come from tenants."""
    [statement, *_] = bills.closed(world)
    line = statement.content['lines'][0] | {'scope_id': HOSTILE, 'key': {HOSTILE: HOSTILE}}
    changes = {
        'account': {'id': HOSTILE, 'name': HOSTILE},
        'lines': [line],
        'issuer': HOSTILE,
        'reason': HOSTILE,
    }
    page = rendered(HTMLWriter(), statement, **changes)

    assert b'<script' not in page
    assert page.count(b'&lt;script&gt;alert(1)&lt;/script&gt;') >= 5
    assert b'{{ 7*7 }}' in page
    assert '#panic("x") {{ 7*7 }} $x$' in pdf_text(rendered(PDFWriter(), statement, **changes))


def test_a_character_that_no_font_has_is_an_error(world):
    """Never a box on an invoice; the page in HTML has it."""
    [statement, *_] = bills.closed(world)
    changes = {'account': {'id': 'tokyo', 'name': '東京'}}

    with pytest.raises(errors.InvalidInput, match=r'\[output\]fonts'):
        rendered(PDFWriter(), statement, **changes)
    assert '東京' in rendered(HTMLWriter(), statement, **changes).decode()


def test_templates_of_the_operator_come_first(world, tmp_path):
    (tmp_path / 'statement.html.j2').write_text('{{ account }} owes {{ totals[-1][1] }}')
    made = HTMLWriter()
    made.templates = str(tmp_path)
    pdf = PDFWriter()
    pdf.templates = str(tmp_path)
    statement = bills.closed(world)[1]

    assert rendered(made, statement) == b'swiss owes 207.09 CHF'
    assert rendered(pdf, statement).startswith(b'%PDF-')


@pytest.mark.parametrize('language', [name for name in LANGUAGES if name != languages.ENGLISH])
def test_a_language_is_complete(language):
    """Each message, with the same facts in it."""
    path = languages.CATALOGUES / language / 'LC_MESSAGES' / 'cloudkitty.po'
    with path.open('rb') as source:
        found = {message.id: message.string for message in pofile.read_po(source) if message.id}

    assert set(found) == set(statement_view.MESSAGES)
    for message, translated in found.items():
        assert translated, message
        assert fields(message) == fields(translated), message


def test_the_template_of_catalogues_has_each_message():
    with (languages.CATALOGUES / 'cloudkitty.pot').open('rb') as source:
        found = {message.id for message in pofile.read_po(source) if message.id}
    assert found == set(statement_view.MESSAGES)


def fields(message):
    return sorted(name for _, name, _, _ in string.Formatter().parse(message) if name)


@pytest.mark.parametrize(
    'language, text, shown',
    [
        ('en', '1234.30', '1,234.30'),
        ('de', '-1234.30', '-1.234,30'),
        ('fr', '1234.30', '1\u202f234,30'),
        ('de_CH', '1234.30', '1’234.30'),
        ('xx', '5', '5'),
        (
            'de',
            '12345678901234567890.1234567890123456789012345678',
            '12.345.678.901.234.567.890,1234567890123456789012345678',
        ),
    ],
)
def test_numbers_have_all_digits(language, text, shown):
    """Whatever the currency has: HUF has two, where Babel would print none."""
    assert Language(language).number(text) == shown


def test_a_language_that_is_not_there_is_english():
    assert languages.chosen('de_AT') == 'de'
    assert languages.chosen('ja') == 'en'
    assert Language('ja').text('Total') == 'Total'
