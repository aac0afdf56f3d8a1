"""`/v2/meters`, `/v2/samples` and `/v2/resources`: queries of stored usage."""

import json
from collections.abc import Mapping

from cloudkitty import conf as configuration
from cloudkitty import db, errors
from cloudkitty.api import parameters, schemas, visibility
from cloudkitty.api.v2.endpoint import Endpoint
from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.core.metering import facts, quantities
from cloudkitty.core.metering.quantities import Grid
from cloudkitty.usage import listing, messages, meter_list, pieces, reading

PERIODS_MAX = 1000
SCOPES_MAX = 1000
STATISTICS_NAMES_MAX = 10
_TEXTS = schemas.mapping(schemas.TEXT)
# UTC, with microseconds.
MOMENT = {
    'type': 'string',
    'format': 'date-time',
    'pattern': r'^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}\+00:00$',
}
OPTIONAL_MOMENT = {'anyOf': [MOMENT, {'type': 'null'}]}
_OF_SERIES: dict[str, Mapping] = {
    'source': schemas.TEXT,
    'scope_id': schemas.TEXT,
    'meter': schemas.TEXT,
    'resource_id': schemas.TEXT,
    'kind': {'enum': list(facts.KINDS)},
    'unit': schemas.TEXT,
}
_ATTRIBUTES = {'anyOf': [_TEXTS, {'type': 'null'}]}
_NUMBER = {'type': ['number', 'null']}
METER = schemas.form(
    meter=schemas.TEXT,
    kind=schemas.TEXT,
    unit=schemas.TEXT,
    resources=schemas.INTEGER,
    sources=schemas.INTEGER,
    newest=OPTIONAL_MOMENT,
)
_SAMPLE: dict[str, Mapping] = {
    'id': schemas.TEXT,
    **_OF_SERIES,
    'stage': {'enum': list(facts.STAGES)},
    'at': MOMENT,
    'quantity': _NUMBER,
    'attributes': _ATTRIBUTES,
    'born': OPTIONAL_MOMENT,
    'taken_back': schemas.BOOLEAN,
}
LIFE = schemas.form(
    **_OF_SERIES,
    begin=MOMENT,
    end=OPTIONAL_MOMENT,
    quantity=schemas.NUMBER,
    evidence=schemas.TEXT,
    attributes=_ATTRIBUTES,
)
STATISTIC = schemas.form(
    begin=MOMENT, end=MOMENT, scope_id=schemas.TEXT, groupby=_TEXTS, quantity=schemas.NUMBER
)


def list_meters(request, *, scope_id, offset, limit):
    selection = listing.Selection(visibility.visible_scopes(request, scope_id))
    with request.services.database.replica() as connection:
        total, found = meter_list.meters(connection, selection, offset=offset, limit=limit)
    return {
        'total': total,
        'meters': [{**one._asdict(), 'newest': listing.render(one.newest)} for one in found],
    }


def get_statistics(request, meter, *, scope_id, begin, end, period, groupby, **asked):
    """Return quantities as the collector computes them, before factor, offset and rounding."""
    grid = _grid(begin, end, period)
    names = tuple(groupby or ())
    query = _query(request, meter, **asked)

    grouping = reading.Grouping(
        tuple(name for name in names if name != 'id'), by_resource='id' in names
    )
    with request.services.database.replica() as connection:
        db.hold_snapshot(connection)
        scopes = visibility.visible_scopes(request, scope_id)
        if scopes is None:
            scopes = meter_list.scopes_of_meter(connection, meter, SCOPES_MAX + 1)
            if len(scopes) > SCOPES_MAX:
                raise errors.InvalidInput(reason=f'More than {SCOPES_MAX} scopes: choose some')
        found = list(reading.Reader().read(connection, query, grid, grouping, scopes))
    limit_max = request.services.conf.api.limit_max
    if sum(len(one.offsets) for one in found) > limit_max:
        raise errors.InvalidInput(reason=f'More than {limit_max} quantities: choose less')
    groups = []
    for one in found:
        values = {**dict(zip(grouping.names, one.values, strict=True)), 'id': one.resource_id}
        groups.append((one.scope_id, [values[name] for name in names], one))
    return {
        'results': [
            {
                **_period(grid, offset),
                'scope_id': scope_id,
                'groupby': dict(zip(names, values, strict=True)),
                'quantity': quantity,
            }
            for scope_id, values, one in sorted(groups, key=lambda group: group[:2])
            for offset, quantity in zip(one.offsets, one.quantities, strict=True)
        ]
    }


def _grid(begin, end, period):
    """Return the periods of *period* seconds from *begin* to *end*; None: a single one."""
    begin_us, end_us = facts.to_us(begin), facts.to_us(end)
    if end_us <= begin_us:
        raise errors.InvalidInput(reason='end must be after begin')
    length = end_us - begin_us if period is None else period * facts.SECOND_US
    count, rest = divmod(end_us - begin_us, length)
    if rest or count > PERIODS_MAX:
        raise errors.InvalidInput(
            reason=f'begin to end must be a whole number of periods, at most {PERIODS_MAX}'
        )
    return Grid(begin_us, length, count)


def _query(request, meter, *, kind, aggregation, per, source):
    if aggregation and (not kind or aggregation not in quantities.METHODS_OF[kind]):
        raise errors.InvalidInput(
            reason='aggregation needs kind, and must be one that this kind allows'
        )
    options = configuration.register_driver(
        request.services.conf, MeteringCollector.GROUP, MeteringCollector.OPTS
    )
    return pieces.Query(
        meter, kind, aggregation, per, source=source, sources=tuple(options.sources)
    )


def _period(grid, offset):
    begin = grid.begin + offset * grid.length
    return {'begin': facts.render_us(begin), 'end': facts.render_us(begin + grid.length)}


def list_samples(request, *, limit, marker, **chosen):
    after = None if marker is None else listing.parse_sample_id(marker)
    with request.services.database.replica() as connection:
        db.hold_snapshot(connection)
        found = listing.samples(connection, _selection(request, **chosen), after=after, limit=limit)
    return {
        'samples': [listing.render_sample(one) for one in found],
        'marker': listing.sample_id(found[-1].key) if len(found) == limit else None,
    }


def get_sample(request, sample_id):
    """Return a sample with the message that stated it, as it was received."""
    selection = listing.Selection(visibility.visible_scopes(request, None))
    with request.services.database.replica() as connection:
        db.hold_snapshot(connection)
        found = listing.sample(connection, listing.parse_sample_id(sample_id), selection)
        if found is None:
            raise errors.NotFound(reason='No sample has this id.')
        batch = messages.read(connection, found.location.batch_id)
    # Of a batch that was damaged nothing can be told, see cloudkitty-usage verify.
    if batch is not None and found.location.position >= len(batch.texts):
        batch = None
    is_admin = visibility.viewer_of(request).is_admin
    return {
        **listing.render_sample(found),
        'message': batch and batch.texts[found.location.position],
        'received_at': listing.render(batch and batch.received_at),
        'path': batch and batch.path,
        # It names users of the operator.
        'publisher': batch.publisher if batch and is_admin else None,
        'trust': batch and batch.trust,
        'verified': None if batch is None else _verified(request, batch, found.location.position),
    }


def _verified(request, batch, position):
    """Return whether the message is signed, by now: true, false, unsigned, or key gone."""
    form = json.loads(batch.texts[position])
    return request.services.receiver.keys.verified(form, batch.trust)


def list_resources(request, *, limit, marker, **chosen):
    after = None
    if marker is not None:
        after = listing.parse_sample_id(f'{marker}-0-0')[:2]
    with request.services.database.replica() as connection:
        found = listing.lives(connection, _selection(request, **chosen), after=after, limit=limit)
    return {
        'resources': [_life(one) for one in found],
        'marker': f'{found[-1].series_id}-{found[-1].begin}' if len(found) == limit else None,
    }


def get_resource(request, resource_id, **asked):
    return list_resources(request, resource_id=resource_id, **asked)


def _selection(request, *, scope_id, begin, end, meter=None, resource_id=None):
    return listing.Selection(
        visibility.visible_scopes(request, scope_id),
        meter,
        resource_id,
        None if begin is None else facts.to_us(begin),
        None if end is None else facts.to_us(end),
    )


def _life(one):
    return {
        **one.series._asdict(),
        'begin': facts.render_us(one.begin),
        'end': listing.render(one.end),
        'quantity': one.quantity,
        'evidence': one.evidence,
        'attributes': one.attributes,
    }


_NAME = parameters.one(parameters.nonempty(facts.NAME_LENGTH_MAX))
_SCOPES = {'scope_id': parameters.many(maximum=SCOPES_MAX)}
_TIME = {
    'begin': parameters.one(parameters.instant),
    'end': parameters.one(parameters.instant),
}
_PAGE = {
    'marker': parameters.one(parameters.nonempty(100)),
    'limit': parameters.one(parameters.integer(1), default=100),
}
ROUTES = {
    ('meters',): {
        'GET': Endpoint(
            list_meters,
            'meters:get',
            parameters.PAGE | _SCOPES,
            answer=schemas.form(total=schemas.INTEGER, meters=schemas.listing(METER)),
            is_slow=True,
        ),
    },
    ('meters', '*', 'statistics'): {
        'GET': Endpoint(
            get_statistics,
            'meters:get',
            _SCOPES
            | {name: parameters.required(parameter) for name, parameter in _TIME.items()}
            | {
                'period': parameters.one(parameters.integer(1)),
                'groupby': parameters.many(parameters.attribute, maximum=STATISTICS_NAMES_MAX),
                'kind': parameters.one(parameters.choice(*facts.KINDS)),
                'aggregation': parameters.one(parameters.choice(*quantities.METHODS)),
                'per': parameters.one(
                    parameters.choice('period', *quantities.UNITS_US), default='period'
                ),
                'source': _NAME,
            },
            answer=schemas.form(results=schemas.listing(STATISTIC)),
            is_slow=True,
        ),
    },
    ('samples',): {
        'GET': Endpoint(
            list_samples,
            'samples:get',
            _SCOPES | _TIME | _PAGE | {'meter': _NAME, 'resource_id': _NAME},
            answer=schemas.form(
                samples=schemas.listing(schemas.form(**_SAMPLE)), marker=schemas.OPTIONAL_TEXT
            ),
            is_slow=True,
        ),
    },
    ('samples', '*'): {
        'GET': Endpoint(
            get_sample,
            'samples:get',
            answer=schemas.form(
                **_SAMPLE,
                message=schemas.OPTIONAL_TEXT,
                received_at=OPTIONAL_MOMENT,
                path=schemas.OPTIONAL_TEXT,
                publisher=schemas.OPTIONAL_TEXT,
                trust=schemas.OPTIONAL_TEXT,
                verified=schemas.OPTIONAL_TEXT,
            ),
        ),
    },
    ('resources',): {
        'GET': Endpoint(
            list_resources,
            'resources:get',
            _SCOPES | _TIME | _PAGE | {'meter': _NAME},
            answer=schemas.form(resources=schemas.listing(LIFE), marker=schemas.OPTIONAL_TEXT),
            is_slow=True,
        ),
    },
    ('resources', '*'): {
        'GET': Endpoint(
            get_resource,
            'resources:get',
            _SCOPES | _TIME | _PAGE | {'meter': _NAME},
            answer=schemas.form(resources=schemas.listing(LIFE), marker=schemas.OPTIONAL_TEXT),
            is_slow=True,
        ),
    },
}
