"""PDF: a statement for people, as PDF/A-2b for archives; needs the extra `documents`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from cloudkitty import errors, plugins, writer
from cloudkitty.writer import Statement, statement_view
from cloudkitty.writer.languages import Language

TEMPLATES = Path(__file__).with_name('templates')
NAME = 'statement.typ'
STANDARD = 'a-2b'
# Date of a file whose statement has none, so that the same draft gives the same bytes.
NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)


class PDFWriter(writer.BaseStatementWriter):
    """PDF files. A character that no font has is an error, not a box.

    The content is data of the template, so nothing in it is taken for instructions.
    """

    extension = 'pdf'
    is_localised = True

    def write(self, statement: Statement, out: BinaryIO) -> None:
        typst = _typst()
        content = statement.content
        view = statement_view.make(content, Language(content['language']))
        closed_at = content.get('closed_at')
        moment = NO_DATE if closed_at is None else datetime.fromisoformat(closed_at)
        try:
            made: bytes = typst.compile(
                _template(self.templates).read_bytes(),
                font_paths=list(self.fonts),
                # With fonts of the host, files would differ between hosts.
                ignore_system_fonts=True,
                format='pdf',
                sys_inputs={'view': json.dumps(view)},
                pdf_standards=STANDARD,
                timestamp=moment.astimezone(UTC),
            )
        except typst.TypstError as exc:
            raise errors.InvalidInput(reason=f'{exc.message}; see [output]fonts') from exc
        out.write(made)


def _template(folder: str | None) -> Path:
    own = None if folder is None else Path(folder) / NAME
    return own if own is not None and own.is_file() else TEMPLATES / NAME


def _typst() -> Any:
    """Return the module of typst.

    :raises NotInstalled: it is not.
    """
    return plugins.import_extra(
        'PDF needs typst: install the extra "documents" of CloudKitty', 'typst'
    )
