"""`/v2/statements`."""

import io
import re

from cloudkitty import errors, writer
from cloudkitty.api import parameters, rest, schemas, visibility
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.billing import ledger
from cloudkitty.billing.closing import Closing
from cloudkitty.billing.forecasts import Forecasts
from cloudkitty.billing.statements import Statements
from cloudkitty.core.billing import canonical, form, reading, sharing, statement
from cloudkitty.core.billing import month as months
from cloudkitty.core.billing.plan import DAILY, MONTH_END

STEP = schemas.form(name=schemas.TEXT, operand=schemas.TEXT, result=schemas.TEXT)
LINE = schemas.form(
    month=schemas.TEXT,
    kind={'enum': list(statement.KINDS)},
    item=schemas.TEXT,
    key=schemas.mapping(schemas.TEXT),
    scope_id=schemas.OPTIONAL_TEXT,
    metric=schemas.OPTIONAL_TEXT,
    unit=schemas.TEXT,
    quantity=schemas.TEXT,
    list=schemas.TEXT,
    exact=schemas.TEXT,
    amount=schemas.TEXT,
    tax=schemas.TEXT,
    correction=schemas.BOOLEAN,
    steps=schemas.listing(STEP),
)
TAX = schemas.form(
    category=schemas.TEXT,
    code=schemas.TEXT,
    percent=schemas.TEXT,
    base=schemas.TEXT,
    amount=schemas.TEXT,
)
_CONTENT = {
    'account': schemas.form(id=schemas.TEXT, name=schemas.TEXT),
    'names': schemas.mapping(schemas.TEXT),
    'month': schemas.TEXT,
    'begin': schemas.MOMENT,
    'end': schemas.MOMENT,
    'zone': schemas.TEXT,
    'language': schemas.TEXT,
    'plan': schemas.OPTIONAL_TEXT,
    'version': schemas.INTEGER,
    'currency': schemas.TEXT,
    'price_currency': schemas.TEXT,
    'conversion': {'enum': [MONTH_END, DAILY]},
    'conversion_rate': schemas.TEXT,
    'lines': schemas.listing(LINE),
    'list': schemas.TEXT,
    'adjustment': schemas.OPTIONAL_TEXT,
    'net': schemas.TEXT,
    'rounding': schemas.OPTIONAL_TEXT,
    'taxes': schemas.listing(TAX),
    'tax': schemas.OPTIONAL_TEXT,
    'total': schemas.OPTIONAL_TEXT,
    'credits': schemas.listing(
        schemas.form(id=schemas.TEXT, note=schemas.TEXT, amount=schemas.TEXT)
    ),
    'drawn': schemas.OPTIONAL_TEXT,
    'due': schemas.OPTIONAL_TEXT,
}
_BLOCKERS = schemas.listing(schemas.TEXT)
DRAFT = schemas.form(
    state=schemas.constant(ledger.DRAFT),
    complete_until=schemas.OPTIONAL_MOMENT,
    blockers=_BLOCKERS,
    **_CONTENT,
)
PREVIEW = schemas.form(blockers=_BLOCKERS, **_CONTENT)
CLOSED = schemas.form(
    state={'enum': [ledger.CLOSED, ledger.VOID]},
    number=schemas.TEXT,
    revision=schemas.INTEGER,
    sequence=schemas.INTEGER,
    voids=schemas.OPTIONAL_TEXT,
    reason=schemas.TEXT,
    issuer=schemas.TEXT,
    closed_at=schemas.MOMENT,
    previous=schemas.OPTIONAL_TEXT,
    digest=schemas.TEXT,
    **_CONTENT,
)
ENTRY = schemas.form(
    number=schemas.TEXT,
    state={'enum': [ledger.CLOSED, ledger.VOID]},
    account_id=schemas.TEXT,
    month=schemas.TEXT,
    revision=schemas.INTEGER,
    voids=schemas.OPTIONAL_TEXT,
    currency=schemas.TEXT,
    net=schemas.OPTIONAL_TEXT,
    tax=schemas.OPTIONAL_TEXT,
    total=schemas.OPTIONAL_TEXT,
    digest=schemas.TEXT,
    closed_at=schemas.MOMENT,
)
FORECAST = schemas.form(
    account=schemas.form(id=schemas.TEXT, name=schemas.TEXT),
    month=schemas.TEXT,
    currency=schemas.TEXT,
    until=schemas.MOMENT,
    so_far=schemas.TEXT,
    forecast=schemas.OPTIONAL_TEXT,
    error=schemas.OPTIONAL_TEXT,
)
# Formats of files, and what they are to browsers.
FILES = {'html': 'text/html', 'json': 'application/json', 'pdf': 'application/pdf'}
_LANGUAGE = re.compile('[a-z]{2,3}(_[A-Z]{2})?')
# Characters of the reason for which a statement is voided.
REASON_LENGTH_MAX = 1000
# Shown instead of a reason to others than an admin: it may name servers.
UNTOLD = 'The month is not complete yet; the operator sees why.'


@parameters.accepts({'type': 'string', 'pattern': '^[0-9]{4}-(0[1-9]|1[0-2])$'})
def month(value):
    """Return a month such as 2026-10."""
    return months.check(parameters.text(value))


@parameters.accepts({'type': 'string', 'pattern': f'^{_LANGUAGE.pattern}$'})
def language(value):
    """Return a language such as de or de_CH."""
    text = parameters.text(value)
    if not _LANGUAGE.fullmatch(text):
        raise errors.InvalidInput(reason=f'{text!r} is not a language such as de or de_CH')
    return text


account_id = parameters.nonempty(reading.NAME_LENGTH_MAX)


def service_of(request) -> Statements:
    """Return the statements.

    :raises NotFound: billing is off.
    """
    service = request.services.statements
    service.check_enabled()
    return service


def month_or_current(service, period):
    """Return *period*, or the current month, UTC, if it is None."""
    return period or service.clock().strftime('%Y-%m')


def preview_form(made, problems):
    """Return the answer to a preview."""
    return {'blockers': problems, **form.to_form(made)}


def get_draft(request, *, account_id, scope_id, month):
    """Return a draft: all of it, or only its own lines to a scope that does not own the account."""
    service, viewer = service_of(request), visibility.viewer_of(request)
    with request.services.database.reader() as connection:
        account = _account(connection, service, viewer, account_id, scope_id, month)
    draft = service.draft(account.id, month)
    shown = draft.to_form()
    if viewer.is_admin:
        return shown
    shown['blockers'] = [UNTOLD] if shown['blockers'] else []
    return shown if account.owner == viewer.project_id else form.share_of(shown, viewer.project_id)


def get_forecast(request, *, account_id, scope_id, month):
    """Return the forecast of a month; a scope that does not own the account sees its own part."""
    service, viewer = service_of(request), visibility.viewer_of(request)
    with request.services.database.reader() as connection:
        account = _account(connection, service, viewer, account_id, scope_id, month)
        found = Forecasts(service).make(connection, account.id, month)
    is_whole = viewer.is_admin or account.owner == viewer.project_id
    only = None if is_whole else viewer.project_id
    return {
        'account': {'id': account.id, 'name': account.name},
        'month': month,
        'currency': found.currency,
        'until': found.until,
        'so_far': _net_of(found.so_far, only),
        'forecast': None if found.lines is None else _net_of(found.lines, only),
        'error': form.number(found.miss) if found.miss is not None and is_whole else None,
    }


def _account(connection, service, viewer, account_id, scope_id, month):
    """Return the account of an id, or the one that a scope belongs to in a month.

    :raises InvalidInput: both are given, or neither.
    :raises NotFound: there is none, or the caller may see nothing of it.
    """
    if (account_id is None) == (scope_id is None):
        raise errors.InvalidInput(reason='Exactly one of account_id and scope_id must be given')
    if account_id is None:
        account_id = service.account_of_scope(connection, scope_id, month)
    account = service.account(connection, account_id, month)
    check_visible(viewer, account.owner, account.scopes)
    return account


def _net_of(lines, scope_id):
    chosen = [line for line in lines if scope_id in (None, line.scope_id)]
    return form.number(sharing.total(chosen))


def check_visible(viewer, owner, scopes):
    """Make sure that the caller may see something of an account.

    :raises NotFound: it is neither the owner nor one of the scopes.
    """
    if viewer.is_admin:
        return
    if viewer.sees_nothing or viewer.project_id not in (owner, *scopes):
        raise errors.NotFound(reason='There is no such statement.')


def list_statements(request, *, account_id, scope_id, month, offset, limit):
    """Return closed statements; others than an admin see those with lines of their project."""
    service_of(request)
    viewer = visibility.viewer_of(request)
    if viewer.sees_nothing:
        return {'total': 0, 'results': []}
    seen_by = None if viewer.is_admin else viewer.project_id
    selection = ledger.Selection(account_id, scope_id, month, seen_by)
    with request.services.database.reader() as connection:
        total, found = ledger.find(connection, selection, offset, limit)
    return {'total': total, 'results': [_entry(entry, viewer) for entry in found]}


def _entry(entry, viewer):
    is_whole = _is_whole(entry, viewer)
    return {
        'number': entry.number,
        'state': ledger.CLOSED if entry.voids is None else ledger.VOID,
        'account_id': entry.account,
        'month': entry.month,
        'revision': entry.revision,
        'voids': entry.voids,
        'currency': entry.currency,
        'net': form.amount(entry.net, entry.currency) if is_whole else None,
        'tax': form.amount(entry.tax, entry.currency) if is_whole else None,
        'total': form.amount(entry.total, entry.currency) if is_whole else None,
        'digest': entry.digest,
        'closed_at': entry.closed_at,
    }


def get_statement(request, number):
    """Return a closed statement: all of it to its owner, else the lines of the caller's scope."""
    entry, content, _ = _read(request, number)
    viewer = visibility.viewer_of(request)
    shown = form.completed(content) | {'digest': entry.digest}
    if _is_whole(entry, viewer):
        return rest.Tagged(shown, entry.digest)
    # The digest is over what the owner sees.
    own = canonical.digest(entry.digest.encode(), viewer.project_id.encode())
    return rest.Tagged(form.share_of(shown, viewer.project_id), own)


def _read(request, number):
    """Return a statement of which the caller may see something, its content and its text.

    :raises NotFound: there is none.
    """
    service_of(request)
    with request.services.database.reader() as connection:
        entry = ledger.get(connection, number)
        content, text = ledger.content(connection, number)
    scopes = [line['scope_id'] for line in content['lines']]
    check_visible(visibility.viewer_of(request), entry.owner, scopes)
    return entry, content, text


def _is_whole(entry, viewer):
    """Return whether the caller may see the whole statement."""
    return viewer.is_admin or entry.owner == viewer.project_id


def get_file(request, number, format, *, language):
    """Return a closed statement as a file, to callers who may see all of it."""
    entry, content, text = _read(request, number)
    if not _is_whole(entry, visibility.viewer_of(request)):
        raise errors.NotFound(reason='There is no such statement.')
    if format not in FILES:
        raise errors.NotFound(reason=f'There is no such format, only {", ".join(FILES)}.')
    made = writer.get_any(format)
    made.use(request.services.conf.output)
    content['language'] = language or content['language']
    out = io.BytesIO()
    made.write(writer.Statement(content, text), out)
    body = out.getvalue()
    name = f'{entry.number}.{made.extension}'
    return rest.Tagged(rest.Blob(body, FILES[format], name), canonical.digest(body))


def close(request, *, account_id, month):
    """Close a month; return its statement."""
    made = Closing(service_of(request)).close(account_id, month, request.caller.user_id)
    return get_statement(request, made.number).value


def void(request, number, *, reason):
    """Void a statement; return the reversing statement."""
    made = Closing(service_of(request)).void(number, reason, request.caller.user_id)
    return get_statement(request, made.number).value


ROUTES = {
    ('statements', 'draft'): {
        'GET': Endpoint(
            get_draft,
            'statement:get',
            {
                'account_id': parameters.one(account_id),
                'scope_id': parameters.one(account_id),
                'month': parameters.required(parameters.one(month)),
            },
            answer=DRAFT,
            is_slow=True,
        ),
    },
    ('statements', 'forecast'): {
        'GET': Endpoint(
            get_forecast,
            'statement:get',
            {
                'account_id': parameters.one(account_id),
                'scope_id': parameters.one(account_id),
                'month': parameters.required(parameters.one(month)),
            },
            answer=FORECAST,
            is_slow=True,
        ),
    },
    ('statements',): {
        'GET': Endpoint(
            list_statements,
            'statement:get',
            parameters.PAGE
            | {
                'account_id': parameters.one(account_id),
                'scope_id': parameters.one(account_id),
                'month': parameters.one(month),
            },
            answer=schemas.form(total=schemas.INTEGER, results=schemas.listing(ENTRY)),
        ),
        'POST': Endpoint(
            close,
            'statement:close',
            body={
                'account_id': parameters.required(parameters.one(account_id)),
                'month': parameters.required(parameters.one(month)),
            },
            answer=CLOSED,
            is_slow=True,
        ),
    },
    ('statements', '*'): {
        'GET': Endpoint(get_statement, 'statement:get', answer=CLOSED),
    },
    ('statements', '*', 'files', '*'): {
        'GET': Endpoint(
            get_file,
            'statement:get',
            {'language': parameters.one(language)},
            files=tuple(FILES.values()),
            answer=schemas.TEXT,
            is_slow=True,
        ),
    },
    ('statements', '*', 'void'): {
        'POST': Endpoint(
            void,
            'statement:void',
            body={
                'reason': parameters.required(
                    parameters.one(parameters.nonempty(REASON_LENGTH_MAX))
                ),
            },
            answer=CLOSED,
        ),
    },
}
