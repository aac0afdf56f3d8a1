"""`/v2/explain`: how the price of a resource in a period is computed, from its samples on."""

from datetime import timedelta

from cloudkitty import errors
from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.explain import Explanation, Priced, Samples
from cloudkitty.scopes import state as scope_state

# Characters of the value of an attribute.
RESOURCE_LENGTH_MAX = 1000
# The source or a rating module is at fault, or how they are configured.
UNEXPLAINED = (
    errors.ConfigurationError,
    errors.SourceError,
    errors.ModuleLoadError,
    errors.ModuleFailed,
)

_RUN = schemas.form(
    begin=schemas.MOMENT,
    end=schemas.MOMENT,
    value=schemas.TEXT,
    samples=schemas.INTEGER,
)
_PRICE = {'type': ['number', 'null']}
_STEP = schemas.form(
    module=schemas.TEXT,
    rules=schemas.listing(schemas.TEXT),
    amounts=schemas.listing(
        schemas.form(group=schemas.OPTIONAL_TEXT, expression=schemas.TEXT, amount=schemas.NUMBER)
    ),
    price=_PRICE,
)
_PRICED = {
    'qty': schemas.NUMBER,
    'unit': schemas.TEXT,
    'groupby': schemas.mapping({}),
    'steps': schemas.listing(_STEP),
    'price': _PRICE,
}
_STORED = schemas.form(
    type=schemas.TEXT,
    points=schemas.listing(schemas.form(**_PRICED, stored=schemas.NUMBER)),
)
_RESULT = schemas.form(
    type=schemas.TEXT,
    metric=schemas.TEXT,
    measure=schemas.OPTIONAL_TEXT,
    series=schemas.listing(
        schemas.form(labels=schemas.mapping(schemas.TEXT), samples=schemas.listing(_RUN))
    ),
    points=schemas.listing(schemas.form(**_PRICED)),
)


def get_explanation(request, *, scope_id, resource, period):
    """Return the explanation of what would be rated now, including the samples in the source."""
    found = _ask(request, request.services.explainer.explain, scope_id, resource, period)
    return _answer(request, scope_id, resource, period, [_rendered(one) for one in found])


def get_stored(request, *, scope_id, resource, period):
    """Return the explanation of the stored price; the source is not queried."""
    found = _ask(request, request.services.explainer.explain_stored, scope_id, resource, period)
    results = [
        {
            'type': one.name,
            'points': [{**_point(point), 'stored': point.stored} for point in one.points],
        }
        for one in found
    ]
    return _answer(request, scope_id, resource, period, results)


def _ask(request, explain, scope_id, resource, period):
    visible = visibility.visible_scopes(request, [scope_id])
    if scope_id not in (visible or ()):
        raise errors.NotFound(reason='No scope matches.')
    try:
        found = explain(scope_id, resource, period)
    except UNEXPLAINED as exc:
        raise _unexplained(request, exc) from exc
    if not found:
        raise errors.NotFound(reason='The scope has no usage of this resource in the period.')
    return found


def _answer(request, scope_id, resource, period, results):
    return {
        'scope_id': scope_id,
        'resource': resource,
        'begin': period,
        'end': period + timedelta(seconds=request.services.conf.collect.period),
        'results': results,
    }


def _unexplained(request, exc):
    """Return the error for the caller; its reason, which may name servers, is for an admin."""
    is_admin = visibility.viewer_of(request).is_admin
    return errors.NotExplained(reason=errors.describe(exc) if is_admin else 'the operator sees why')


def _rendered(found: Explanation):
    return {
        'type': found.name,
        'metric': found.source_name,
        'measure': found.measure,
        'series': [_series(one) for one in found.samples],
        'points': [_point(one) for one in found.points],
    }


def _series(found: Samples):
    return {
        'labels': {name: str(value) for name, value in found.labels.items()},
        'samples': [run._asdict() for run in found.runs],
    }


def _point(point: Priced):
    return {
        'qty': point.quantity,
        'unit': point.unit,
        'groupby': dict(point.groupby),
        'steps': [
            {**step._asdict(), 'amounts': [amount._asdict() for amount in step.amounts]}
            for step in point.steps
        ],
        'price': point.price,
    }


_QUESTION = {
    'scope_id': parameters.required(parameters.one(parameters.nonempty(scope_state.ID_LENGTH_MAX))),
    'resource': parameters.required(parameters.one(parameters.nonempty(RESOURCE_LENGTH_MAX))),
    'period': parameters.required(parameters.one(parameters.instant)),
}


def _explanation(result):
    return schemas.form(
        scope_id=schemas.TEXT,
        resource=schemas.TEXT,
        begin=schemas.MOMENT,
        end=schemas.MOMENT,
        results=schemas.listing(result),
    )


ROUTES = {
    ('explain',): {
        'GET': Endpoint(
            get_explanation,
            'explain:get',
            _QUESTION,
            answer=_explanation(_RESULT),
            is_slow=True,
        ),
    },
    ('explain', 'stored'): {
        'GET': Endpoint(
            get_stored,
            'explain:get_stored',
            _QUESTION,
            answer=_explanation(_STORED),
            is_slow=True,
        ),
    },
}
