"""`POST /v2/samples` and `POST /v2/meters/{meter}`: samples as Ceilometer sends them."""

import json
from typing import Any

from cloudkitty import errors
from cloudkitty.api import basic_auth, schemas
from cloudkitty.api.v2 import usage
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.core import bounds
from cloudkitty.core.metering import facts, message
from cloudkitty.usage.receiving import API, PASSWORD, Received

HTTP = 'http'
SAMPLES_MAX = 1000
JSON = 'application/json'
# Members that an old sample may omit.
_DEFAULTS: dict[str, Any] = {
    'source': 'openstack',
    'counter_unit': '',
    'user_id': None,
    'resource_metadata': {},
}
ANSWER = schemas.form(
    accepted=schemas.INTEGER,
    duplicates=schemas.INTEGER,
    late=schemas.INTEGER,
    rejected=schemas.listing(
        schemas.form(index=schemas.INTEGER, code=schemas.INTEGER, reason=schemas.TEXT)
    ),
)
_SAMPLES = {'anyOf': [{'type': 'object'}, {'type': 'array', 'items': {'type': 'object'}}]}


def push_samples(request):
    """Store samples of Ceilometer's http publisher, or metering messages; one, or a list."""
    return _store(request, _read(request))


def push_old_samples(request, meter):
    """Store samples in the format of version 2 of Ceilometer's API, for old scripts."""
    forms = []
    for form in _read(request):
        if not isinstance(form, dict):
            raise errors.InvalidInput(reason='A sample is a JSON object')
        if 'message_id' in form:
            raise errors.InvalidInput(reason='message_id must not be given')
        if form.get('counter_name', meter) != meter:
            raise errors.InvalidInput(reason=f'counter_name must be {meter!r:.300}')
        # The time of a default would be another one at a retry.
        if form.get('timestamp') is None:
            raise errors.InvalidInput(reason='timestamp is missing')
        project_id = request.caller.project_id
        forms.append(
            message.completed(
                {'project_id': project_id, **_DEFAULTS, **form, 'counter_name': meter}
            )
        )
    return _store(request, forms)


def _store(request, forms):
    publisher = request.environ.get(basic_auth.PUBLISHER)
    if publisher is not None:
        project_id, trust = None, PASSWORD
    else:
        project_id, trust = usage.sources_of(request), API
        publisher = f'{request.caller.project_id or ""}/{request.caller.user_id or ""}'
    received = [Received(form, publisher[: facts.NAME_LENGTH_MAX], trust) for form in forms]
    outcome = request.services.receiver.store(received, HTTP, project_id)
    usage.count_refused(request, outcome)
    if len(forms) == 1 and outcome.rejected:
        kind = errors.Conflict if outcome.conflicts else errors.InvalidInput
        raise kind(reason=outcome.rejected[0])
    return {
        'accepted': outcome.accepted,
        'duplicates': outcome.duplicates,
        'late': outcome.late,
        'rejected': [
            {'index': index, 'code': 409 if index in outcome.conflicts else 400, 'reason': reason}
            for index, reason in sorted(outcome.rejected.items())
        ],
    }


def _read(request) -> list[Any]:
    """Return the samples in the body, with numbers as they were written."""
    if request.content_type != JSON:
        raise errors.UnsupportedMediaType(media_type=request.content_type)
    body = request.body
    if len(body) > usage.SIZE_MAX:
        raise errors.InvalidInput(reason=f'The body has more than {usage.SIZE_MAX} bytes')
    try:
        form = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        raise errors.InvalidInput(reason='The body is not valid JSON') from exc
    if bounds.is_deeper(form, bounds.DEPTH_MAX):
        raise errors.InvalidInput(reason=f'The body has more than {bounds.DEPTH_MAX} levels')
    forms = form if isinstance(form, list) else [form]
    if not 0 < len(forms) <= SAMPLES_MAX:
        raise errors.InvalidInput(reason=f'A body has 1 to {SAMPLES_MAX} samples')
    return forms


def _refuse(constant: str) -> Any:
    raise ValueError(f'{constant} is no JSON number')


ROUTES = {
    ('samples',): {
        'POST': Endpoint(push_samples, usage.PUSH, media={JSON: _SAMPLES}, answer=ANSWER)
    },
    ('meters', '*'): {
        'POST': Endpoint(push_old_samples, usage.PUSH, media={JSON: _SAMPLES}, answer=ANSWER)
    },
}
