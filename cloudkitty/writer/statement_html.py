"""HTML: a statement for people, one page without scripts; needs the extra `documents`."""

from pathlib import Path
from typing import Any, BinaryIO

from cloudkitty import plugins, writer
from cloudkitty.writer import Statement, statement_view
from cloudkitty.writer.languages import Language

TEMPLATES = Path(__file__).with_name('templates')
NAME = 'statement.html.j2'


class HTMLWriter(writer.BaseStatementWriter):
    """A page that is read in a browser, and printed; all text is escaped."""

    extension = 'html'
    is_localised = True

    def write(self, statement: Statement, out: BinaryIO) -> None:
        language = Language(statement.content['language'])
        view = statement_view.make(statement.content, language)
        out.write(_template(self.templates).render(view).encode())


def _template(folder: str | None) -> Any:
    """Return the template, that of the operator's *folder* if it has one.

    :raises NotInstalled: Jinja2 is not.
    """
    jinja2 = plugins.import_extra(
        'HTML needs Jinja2: install the extra "documents" of CloudKitty', 'jinja2'
    )
    folders = [TEMPLATES] if folder is None else [Path(folder), TEMPLATES]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(NAME)
