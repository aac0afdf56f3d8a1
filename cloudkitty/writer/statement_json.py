"""JSON: a statement as stored, byte for byte."""

from typing import BinaryIO

from cloudkitty import writer
from cloudkitty.writer import Statement


class JSONWriter(writer.BaseStatementWriter):
    """The bytes of a closed statement over which its digest is computed."""

    extension = 'json'

    def write(self, statement: Statement, out: BinaryIO) -> None:
        out.write(statement.text)
