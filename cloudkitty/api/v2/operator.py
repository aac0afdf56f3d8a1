"""`/v2/usage/{rejects,late,producers}`: state of embedded metering, for operators."""

import json
from datetime import UTC, datetime

from cloudkitty import errors
from cloudkitty.api import parameters, schemas
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.api.v2.meters import MOMENT
from cloudkitty.api.v2.samples import HTTP
from cloudkitty.core.metering import facts
from cloudkitty.usage import late, producers, rejects
from cloudkitty.usage.receiving import Received

RULE = 'usage:operate'
_COUNT = schemas.INTEGER


def list_rejects(request, *, offset, limit):
    with request.services.database.replica() as connection:
        total, found = rejects.page(connection, offset=offset, limit=limit)
    return {
        'total': total,
        'rejects': [{'id': one.digest.hex(), **one.to_form()} for one in found],
    }


def retry_reject(request, reject_id):
    """Try to store a refused message again, such as after adding a secret; remove it if stored."""
    with request.services.database.reader() as connection:
        found = rejects.get(connection, reject_id)
    if found is None:
        raise errors.NotFound(reason='No reject has this id.')
    try:
        form = json.loads(found.body)
    except (ValueError, RecursionError) as exc:
        raise errors.Conflict(reason='It is no message, or was too long to be kept whole') from exc
    if isinstance(form, dict) and 'specversion' in form:
        raise errors.Conflict(reason='It was pushed: its sender was told, and can push it again')
    # It must be signed: the caller does not vouch for messages of others.
    outcome = request.services.receiver.store([Received(form, found.publisher)], found.path)
    if outcome.rejected:
        raise errors.Conflict(reason=outcome.rejected[0])
    request.services.database.write(lambda connection: rejects.remove_one(connection, found.digest))
    return {'accepted': outcome.accepted, 'duplicates': outcome.duplicates, 'late': outcome.late}


def list_late(request, *, offset, limit):
    with request.services.database.replica() as connection:
        total, found = late.page(connection, offset=offset, limit=limit)
    return {
        'total': total,
        'late': [
            {
                'scope_id': one.scope_id,
                'begin': facts.render_us(one.begin),
                'end': facts.render_us(one.end),
                'received_at': facts.render_us(one.received_at),
            }
            for one in found
        ],
    }


def list_producers(request, *, offset, limit):
    with request.services.database.replica() as connection:
        total, found = producers.page(connection, offset=offset, limit=limit)
    now_us = facts.to_us(datetime.now(UTC))
    return {
        'total': total,
        'producers': [
            {
                'source': one.source,
                'meter': one.meter or None,
                'until': facts.render_us(one.until),
                'seen_at': facts.render_us(one.seen_at),
                'behind_s': max(now_us - one.until, 0) // facts.SECOND_US,
            }
            for one in found
        ],
    }


def _listing(handle, name, **members):
    return Endpoint(
        handle,
        RULE,
        parameters.PAGE,
        answer=schemas.form(total=_COUNT, **{name: schemas.listing(schemas.form(**members))}),
    )


ROUTES = {
    ('usage', 'rejects'): {
        'GET': _listing(
            list_rejects,
            'rejects',
            id=schemas.TEXT,
            first=MOMENT,
            last=MOMENT,
            messages=_COUNT,
            path={'enum': ['api', 'bus', HTTP]},
            publisher=schemas.TEXT,
            reason=schemas.TEXT,
            body=schemas.TEXT,
        ),
    },
    ('usage', 'rejects', '*', 'retry'): {
        'POST': Endpoint(
            retry_reject,
            RULE,
            answer=schemas.form(accepted=_COUNT, duplicates=_COUNT, late=_COUNT),
        ),
    },
    ('usage', 'late'): {
        'GET': _listing(
            list_late,
            'late',
            scope_id=schemas.TEXT,
            begin=MOMENT,
            end=MOMENT,
            received_at=MOMENT,
        ),
    },
    ('usage', 'producers'): {
        'GET': _listing(
            list_producers,
            'producers',
            source=schemas.TEXT,
            meter=schemas.OPTIONAL_TEXT,
            until=MOMENT,
            seen_at=MOMENT,
            behind_s=_COUNT,
        ),
    },
}
