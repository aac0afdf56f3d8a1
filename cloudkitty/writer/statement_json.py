"""JSON: a statement as it is stored, byte by byte."""

from typing import BinaryIO

from cloudkitty import writer
from cloudkitty.writer import Statement


class JSONWriter(writer.BaseStatementWriter):
    """The bytes that the digest of a closed statement is over, after that of the one before."""

    extension = 'json'

    def write(self, statement: Statement, out: BinaryIO) -> None:
        out.write(statement.text)
