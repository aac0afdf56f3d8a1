"""Files with statements: each closed one, and those of a month together."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from cloudkitty import errors, writer
from cloudkitty.billing import accounts, ledger
from cloudkitty.billing.closing import Closing
from cloudkitty.billing.statements import Statements
from cloudkitty.core.billing import canonical
from cloudkitty.write_orchestrator import files, names
from cloudkitty.write_orchestrator.files import Unit


class Job(NamedTuple):
    """A file with statements.

    :ivar source: digest of its input; None: unknown before it is rendered.
    :ivar render: writes it.
    """

    unit: Unit
    source: str | None
    render: Callable[[BinaryIO], None]


class StatementFiles:
    """The files of the writers of statements in a pipeline."""

    def __init__(
        self,
        service: Statements,
        single: Mapping[str, writer.BaseStatementWriter],
        monthly: Mapping[str, writer.BaseStatementsWriter],
    ) -> None:
        self.service = service
        self.single = single
        self.monthly = monthly

    def of_month(self, month: str, account_ids: Collection[str] | None = None) -> Iterator[Job]:
        """Yield the files of a month.

        :param account_ids: statements of these accounts only, and none of those with many.
        """
        with self.service.database.reader() as connection:
            found = ledger.of_month(connection, month)
        yield from self.of_entries(
            entry for entry in found if account_ids is None or entry.account in account_ids
        )
        if account_ids is None:
            yield from self.of_closed(month, found)
            for name, made in self.monthly.items():
                yield Job(
                    _month_unit(name, made, month, files.DRAFT), None, self._drafts(made, month)
                )

    def of_closed(self, month: str, found: Sequence[ledger.Entry]) -> Iterator[Job]:
        """Yield the files with all closed statements of a month."""
        lines = [f'{entry.number} {entry.digest}\n'.encode() for entry in found]
        for name, made in self.monthly.items():
            unit = _month_unit(name, made, month, files.CLOSED)
            yield Job(unit, canonical.digest(*lines), self._closed(made, found))

    def of_entries(self, found: Iterable[ledger.Entry]) -> Iterator[Job]:
        """Yield the files of closed statements."""
        for entry in found:
            for name, made in self.single.items():
                language = self._language(entry) if made.is_localised else ''
                unit = _unit(name, made, entry, language)
                yield Job(unit, entry.digest, self._rendering(made, entry))

    def _language(self, entry: ledger.Entry) -> str:
        with self.service.database.reader() as connection:
            document = self.service.documents.get(connection, entry.version, entry.month)
        return accounts.find(document, entry.account, has_statements=True).language

    def _read(self, entry: ledger.Entry) -> writer.Statement:
        with self.service.database.reader() as connection:
            return writer.Statement(*ledger.content(connection, entry.number))

    def _rendering(
        self, made: writer.BaseStatementWriter, entry: ledger.Entry
    ) -> Callable[[BinaryIO], None]:
        return lambda out: made.write(self._read(entry), out)

    def _closed(
        self, made: writer.BaseStatementsWriter, found: Sequence[ledger.Entry]
    ) -> Callable[[BinaryIO], None]:
        return lambda out: made.write((self._read(entry) for entry in found), out)

    def _drafts(self, made: writer.BaseStatementsWriter, month: str) -> Callable[[BinaryIO], None]:
        return lambda out: made.write(drafts(self.service, month), out)


def drafts(service: Statements, month: str) -> Iterator[writer.Statement]:
    """Yield the drafts of the accounts that have no statement of a month.

    An account that was closed meanwhile, or is not there in that month, is left out.
    """
    for account_id in Closing(service).open_accounts(month):
        try:
            content = service.draft(account_id, month).to_form()
        except (errors.NotFound, errors.Conflict):
            continue
        yield writer.Statement(content, canonical.encode(content))


def _unit(name: str, made: writer.BaseStatementWriter, entry: ledger.Entry, language: str) -> Unit:
    middle = f'.{names.safe(language)}' if language else ''
    file = f'{names.safe(entry.account)}/{names.safe(entry.number)}{middle}.{made.extension}'
    return Unit(file, name, files.STATEMENT, entry.account, entry.month, str(made.version))


def _month_unit(name: str, made: writer.BaseStatementsWriter, month: str, state: str) -> Unit:
    file = f'{made.folder}/{month}/{state}.{made.extension}'
    return Unit(file, name, files.STATEMENTS, state, month, str(made.version))
