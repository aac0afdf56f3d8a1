"""Files with the usage of a scope and a month."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import BinaryIO

from cloudkitty import errors, writer
from cloudkitty.backend import BaseBackend
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.v2.series import cells, dump, retention_cutoff
from cloudkitty.storage.v2.series.cells import FrameDigest
from cloudkitty.storage.v2.series.driver import SeriesStorage
from cloudkitty.write_orchestrator import copying, files, names
from cloudkitty.write_orchestrator.files import Extent, File, Unit


class _Damaged(Exception):
    """The beginning of a file is not what was written."""


class Content:
    """The stored usage of a scope and a month, and its digests.

    :param frames: all of them, ordered by their begin.
    """

    def __init__(
        self,
        store: SeriesStorage,
        scope_id: str,
        span: Period,
    ) -> None:
        self.store = store
        self.scope_id = scope_id
        self.span = span
        with store.database.reader() as connection:
            self.kept_from = retention_cutoff.read(connection).begin
        self.frames: Sequence[FrameDigest] = store.cells.digests(scope_id, span)
        self.source = cells.combine(self.frames)

    @property
    def is_whole(self) -> bool:
        """Whether no points of the month were removed."""
        return self.kept_from <= self.span.begin

    @property
    def until(self) -> datetime:
        """Where the next period begins."""
        return max((frame.end for frame in self.frames), default=self.span.begin)

    def source_until(self, until: datetime) -> str:
        """Return the digest of the frames that begin before *until*."""
        part = list(itertools.takewhile(lambda frame: frame.begin < until, self.frames))
        return cells.combine(part)

    def periods(self, begin: datetime | None = None) -> Iterator[writer.RatedPeriod]:
        """Yield the periods, those that begin at *begin* or later."""
        extent = cells.Extent(begin or self.span.begin, self.span.end, [self.scope_id])
        return dump.to_periods(self.store.cells.read(extent))


def unit_of(name: str, made: writer.BaseReportWriter, scope_id: str, span: Period) -> Unit:
    """Return the file of a writer, scope and month."""
    label = name if made.label is None else made.label
    file = f'{names.file_name(scope_id, label, span.begin)}.{made.extension}'
    month = span.begin.strftime('%Y-%m')
    return Unit(file, name, files.USAGE, scope_id, month, str(made.version))


class Renderer:
    """Writes files of one place."""

    def __init__(self, scope_key: str, backend: BaseBackend) -> None:
        self.scope_key = scope_key
        self.backend = backend

    def write(
        self, made: writer.BaseReportWriter, content: Content, name: str, known: File | None
    ) -> Extent | None:
        """Write a file: new periods are appended if all earlier ones are unchanged.

        :param known: the file as it was written the last time.
        :returns: its body; None: nothing can be appended.
        """
        if known is not None and known.body is not None and self._can_append(content, known):
            try:
                return self._append(made, content, name, known.body)
            except (writer.HeaderChanged, _Damaged, errors.NotFound):
                pass
        with self.backend.replace(name) as out:
            return self.render(made, content, out)

    def _can_append(self, content: Content, known: File) -> bool:
        body = known.body
        return body is not None and known.source == content.source_until(body.until)

    def render(
        self, made: writer.BaseReportWriter, content: Content, out: BinaryIO
    ) -> Extent | None:
        """Write a whole file to *out*."""
        # Read before the points, so that what is stored meanwhile is appended the next time.
        until = content.until
        body = made.body()
        if body is None:
            report = writer.Report(self.scope_key, [], content.periods())
            for _ in made.write(report, out):
                pass
            return None
        hashed = copying.Hashed(out)
        for _ in body.write(content.periods(), hashed):
            pass
        return self._end(body, hashed, until, out)

    def _append(
        self, made: writer.BaseReportWriter, content: Content, name: str, known: Extent
    ) -> Extent | None:
        with self.backend.open(name) as old, self.backend.replace(name) as out:
            hashed = copying.Hashed(out)
            copying.copy(old, hashed, known.size)
            if (hashed.size, hashed.digest) != (known.size, known.digest):
                raise _Damaged
            body = made.body(known.state)
            if body is None:
                raise _Damaged
            for _ in body.append(content.periods(known.until), hashed):
                pass
            return self._end(body, hashed, content.until, out)

    @staticmethod
    def _end(body: writer.Body, hashed: copying.Hashed, until: datetime, out: BinaryIO) -> Extent:
        extent = Extent(until, hashed.size, hashed.digest, body.state())
        out.write(body.trailer())
        return extent
