"""`/v2/rating`: modules, rules of hashmap, and the preview of changed ones."""

from datetime import UTC, datetime

from cloudkitty import errors
from cloudkitty.api import modules, parameters, schemas, visibility
from cloudkitty.api import types as api_types
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.core import decimals
from cloudkitty.core.pricing import changes, rules
from cloudkitty.rating.hashmap.store import listing
from cloudkitty.rating.hashmap.store import values as rule_values
from cloudkitty.rating.module_state import PRIORITY_MAX
from cloudkitty.report.price_preview import PricePreview
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2.series.cells import Extent

MODULE = schemas.form(
    module_id=schemas.TEXT,
    description=schemas.TEXT,
    enabled=schemas.BOOLEAN,
    hot_config=schemas.BOOLEAN,
    priority=schemas.INTEGER,
)


@parameters.accepts({'type': 'integer', 'minimum': 1, 'maximum': PRIORITY_MAX})
def _priority(value):
    if not isinstance(value, int):
        raise ValueError(f'{value!r} is not an integer')
    return parameters.integer(1, PRIORITY_MAX)(value)


def list_modules(request):
    return {'modules': [module._asdict() for module in request.services.modules.describe()]}


def get_module(request, module_id):
    return modules.get_module(request.services, module_id)._asdict()


def update_module(request, module_id, *, enabled, priority):
    modules.update_module(request.services, module_id, enabled=enabled, priority=priority)


# Rules that one preview may change, and characters of what they name.
CHANGES_MAX = 100
TEXT_MAX = 255
_TEXT = {'type': ['string', 'null'], 'maxLength': TEXT_MAX}
_NUMBER = {'type': ['number', 'string', 'null']}
_CHANGE = {
    'type': 'object',
    'required': ['service', 'cost'],
    'additionalProperties': False,
    'properties': {
        'service': {'type': 'string', 'minLength': 1, 'maxLength': TEXT_MAX},
        'field': _TEXT,
        'value': _TEXT,
        'level': _NUMBER,
        'group': _TEXT,
        'tenant_id': _TEXT,
        'type': {'enum': list(rules.TYPES)},
        'cost': _NUMBER,
    },
}


def _read_changes(values) -> list[changes.Change]:
    given = values[0]
    if not isinstance(given, list) or not 0 < len(given) <= CHANGES_MAX:
        raise ValueError(f'a list of 1 to {CHANGES_MAX} rules is expected')
    found = [_change(form) for form in given]
    if len({changes.slot_of(change.rule) for change in found}) < len(found):
        raise ValueError('a rule is given twice')
    return found


def _change(form):
    members = _CHANGE['properties']
    if not isinstance(form, dict) or not {'service', 'cost'} <= set(form) <= set(members):
        raise ValueError(
            'a rule has service and cost, and of '
            + ', '.join(name for name in members if name not in _CHANGE['required'])
            + ' what it needs'
        )
    names = ('service', 'field', 'value', 'group', 'tenant_id')
    service, field, value, group, scope = (_text(form, name) for name in names)
    if not service:
        raise ValueError('service is empty')
    kind = form.get('type', rules.FLAT)
    if kind not in rules.TYPES:
        raise ValueError(f'type is one of {", ".join(rules.TYPES)}')
    level = _number(api_types.level, form.get('level'))
    if (level is None) and (field is None) != (value is None):
        raise ValueError('a mapping has both field and value, or neither')
    cost = _number(api_types.cost, form['cost'])
    rule = rules.Rule(service, cost or decimals.ZERO, kind, field, group, value, level, scope)
    return changes.Change(rule, is_removal=cost is None)


def _text(form, name):
    value = form.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > TEXT_MAX):
        raise ValueError(f'{name} is no text of at most {TEXT_MAX} characters')
    return value or None


def _number(kind, value):
    return None if value is None else kind.validate(value)


def list_rules(request, *, scope_id, offset, limit):
    """Return the rules of hashmap that are valid now or later; of others what applies to them."""
    visible = visibility.visible_scopes(request, scope_id and [scope_id])
    services = request.services
    with services.database.reader() as connection:
        total, found = listing.find(
            connection,
            now=datetime.now(UTC),
            offset=offset,
            limit=limit,
            scope=visible[0] if visible else None,
        )
    return {
        'total': total,
        'enabled': modules.get_module(services, rule_values.MODULE).enabled,
        'results': [rule._asdict() for rule in found],
    }


def preview_prices(request, *, begin, end, scope_id, changes):
    """Return what stored usage would cost if the changed rules had always been valid."""
    if end <= begin:
        raise errors.InvalidInput(reason='end must be after begin')
    services = request.services
    preview = PricePreview(services.conf, services.database, services.storage)
    found = preview.compute(Extent(begin, end, scope_id or None), changes)
    return {
        'begin': begin,
        'end': end,
        'results': [
            {'scope_id': one.scope_id, 'type': one.metric, 'old': one.old, 'new': one.new}
            for one in found
        ],
    }


_PRICES = schemas.form(
    scope_id=schemas.TEXT, type=schemas.TEXT, old=schemas.NUMBER, new=schemas.NUMBER
)
_RULE = schemas.form(
    rule_id=schemas.TEXT,
    kind={'enum': [listing.MAPPING, listing.THRESHOLD]},
    service=schemas.TEXT,
    field=schemas.OPTIONAL_TEXT,
    value=schemas.OPTIONAL_TEXT,
    level={'type': ['number', 'null']},
    group=schemas.OPTIONAL_TEXT,
    tenant_id=schemas.OPTIONAL_TEXT,
    type={'enum': list(rules.TYPES)},
    cost=schemas.NUMBER,
    start=schemas.OPTIONAL_MOMENT,
    end=schemas.OPTIONAL_MOMENT,
)
ROUTES = {
    ('rating', 'rules'): {
        'GET': Endpoint(
            list_rules,
            'v2_rating:list_rules',
            parameters.PAGE
            | {'scope_id': parameters.one(parameters.nonempty(scope_state.ID_LENGTH_MAX))},
            answer=schemas.form(
                total=schemas.INTEGER,
                enabled=schemas.BOOLEAN,
                results=schemas.listing(_RULE),
            ),
        ),
    },
    ('rating', 'preview'): {
        'POST': Endpoint(
            preview_prices,
            'v2_rating:preview',
            body={
                'begin': parameters.required(parameters.one(parameters.instant)),
                'end': parameters.required(parameters.one(parameters.instant)),
                'scope_id': parameters.many(),
                'changes': parameters.required(
                    parameters.Parameter(
                        _read_changes, is_whole=True, schema=schemas.listing(_CHANGE)
                    )
                ),
            },
            answer=schemas.form(
                begin=schemas.MOMENT, end=schemas.MOMENT, results=schemas.listing(_PRICES)
            ),
            is_slow=True,
        ),
    },
    ('rating', 'modules'): {
        'GET': Endpoint(
            list_modules,
            'v2_rating:list_modules',
            answer=schemas.form(modules=schemas.listing(MODULE)),
        ),
    },
    ('rating', 'modules', '*'): {
        'GET': Endpoint(get_module, 'v2_rating:get_module', answer=MODULE),
        'PUT': Endpoint(
            update_module,
            'v2_rating:update_module',
            status=204,
            body={
                'enabled': parameters.one(parameters.boolean_like),
                'priority': parameters.one(_priority),
            },
        ),
    },
}
