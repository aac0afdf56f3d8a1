"""`/v2/usage`: push and withdraw usage."""

import json
import zlib
from datetime import UTC, datetime
from typing import Any

from cloudkitty import errors
from cloudkitty.api import audit, hooks, parameters, rest, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.audit import trail
from cloudkitty.core import decimals
from cloudkitty.core.metering import cloudevents, facts
from cloudkitty.usage import keys, rejects
from cloudkitty.usage.entries import Entry, Origin, Outcome

SINGLE, BATCH = 'application/cloudevents+json', 'application/cloudevents-batch+json'
# Bytes of a body, uncompressed.
SIZE_MAX = 4 * 2**20
KEY_LENGTH_MAX = 255
PUSH, PUSH_ANY = 'usage:push', 'usage:push_any_scope'
NAME = {'type': 'string', 'minLength': 1, 'maxLength': facts.NAME_LENGTH_MAX}
EVENT = {
    'type': 'object',
    'required': ['specversion', 'type', 'source', 'id', 'time', 'data'],
    'properties': {
        'specversion': {'const': '1.0'},
        'type': NAME,
        'source': NAME,
        'id': NAME,
        'subject': NAME,
        'time': parameters.INSTANT,
        'ckrevision': {'type': 'integer', 'minimum': 0, 'maximum': cloudevents.REVISION_MAX},
        'data': {'type': 'object'},
    },
}
ANSWER = schemas.form(
    accepted=schemas.INTEGER,
    duplicates=schemas.INTEGER,
    late=schemas.INTEGER,
    rejected=schemas.listing(
        schemas.form(
            index=schemas.INTEGER,
            id=schemas.OPTIONAL_TEXT,
            code=schemas.INTEGER,
            reason=schemas.TEXT,
        )
    ),
    server_time=schemas.MOMENT,
)


def push_usage(request):
    """Store events; the answer lists those that cannot be stored.

    :raises InvalidInput, Conflict: the only event of the request cannot be stored.
    """
    text, is_single = _read(request)
    pushed = _Pushed(_split(text, is_single), sources_of(request), request)
    caller = request.caller
    publisher = f'{caller.project_id or ""}/{caller.user_id or ""}'
    told = request.services.intake.store(
        pushed.entries,
        Origin('api', publisher[: facts.NAME_LENGTH_MAX], 'api'),
        request=_request_key(request, text),
        answer=lambda outcome: json.dumps(pushed.answer(outcome)),
    )
    if not isinstance(told, str):
        count_refused(request, told)
    if pushed.project_id is None and not isinstance(told, str):
        _keep_refused(request, pushed, told, publisher)
    answer = json.loads(told) if isinstance(told, str) else pushed.answer(told)
    if is_single and answer['rejected']:
        refused = answer['rejected'][0]
        kind = errors.Conflict if refused['code'] == 409 else errors.InvalidInput
        raise kind(reason=refused['reason'])
    return {**answer, 'server_time': datetime.now(UTC)}


def count_refused(request, outcome: Outcome) -> None:
    """Have the metrics count what was refused for a limit of what projects push."""
    request.environ[hooks.REFUSED_USAGE] = outcome.beyond


def _read(request):
    """Return the text of the body, and whether it is a single event."""
    if request.content_type not in (SINGLE, BATCH):
        raise errors.UnsupportedMediaType(media_type=request.content_type)
    body = request.body
    encoding = request.headers.get('Content-Encoding', 'identity').lower()
    if encoding == 'gzip':
        body = _unpack(body)
    elif encoding != 'identity':
        raise errors.UnsupportedMediaType(media_type=f'Content-Encoding {encoding:.50}')
    if len(body) > SIZE_MAX:
        raise errors.InvalidInput(reason=f'The body has more than {SIZE_MAX} bytes')
    try:
        return body.decode(), request.content_type == SINGLE
    except UnicodeDecodeError as exc:
        raise errors.InvalidInput(reason='The body is not UTF-8') from exc


def _unpack(body):
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(body, SIZE_MAX + 1)
    except zlib.error as exc:
        raise errors.InvalidInput(reason='The body is not in the format of gzip') from exc
    if len(unpacked) <= SIZE_MAX and not unpacker.eof:
        raise errors.InvalidInput(reason='The end of the gzip body is missing')
    if unpacker.unused_data:
        raise errors.InvalidInput(reason='Something follows the end of the gzip body')
    return unpacked


def _split(text, is_single):
    """Return pairs of the text of an event and its JSON value.

    :raises InvalidInput: the body is no JSON, or there are too many events.
    """
    found: list[tuple[str, Any]] = []
    try:
        for pair in cloudevents.split(f'[{text}]' if is_single else text):
            found.append(pair)
            if len(found) > (1 if is_single else cloudevents.EVENTS_MAX):
                raise errors.InvalidInput(
                    reason=f'There are more than {cloudevents.EVENTS_MAX} events in a batch, or '
                    'more than one that is none'
                )
    except (ValueError, RecursionError) as exc:
        raise errors.InvalidInput(reason='The body is not valid JSON') from exc
    if not found:
        raise errors.InvalidInput(reason='There is no event in the body')
    return found


def sources_of(request):
    """Return the project that the caller may push usage of; None: every scope.

    :raises Forbidden: it may push nothing.
    """
    try:
        rest.authorize(PUSH_ANY)
        return None
    except errors.Forbidden:
        if not request.caller.project_id:
            raise
        return request.caller.project_id


def _request_key(request, text):
    key = request.headers.get('Idempotency-Key')
    if key is None:
        return None
    if not 0 < len(key) <= KEY_LENGTH_MAX:
        raise errors.InvalidInput(
            reason=f'Idempotency-Key must have 1 to {KEY_LENGTH_MAX} characters'
        )
    caller = request.caller
    return keys.Request(
        facts.digest('request', caller.project_id or '', caller.user_id or '', key),
        facts.digest('body', request.content_type, text),
    )


def _keep_refused(request, pushed, outcome, publisher):
    """Store refused events of the operator's producers; projects could fill the table."""
    refused = pushed.refused(outcome)
    if refused:
        request.services.database.write(
            lambda connection: rejects.record(
                connection,
                refused,
                path='api',
                publisher=publisher[: facts.NAME_LENGTH_MAX],
                now_us=facts.to_us(datetime.now(UTC)),
            )
        )


class _Pushed:
    """The events of a request.

    :param found: their texts and values.
    :param project_id: the only scope that the caller may push; None: every one.
    :ivar entries: what is to be stored.
    """

    def __init__(self, found, project_id, request):
        self.project_id = project_id
        self._texts = [text for text, _ in found]
        self._ids = [_id_of(form) for _, form in found]
        self._refused: dict[int, str] = {}
        self._indexes: list[int] = []
        self.entries: list[Entry] = []
        ignored = frozenset(request.services.conf.metering.attributes_ignored)
        for index, (text, form) in enumerate(found):
            try:
                self.entries.append(_entry(text, cloudevents.read(form, ignored), project_id))
                self._indexes.append(index)
            except (errors.InvalidInput, errors.Forbidden) as exc:
                self._refused[index] = str(exc)

    def refused(self, outcome: Outcome) -> list[tuple[str, str]]:
        """Return text and reason of each refused event."""
        return [
            (self._texts[item['index']], item['reason'])
            for item in self.answer(outcome)['rejected']
        ]

    def answer(self, outcome: Outcome) -> dict:
        """Return the answer to the request, without the time."""
        rejected = {index: (400, reason) for index, reason in self._refused.items()}
        for number, reason in outcome.rejected.items():
            code = 409 if number in outcome.conflicts else 400
            rejected[self._indexes[number]] = (code, reason)
        return {
            'accepted': outcome.accepted,
            'duplicates': outcome.duplicates,
            'late': outcome.late,
            'rejected': [
                {'index': index, 'id': self._ids[index], 'code': code, 'reason': reason}
                for index, (code, reason) in sorted(rejected.items())
            ],
        }


def _id_of(form):
    found = form.get('id') if isinstance(form, dict) else None
    if not isinstance(found, str) or len(found) > facts.NAME_LENGTH_MAX:
        return None
    return found.encode('utf-8', 'backslashreplace').decode()


def _entry(text: str, event: cloudevents.Event, project_id: str | None) -> Entry:
    """Return the entry to store for an event.

    The sources of a project get its name in front: they can neither take the place of what others
    measured, nor end what is not theirs.
    """
    if project_id is None:
        return _entry_of(text, event)
    if event.until is not None:
        raise errors.InvalidInput(
            reason='Only callers who may push every scope may send completeness'
        )
    if event.scope_id != project_id:
        raise errors.InvalidInput(reason='data.scope_id must be the project of the token')
    source = facts.source_of_project(project_id, event.source)
    stated = tuple(facts.check(fact._replace(source=source)) for fact in event.facts)
    return _entry_of(text, event._replace(source=source, facts=stated))


def _entry_of(text, event):
    stated = [
        str(part)
        for fact in event.facts
        for part in (
            *fact.series,
            fact.unit,
            fact.at,
            fact.stage,
            None if fact.quantity is None else decimals.trim(fact.quantity),
            None if fact.attributes is None else sorted(fact.attributes.items()),
            fact.born,
        )
    ]
    return Entry(
        text,
        event.facts,
        (keys.digest_of(event.source, event.id), facts.digest('stated', *stated)),
        event.revision,
        event.source,
        event.meter,
        event.until,
    )


def take_back(request, *, source, id):  # noqa: A002 (the name of the parameter)
    """Withdraw an event; the audit trail records who did it."""
    by, now = audit.actor(), datetime.now(UTC)

    def note(connection):
        trail.record_removal(
            connection,
            by,
            removed={id: {'source': source, 'id': id}},
            kind=trail.PUSHED_USAGE,
            now=now,
        )

    if not request.services.intake.void(source, id, note):
        raise errors.NotFound(reason='No event has this source and id.')


_KEY = {'type': 'string', 'minLength': 1, 'maxLength': KEY_LENGTH_MAX}
ROUTES = {
    ('usage',): {
        'POST': Endpoint(
            push_usage,
            PUSH,
            media={
                SINGLE: EVENT,
                BATCH: {
                    'type': 'array',
                    'items': EVENT,
                    'minItems': 1,
                    'maxItems': cloudevents.EVENTS_MAX,
                },
            },
            headers={'Idempotency-Key': _KEY},
            answer=ANSWER,
        ),
        'DELETE': Endpoint(
            take_back,
            'usage:delete',
            {
                'source': parameters.required(parameters.one(parameters.nonempty(512))),
                'id': parameters.required(
                    parameters.one(parameters.nonempty(facts.NAME_LENGTH_MAX))
                ),
            },
            status=204,
        ),
    },
}
