"""`/v2/billing`: plans and accounts."""

import itertools
import re
from typing import Any

from cloudkitty import errors
from cloudkitty.api import audit, parameters, schemas, visibility
from cloudkitty.api.v2 import statements
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.billing import documents as stored
from cloudkitty.core.billing import document as documents

_VERSION: dict[str, Any] = {
    'version': schemas.INTEGER,
    'from_month': schemas.TEXT,
    'digest': schemas.TEXT,
    'author': schemas.OPTIONAL_TEXT,
    'applied_at': schemas.MOMENT,
}
VERSION = schemas.form(**_VERSION)
_DIGEST = re.compile('[0-9a-f]{64}')
# Differences that are told; the document of a large cloud may have more.
DIFFERENCES_MAX = 1000
ACCOUNT = schemas.form(
    id=schemas.TEXT,
    name=schemas.TEXT,
    plan=schemas.OPTIONAL_TEXT,
    scopes=schemas.listing(schemas.TEXT),
    currency=schemas.OPTIONAL_TEXT,
    zone=schemas.TEXT,
    language=schemas.TEXT,
    owner=schemas.OPTIONAL_TEXT,
)


def list_versions(request):
    service = statements.service_of(request)
    with request.services.database.reader() as connection:
        found = service.documents.versions(connection)
    return {'total': len(found), 'results': [version._asdict() for version in found]}


def get_document(request, *, version, month):
    service = statements.service_of(request)
    if version is not None and month is not None:
        raise errors.InvalidInput(reason='version excludes month')
    with request.services.database.reader() as connection:
        if month is not None:
            version = service.documents.version_of(connection, month)
        elif version is None:
            version = service.documents.newest(connection).version
        return {'version': version, 'document': service.documents.form(connection, version)}


def put_document(request, *, dry_run, document, from_month, digest):
    """Apply a document from a month on, or only say what it would change.

    :raises Conflict: another one is applied than that of *digest*.
    """
    service = statements.service_of(request)
    form = stored.as_text(document)
    documents.parse(form)
    with request.services.database.reader() as connection:
        found = service.documents.newest(connection)
        current = service.documents.form(connection, found.version)
    changes = list(itertools.islice(stored.differences(current, form), DIFFERENCES_MAX))
    if not dry_run:
        found = service.documents.apply(
            form,
            from_month,
            actor=audit.actor(),
            now=service.clock(),
            # What is told to be different is what was changed.
            expected=found.digest if digest is None else digest,
        )
    return {'differences': changes, **found._asdict()}


def list_accounts(request, *, month, offset, limit):
    """Return the accounts in the document; others than an admin see their own."""
    service = statements.service_of(request)
    viewer = visibility.viewer_of(request)
    period = statements.month_or_current(service, month)
    with request.services.database.reader() as connection:
        version = service.documents.version_of(connection, period)
        document = service.documents.get(connection, version, period)
    if viewer.is_admin:
        found = list(document.accounts.values())
    elif viewer.sees_nothing:
        found = []
    else:
        found = [
            account
            for account in document.accounts.values()
            if viewer.project_id in (account.owner, *account.scopes)
        ]
    page = found[offset : offset + limit]
    return {'total': len(found), 'results': [_render(account, viewer) for account in page]}


def get_account(request, account_id, *, month):
    service = statements.service_of(request)
    viewer = visibility.viewer_of(request)
    with request.services.database.reader() as connection:
        account = service.account(
            connection, account_id, statements.month_or_current(service, month)
        )
    if not viewer.is_admin and viewer.project_id not in (account.owner, *account.scopes):
        raise errors.NotFound(reason=f'There is no account {account_id}.')
    return _render(account, viewer)


def _render(account, viewer):
    is_whole = viewer.is_admin or account.owner == viewer.project_id
    return {
        'id': account.id,
        'name': account.name,
        'plan': account.plan,
        'scopes': list(account.scopes) if is_whole else [viewer.project_id],
        'currency': account.currency,
        'zone': account.zone.key,
        'language': account.language,
        'owner': account.owner,
    }


def preview(request, *, account_id, month, document):
    """Return the statement of a month under a document that is not applied."""
    service = statements.service_of(request)
    made, problems = service.preview(documents.parse(document), account_id, month)
    return statements.preview_form(made, problems)


def read_document(values):
    if not isinstance(values[0], dict):
        raise ValueError('an object is expected')
    return values[0]


@parameters.accepts({'type': 'string', 'pattern': '^([0-9a-f]{64})?$'})
def digest(value):
    """Return a digest in hexadecimal digits; an empty one is that of no document."""
    text = parameters.text(value)
    if text and not _DIGEST.fullmatch(text):
        raise ValueError('64 hexadecimal digits are expected')
    return text


MONTH = parameters.one(statements.month)
DOCUMENT = {'type': 'object'}
ROUTES = {
    ('billing', 'versions'): {
        'GET': Endpoint(
            list_versions,
            'billing:get_document',
            answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(VERSION)),
        ),
    },
    ('billing', 'document'): {
        'GET': Endpoint(
            get_document,
            'billing:get_document',
            {'version': parameters.one(parameters.integer(1)), 'month': MONTH},
            answer=schemas.form(version=schemas.INTEGER, document=DOCUMENT),
        ),
        'PUT': Endpoint(
            put_document,
            'billing:put_document',
            {'dry_run': parameters.one(parameters.boolean_like, default=False)},
            body={
                'document': parameters.required(
                    parameters.Parameter(read_document, is_whole=True, schema=DOCUMENT)
                ),
                'from_month': parameters.required(MONTH),
                'digest': parameters.one(parameters.or_null(digest)),
            },
            answer=schemas.form(differences=schemas.listing(schemas.TEXT), **_VERSION),
            is_slow=True,
        ),
    },
    ('billing', 'accounts'): {
        'GET': Endpoint(
            list_accounts,
            'billing:get_account',
            parameters.PAGE | {'month': MONTH},
            answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(ACCOUNT)),
        ),
    },
    ('billing', 'accounts', '*'): {
        'GET': Endpoint(get_account, 'billing:get_account', {'month': MONTH}, answer=ACCOUNT),
    },
    ('billing', 'preview'): {
        'POST': Endpoint(
            preview,
            'billing:preview',
            body={
                'account_id': parameters.required(parameters.one(statements.account_id)),
                'month': parameters.required(MONTH),
                'document': parameters.required(
                    parameters.Parameter(read_document, is_whole=True, schema=DOCUMENT)
                ),
            },
            answer=statements.PREVIEW,
            is_slow=True,
        ),
    },
}
