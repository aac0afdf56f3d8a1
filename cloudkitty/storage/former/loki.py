"""Reader of Loki: a log line is a rated point, whose time is the begin of its period.

An answer has a limited number of lines, and all lines of a period have one time. So an answer with
that number is never taken for the whole: what is before its last time is, and that time is asked
for again; a time with more lines is asked for by stream, then by the content of lines.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import former, http
from cloudkitty.storage.former import Point, Sum, documents

# Default of the server's limit.
LIMIT = 5000
# Below the server's longest range of a query, 721 hours by default.
RANGE = timedelta(days=30)
YEARS_MAX = 10
# Characters from the end of an attribute by which lines are distinguished.
DEPTH_MAX = 8
SCOPE_LABEL = 'project_id'
_LIMITED = re.compile(r'max entries limit .*\(\d+ > (\d+)\)')
_SPECIAL = re.compile(r'([\\.+*?()|\[\]{}^$])')
_SIMPLE = re.compile(r'[0-9A-Za-z]')


class Line(NamedTuple):
    """A log line and its time in nanoseconds since the epoch."""

    at: int
    text: str


class LokiReader(former.Reader):
    """Loki 2 and 3."""

    GROUP = 'storage_loki'
    OPTS = [
        cfg.StrOpt(
            'url',
            default='http://localhost:3100/loki/api/v1',
            # It may contain a password.
            secret=True,
            help='Base URL of the API, up to and with /loki/api/v1.',
        ),
        cfg.StrOpt('tenant', default='cloudkitty', help='Tenant, sent as X-Scope-OrgID.'),
        cfg.DictOpt(
            'stream', default={'service': 'cloudkitty'}, help='Labels of the streams of rated data.'
        ),
        *http.tls_options('ca_file'),
        cfg.StrOpt('cert_file', help='File of the client certificate.'),
        cfg.StrOpt('key_file', help='File of the key of the client certificate.'),
        cfg.FloatOpt(
            'timeout', default=60, min=0, help='Seconds to wait for the next part of an answer.'
        ),
        *(
            cfg.StrOpt(name, help='Accepted and not used.')
            for name in ('buffer_size', 'content_type', 'shard_days', 'use_structured_metadata')
        ),
    ]

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        options = self.options
        key = options.key_file
        self._server = http.PatientServer(
            self.GROUP,
            options.url,
            timeout_s=options.timeout,
            cafile=options.ca_file,
            is_insecure=options.insecure,
            certificate=(options.cert_file, key) if key else options.cert_file,
            headers={'X-Scope-OrgID': options.tenant},
        )
        self._limit = LIMIT
        self._maker = documents.PointMaker(self)

    def extent(self) -> Period | None:
        found: list[datetime] = []
        end = datetime.now(UTC) + timedelta(days=1)
        for _ in range(YEARS_MAX * 366 // RANGE.days):
            begin = end - RANGE
            for direction in ('forward', 'backward'):
                lines = self._query(
                    self._selector(), _ns(begin), _ns(end), limit=1, direction=direction
                )
                found += [_instant(line.at) for line in lines]
            end = begin
        return Period(min(found), max(found) + timedelta(seconds=1)) if found else None

    def read(self, window: Period) -> Iterator[Point]:
        self._maker.forget()
        for line in self._lines(_ns(window.begin), _ns(window.end)):
            try:
                document = self._server.parse(line.text.encode())
            except errors.SourceError:
                document = None
            point = self._maker.point(document)
            if point is not None:
                yield point

    def sums(self, window: Period) -> Mapping[tuple[str, str], Sum] | None:
        return None

    def _lines(self, begin: int, end: int) -> Iterator[Line]:
        """Yield the lines of [begin, end), nanoseconds."""
        while begin < end:
            lines = self._query(self._selector(), begin, end)
            if len(lines) < self._limit:
                yield from lines
                return
            last = max(line.at for line in lines)
            yield from (line for line in lines if line.at < last)
            if last == begin:
                yield from self._crowd(last)
            begin = last + 1 if last == begin else last

    def _crowd(self, at: int) -> Iterator[Line]:
        """Yield the lines of one time, by stream."""
        # The label is missing where the scope is named by another attribute.
        for value in ['', *self._label_values(at)]:
            selector = self._selector({SCOPE_LABEL: value})
            yield from self._split(selector, '', at)

    def _split(self, selector: str, filters: str, at: int) -> Iterator[Line]:
        """Yield the lines of one time that match, by their content if there are too many."""
        lines = self._query(selector + filters, at, at + 1)
        if len(lines) < self._limit:
            yield from lines
            return
        pattern = _dividing_pattern([line.text for line in lines])
        if pattern is None:
            raise self._server.error(
                f'more than {self._limit} lines of {timeframe.render(_instant(at))} cannot be told '
                'apart: raise max_entries_limit_per_query of the server'
            )
        # Each line matches one of the two.
        for operator in ('|~', '!~'):
            yield from self._split(selector, f'{filters} {operator} {_quoted(pattern)}', at)

    def _selector(self, more: Mapping[str, str] | None = None) -> str:
        labels = {**self.options.stream, **(more or {})}
        return '{' + ', '.join(f'{name}={_quoted(text)}' for name, text in labels.items()) + '}'

    def _label_values(self, at: int) -> list[str]:
        answer = self._server.ask(
            'GET', f'label/{SCOPE_LABEL}/values', params={'start': at, 'end': at + 1}
        )
        if not isinstance(answer, dict) or answer.get('status') != 'success':
            raise self._server.error('the answer is not from Loki')
        return answer.get('data') or []

    def _query(
        self,
        query: str,
        begin: int,
        end: int,
        *,
        limit: int | None = None,
        direction: str = 'forward',
    ) -> list[Line]:
        """Return the first lines in [begin, end) by time, at most *limit*."""
        while True:
            parameters: dict[str, Any] = {
                'query': query,
                'start': begin,
                'end': end,
                'limit': limit or self._limit,
                'direction': direction,
            }
            try:
                answer = self._server.ask('GET', 'query_range', params=parameters)
            except errors.SourceError as exc:
                allowed = _LIMITED.search(str(exc))
                if limit or not allowed or int(allowed[1]) >= self._limit:
                    raise
                self._limit = int(allowed[1])
                continue
            return self._parsed(answer)

    def _parsed(self, answer: Any) -> list[Line]:
        try:
            data = answer['data']
            if answer['status'] != 'success' or data['resultType'] != 'streams':
                raise KeyError
            return [
                Line(int(value[0]), value[1])
                for stream in data['result']
                for value in stream['values']
            ]
        except (LookupError, TypeError, ValueError) as exc:
            raise self._server.error('the answer is not from Loki') from exc


def _dividing_pattern(lines: Sequence[str]) -> str | None:
    """Return a regular expression that some of *lines* match and others do not."""
    documents_found = [form for form in map(_loaded, lines) if isinstance(form, dict)]
    types = Counter(str(form.get('type')) for form in documents_found)
    if len(types) > 1:
        return f'"type": ?"{_escaped(types.most_common(1)[0][0])}"'
    values: dict[str, list[str]] = {}
    for form in documents_found:
        for name, value in (form.get('groupby') or {}).items():
            values.setdefault(name, []).append(str(value))
    for name in sorted(values, key=lambda name: -len(set(values[name]))):
        for depth in range(1, DEPTH_MAX + 1):
            found = Counter(value[-depth] for value in values[name] if len(value) >= depth)
            simple = sorted(filter(_SIMPLE.fullmatch, found))
            if len(found) > 1 and simple:
                chosen = ''.join(simple[: max(1, len(found) // 2)])
                return f'"{_escaped(name)}": ?"[^"]*[{chosen}].{{{depth - 1}}}"'
    return None


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _escaped(text: str) -> str:
    """Return the regular expression for *text* as it stands in a JSON line."""
    return _SPECIAL.sub(r'\\\1', json.dumps(text)[1:-1])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _ns(instant: datetime) -> int:
    return (instant - timeframe.EPOCH) // timedelta(microseconds=1) * 1000


def _instant(nanoseconds: int) -> datetime:
    return timeframe.EPOCH + timedelta(microseconds=nanoseconds // 1000)
