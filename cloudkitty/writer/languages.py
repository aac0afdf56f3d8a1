"""Texts, numbers and dates of the languages of documents.

Messages are in cloudkitty/locale, one catalogue of gettext a language; English is in the code.
"""

import decimal
import functools
import zoneinfo
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from cloudkitty import plugins
from cloudkitty.core.decimals import WIDE_CONTEXT

CATALOGUES = Path(__file__).resolve().parents[1] / 'locale'
ENGLISH = 'en'
NEEDS_BABEL = 'Documents need Babel: install the extra "documents" of CloudKitty'
_FILE = 'LC_MESSAGES/cloudkitty.po'


def known() -> list[str]:
    """Return the languages that there are, sorted."""
    return sorted([ENGLISH, *(path.parents[1].name for path in CATALOGUES.glob(f'*/{_FILE}'))])


def chosen(language: str) -> str:
    """Return *language*, its base such as `de` of `de_AT`, or English, whichever is known."""
    for name in (language, language.partition('_')[0]):
        if name in known():
            return name
    return ENGLISH


class Language:
    """A language; its locale may be a region of it, such as de_CH.

    :raises ConfigurationError: Babel is not installed.
    """

    def __init__(self, name: str) -> None:
        babel = _babel()
        self.name = chosen(name)
        try:
            self.locale = babel.Locale.parse(name)
        except (ValueError, babel.UnknownLocaleError):
            self.locale = babel.Locale.parse(self.name)
        if self.locale.language != self.name.partition('_')[0]:
            self.locale = babel.Locale.parse(self.name)
        self._messages = _messages(self.name)

    def text(self, message: str, **facts: str) -> str:
        """Return an English message in this language, with its {facts} filled in."""
        return self._messages.get(message, message).format(**facts)

    def number(self, text: str) -> str:
        """Return a decimal with all of its digits, and no more."""
        _, _, digits = text.partition('.')
        pattern = f'#,##0.{"0" * len(digits)}' if digits else '#,##0'
        numbers = _babel().numbers
        # Babel rounds to the digits of the context.
        with decimal.localcontext(WIDE_CONTEXT):
            shown: str = numbers.format_decimal(
                Decimal(text), format=pattern, locale=self.locale, decimal_quantization=False
            )
        return shown

    def day(self, moment: datetime, zone: str) -> str:
        """Return the day of a moment in a zone, in words."""
        local = moment.astimezone(zoneinfo.ZoneInfo(zone))
        shown: str = _babel().dates.format_date(local.date(), 'long', locale=self.locale)
        return shown

    def last_day(self, moment: datetime, zone: str) -> str:
        """Return the day that ends at a moment."""
        return self.day(moment - timedelta(microseconds=1), zone)

    def month(self, name: str) -> str:
        """Return a month such as 2026-10 in words."""
        first = date(int(name[:4]), int(name[5:]), 1)
        shown: str = _babel().dates.format_skeleton('yMMMM', first, locale=self.locale)
        return shown


def _babel() -> Any:
    """Return Babel.

    :raises NotInstalled: it is not.
    """
    return plugins.import_extra(NEEDS_BABEL, 'babel', 'babel.dates', 'babel.numbers')


@functools.cache
def _messages(name: str) -> dict[str, str]:
    """Return English messages and those of a language."""
    if name == ENGLISH:
        return {}
    pofile = plugins.import_extra(NEEDS_BABEL, 'babel.messages.pofile')
    with (CATALOGUES / name / _FILE).open('rb') as source:
        catalogue = pofile.read_po(source, locale=name)
    return {str(message.id): str(message.string) for message in catalogue if message.string}
