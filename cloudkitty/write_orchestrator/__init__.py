"""Writes report files below [output]basepath, and determines which of them have to be written.

A file is due when its input has changed: its row in output_files has a digest of the input. So late
pushes, resets and new prices need not be reported, and the same data gives the same bytes.
"""

import functools
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from oslo_config import cfg

from cloudkitty import backend, completeness, db, errors, storage, writer
from cloudkitty.billing import ledger
from cloudkitty.billing.statements import Statements
from cloudkitty.core import timeframe
from cloudkitty.core.billing import month as calendar
from cloudkitty.core.timeframe import Period
from cloudkitty.write_orchestrator import copying, files, manifest
from cloudkitty.write_orchestrator.files import Extent, File, Unit
from cloudkitty.write_orchestrator.names import file_name as file_name
from cloudkitty.write_orchestrator.names import months as months
from cloudkitty.write_orchestrator.statements import Job, StatementFiles
from cloudkitty.write_orchestrator.usage import Content, Renderer, unit_of

LOG = logging.getLogger(__name__)

WRITTEN, UNCHANGED, FAILED = 'written', 'unchanged', 'failed'
# What a check finds, which writes nothing.
DIFFERENT, MISSING = 'different', 'missing'
REMOVED = 'its points were removed by [storage]retention_period, and the file would not be whole'


class Outcome(NamedTuple):
    """Result of writing a file.

    :ivar state: WRITTEN, UNCHANGED or FAILED; of a check UNCHANGED, DIFFERENT, MISSING or FAILED.
    :ivar reason: why it failed.
    """

    name: str
    state: str
    reason: str = ''


class WriteOrchestrator:
    """Makes the files of scopes, statements and months.

    :param clock: returns the current time, aware UTC.
    :param service: the statements; None: only files with usage can be made.
    :raises ConfigurationError: a writer or the backend cannot be loaded, or billing is off and the
        pipeline has a format of statements.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: db.Database,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        service: Statements | None = None,
    ) -> None:
        self.conf = conf
        self.database = database
        self.clock = clock
        self.service = service if conf.billing.enabled else None
        self.store = storage.get_series_driver(conf)
        self.backend = backend.get_backend(conf.output.backend, conf.output.basepath)
        self.renderer = Renderer(conf.collect.scope_key, self.backend)
        self.use({name: writer.get_any(name) for name in conf.output.pipeline})

    def use(self, writers: Mapping[str, writer.AnyWriter]) -> None:
        """Use these writers, by the names of their formats.

        :raises ConfigurationError: one is of statements, and billing is off.
        """
        self.writers: dict[str, writer.BaseReportWriter] = {}
        single: dict[str, writer.BaseStatementWriter] = {}
        monthly: dict[str, writer.BaseStatementsWriter] = {}
        for name, made in writers.items():
            if isinstance(made, writer.BaseReportWriter):
                self.writers[name] = made
            elif isinstance(made, writer.BaseStatementWriter):
                made.use(self.conf.output)
                single[name] = made
            else:
                monthly[name] = made
        self.statements: StatementFiles | None = None
        if not single and not monthly:
            return
        if self.service is None:
            raise errors.ConfigurationError(
                reason=f'[output]pipeline has {min([*single, *monthly])}, a format of statements, '
                'and [billing]enabled is false'
            )
        self.statements = StatementFiles(self.service, single, monthly)

    def select(self, names: Sequence[str]) -> None:
        """Use only these writers of the pipeline.

        :raises InvalidInput: one is not in the pipeline.
        """
        unknown = set(names) - set(self.conf.output.pipeline)
        if unknown:
            raise errors.InvalidInput(reason=f'{min(unknown)} is not in [output]pipeline')
        self.use({name: writer.get_any(name) for name in names})

    def scopes(self, month: str) -> list[str]:
        """Return the scopes that have files of a month."""
        found = files.of_month(self.database, month)
        return sorted({file.unit.subject_id for file in found if file.unit.subject == files.USAGE})

    def generate(self, scope_id: str, span: Period) -> Iterator[Outcome]:
        """Write the files of a scope in *span*, a month or the part of it that is over.

        A writer that fails leaves its former file, and the other writers alone.
        """
        content = Content(self.store, scope_id, span)
        for name, made in self.writers.items():
            yield self._usage(made, unit_of(name, made, scope_id, span), content)

    def check(self, scope_id: str, span: Period) -> Iterator[Outcome]:
        """Compare the files of a scope in *span* with what would be written; write nothing."""
        content = Content(self.store, scope_id, span)
        for name, made in self.writers.items():
            unit = unit_of(name, made, scope_id, span)
            if not content.is_whole:
                yield Outcome(unit.name, FAILED, REMOVED)
                continue
            yield self._compare(unit, functools.partial(self.renderer.render, made, content))

    def generate_statements(
        self, month: str, account_ids: Collection[str] | None = None
    ) -> Iterator[Outcome]:
        """Write the files with statements of a month.

        :param account_ids: statements of these accounts only, and no file with many.
        """
        if self.statements is not None:
            for job in self.statements.of_month(month, account_ids):
                yield self._statement(job)

    def check_statements(
        self, month: str, account_ids: Collection[str] | None = None
    ) -> Iterator[Outcome]:
        """Compare the files with statements of a month; write nothing."""
        if self.statements is not None:
            for job in self.statements.of_month(month, account_ids):
                yield self._compare(job.unit, job.render)

    def generate_closed(self, entry: ledger.Entry) -> Iterator[Outcome]:
        """Write the files of a statement that was closed just now."""
        if self.statements is not None:
            for job in self.statements.of_entries([entry]):
                yield self._statement(job)

    def _usage(self, made: writer.BaseReportWriter, unit: Unit, content: Content) -> Outcome:
        known = files.get(self.database, unit.name)
        if not content.is_whole:
            is_there = self.backend.size(unit.name) is not None
            return Outcome(unit.name, *((UNCHANGED, '') if is_there else (FAILED, REMOVED)))
        if known is not None and self._is_current(known, unit, content.source):
            return Outcome(unit.name, UNCHANGED)
        if known is not None and known.unit.version != unit.version:
            known = known._replace(body=None)
        return self._write(
            unit,
            content.source,
            known,
            lambda: self.renderer.write(made, content, unit.name, known),
        )

    def _statement(self, job: Job) -> Outcome:
        known = files.get(self.database, job.unit.name)
        if known is not None and job.source is not None:
            if self._is_current(known, job.unit, job.source):
                return Outcome(job.unit.name, UNCHANGED)

        def write() -> None:
            with self.backend.replace(job.unit.name) as out:
                job.render(out)

        return self._write(job.unit, job.source or '', known, write)

    def _is_current(self, known: File, unit: Unit, source: str) -> bool:
        return (
            known.failure is None
            and (known.unit, known.source) == (unit, source)
            and self.backend.size(unit.name) == known.size
        )

    def _compare(self, unit: Unit, render: Callable[[BinaryIO], object]) -> Outcome:
        """Return whether a file is what it would be."""
        stored = self.backend.digest(unit.name)
        with tempfile.TemporaryFile() as out:
            try:
                render(out)
            # Writers are plug-ins.
            except Exception as exc:
                return Outcome(unit.name, FAILED, errors.describe(exc))
            out.seek(0)
            expected = copying.digest_of(out)
        state = MISSING if stored is None else DIFFERENT
        return Outcome(unit.name, UNCHANGED if stored == expected else state)

    def _write(
        self, unit: Unit, source: str, known: File | None, write: Callable[[], Extent | None]
    ) -> Outcome:
        """Write a file, and note what became of it.

        :param known: the file as it was written the last time.
        :param write: does so; returns the body that periods can be appended to, if there is one.
        """
        try:
            before = self.backend.digest(unit.name)
            body = write()
        # Writers are plug-ins.
        except Exception as exc:
            LOG.exception('Writer %s cannot write %s', unit.writer, unit.name)
            failure = errors.describe(exc)
            old = known or File(unit, '', None, 0, '', self.clock(), None)
            files.put(self.database, old._replace(failure=failure))
            return Outcome(unit.name, FAILED, failure)
        digest, size = self.backend.digest(unit.name), self.backend.size(unit.name)
        if digest is None or size is None:
            return Outcome(unit.name, FAILED, 'it was removed while it was written')
        is_same = before == digest
        at = known.written_at if is_same and known is not None else self.clock()
        files.put(self.database, File(unit, source, body, size, digest, at, None))
        return Outcome(unit.name, UNCHANGED if is_same else WRITTEN)

    def finish(self, span: Period, *, is_all: bool) -> None:
        """Write the manifest of a month, after its files.

        :param is_all: the files of all scopes were written.
        """
        month = span.begin.strftime('%Y-%m')
        if not is_all:
            is_all = bool(manifest.read(self.backend, month).get('complete'))
        is_complete = is_all and self._is_final(month)
        manifest.write(self.database, self.backend, month, is_complete=is_complete)

    def _is_final(self, month: str) -> bool:
        """Return whether a month is final, as far as scopes are rated here."""
        whole = timeframe.month_named(month)
        if self.clock() < whole.end:
            return False
        with self.database.reader() as connection:
            answer = completeness.examine(connection, self.conf, completeness.Query(whole, limit=0))
        return answer.is_final or not answer.total

    def expire(self) -> list[str]:
        """Remove what is older than [output]keep_months and no closed statement; return the names.

        That is usage, and files with drafts.
        """
        kept = self.conf.output.keep_months
        if not kept:
            return []
        first = calendar.following(self.clock().strftime('%Y-%m'), -kept)
        old = [file.unit for file in files.before(self.database, first) if file.unit.is_transient]
        for unit in old:
            self.backend.remove(unit.name)
            files.delete(self.database, unit.name)
        for month in sorted({unit.month for unit in old}):
            is_complete = bool(manifest.read(self.backend, month).get('complete'))
            manifest.write(self.database, self.backend, month, is_complete=is_complete)
        return [unit.name for unit in old]
