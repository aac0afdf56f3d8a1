"""Writers render rated data as files. Contract of the driver family.

A writer is a pure renderer: it opens no files, queries nothing and reads no clock, so the same
report gives the same bytes. The caller is responsible for files, progress and retries.
"""

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, Protocol

from cloudkitty import errors, plugins
from cloudkitty.core.dataframe import DataFrame

NAMESPACE = 'cloudkitty.output.writers'
# Subject of a file: usage of scopes, one statement, or the statements of a month.
USAGE, STATEMENT, STATEMENTS = 'usage', 'statement', 'statements'
# Origin of the points of a period: the processor, or a client of the API.
RATED, PUSHED = 'rated', 'pushed'


class ScopeProgress(NamedTuple):
    """The mark of a scope.

    :ivar scope_key, fetcher, collector: its identity; None in rows of old deployments.
    :ivar mark: begin of the last rated period, aware UTC.
    """

    scope_id: str
    scope_key: str | None
    fetcher: str | None
    collector: str | None
    mark: datetime
    active: bool


class RatedPeriod(NamedTuple):
    """The rated points of a scope in one period.

    :ivar origin: RATED or PUSHED.
    """

    scope_id: str
    origin: str
    frame: DataFrame


class Report(NamedTuple):
    """The content of a file.

    :ivar scope_key: the attribute that names scopes, see [collect]scope_key.
    :ivar progress: of each scope; empty if only a part of the time is exported.
    :ivar periods: ordered by scope, begin and origin; read once, a few at a time.
    """

    scope_key: str
    progress: list[ScopeProgress]
    periods: Iterable[RatedPeriod]


class HeaderChanged(Exception):
    """Periods to append do not fit the beginning of the file: it must be written again."""


class Sink(Protocol):
    """Where a body is written to."""

    def write(self, data: bytes, /) -> Any: ...


class Body(abc.ABC):
    """A file that periods can be appended to: its content without the trailer."""

    @abc.abstractmethod
    def write(self, periods: Iterable[RatedPeriod], out: Sink) -> Iterator[int]:
        """Write a new body; yield the number of periods, see BaseReportWriter.write()."""

    @abc.abstractmethod
    def append(self, periods: Iterable[RatedPeriod], out: Sink) -> Iterator[int]:
        """Append periods after those of the state with which the body was created.

        :raises HeaderChanged: a period does not fit the beginning.
        """

    @abc.abstractmethod
    def trailer(self) -> bytes:
        """Return what follows the last period."""

    @abc.abstractmethod
    def state(self) -> Mapping[str, Any]:
        """Return what append() and trailer() depend on, as JSON."""


class Statement(NamedTuple):
    """A statement to be rendered.

    :ivar content: its members, see core/billing/form; a closed one has those of ledger.HEAD too.
    :ivar text: the content as canonical JSON, as it was closed; of a draft, as it is now.
    """

    content: Mapping[str, Any]
    text: bytes


class BaseStatementWriter(abc.ABC):
    """A format of statements.

    :cvar subject: STATEMENT.
    :cvar is_localised: whether there is a file for each language.
    :cvar version: another value has all files of the format written again.
    :ivar templates: folder of the operator's own templates; None: there are none.
    :ivar fonts: folders of the operator's own fonts.
    """

    subject = STATEMENT
    extension: str = ''
    is_localised: bool = False
    version: int = 1
    templates: str | None = None
    fonts: Sequence[str] = ()

    def use(self, options: Any) -> None:
        """Use the folders that the options of [output] name."""
        self.templates, self.fonts = options.templates, options.fonts

    @abc.abstractmethod
    def write(self, statement: Statement, out: BinaryIO) -> None:
        """Write *statement*, in the language that it names.

        :raises ConfigurationError: a library that the format needs is not installed.
        :raises InvalidInput: the format cannot represent the statement.
        """


class BaseStatementsWriter(abc.ABC):
    """A format of all statements of a month.

    :cvar subject: STATEMENTS.
    :cvar folder: where its files are, below that of all files.
    """

    subject = STATEMENTS
    extension: str = ''
    folder: str = ''
    version: int = 1

    @abc.abstractmethod
    def write(self, statements: Iterable[Statement], out: BinaryIO) -> None:
        """Write the statements, which are read once; errors are those of BaseStatementWriter."""


class BaseReportWriter(abc.ABC):
    """A format of usage.

    :cvar subject: USAGE.
    :cvar extension: extension of its files, without the dot.
    :cvar label: stands between scope and month in the names of report files; '': nothing does;
        None: the name under which it is installed.
    :cvar can_read: whether read() can parse the output of write(), so that files can be imported.
    :cvar version: another value has all files of the format written again.
    """

    subject = USAGE
    extension: str = ''
    label: str | None = None
    can_read: bool = False
    version: int = 1

    def body(self, state: Mapping[str, Any] | None = None) -> Body | None:
        """Return a body: a new one, or one that goes on after *state*.

        None: periods cannot be appended to files of this format; they are always made anew.
        """
        return None

    @abc.abstractmethod
    def write(self, report: Report, out: BinaryIO) -> Iterator[int]:
        """Write *report*; yield the number of periods written since the last time, for progress.

        The file is complete when the iterator is exhausted.

        :raises ConfigurationError: a library that the format needs is not installed.
        """

    def read(self, source: BinaryIO) -> Report:
        """Parse a file of write() and return the report; only if *can_read* is true.

        :raises InvalidInput: the file is damaged, incomplete or of another format, at once or when
            the periods are read.
        :raises ConfigurationError: a library that the format needs is not installed.
        """
        raise errors.InvalidInput(reason=f'.{self.extension} files can only be written')


AnyWriter = BaseReportWriter | BaseStatementWriter | BaseStatementsWriter


def names() -> list[str]:
    """Return the names of the installed formats, sorted."""
    return plugins.names(NAMESPACE)


def get_any(name: str, *, group: str = 'output', option: str = 'pipeline') -> AnyWriter:
    """Return the writer of a format, for any subject.

    :param group, option: the option that names it, for errors.
    :raises UnknownDriver: no such format is installed.
    :raises DriverLoadError: it cannot be imported.
    """
    writer: AnyWriter = plugins.load(NAMESPACE, name, group=group, option=option)()
    return writer


def get_writer(name: str, *, group: str = 'command', option: str = '--format') -> BaseReportWriter:
    """Return the writer of a format of usage; errors are those of get_any().

    :raises InvalidInput: it is a format of statements.
    """
    made = get_any(name, group=group, option=option)
    if not isinstance(made, BaseReportWriter):
        raise errors.InvalidInput(reason=f'{name} is a format of statements, not of usage')
    return made
