"""Parsing of pushed frames; invalid ones are refused before anything is stored."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cloudkitty import errors
from cloudkitty.api import parameters, schemas
from cloudkitty.core import bounds, timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.scopes import state as scope_state

# Of a point as a row of a table, before its attributes.
COLUMNS = ('begin', 'end', 'type', 'unit', 'qty', 'price')
_NUMBER = {'type': ['number', 'string']}
_POINT = {
    'type': 'object',
    'additionalProperties': False,
    'required': ['vol', 'groupby', 'metadata'],
    'properties': {
        'vol': schemas.form(unit=schemas.TEXT, qty=_NUMBER),
        'rating': {
            'type': 'object',
            'additionalProperties': False,
            'properties': {'price': _NUMBER},
        },
        'groupby': {'type': 'object'},
        'metadata': {'type': 'object'},
    },
}
# What a request gives.
GIVEN = schemas.form(
    period=schemas.form(begin=parameters.INSTANT, end=parameters.INSTANT),
    usage=schemas.mapping(schemas.listing(_POINT)),
)


def flatten(forms: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each point of rendered frames as one row: COLUMNS and its attributes.

    An attribute with the name of a column is left out; one of metadata yields to one of groupby.
    """
    for form in forms:
        for metric, found in form['usage'].items():
            for point in found:
                yield {
                    **point['metadata'],
                    **point['groupby'],
                    **form['period'],
                    'type': metric,
                    'unit': point['vol']['unit'],
                    'qty': point['vol']['qty'],
                    'price': point['rating']['price'],
                }


def parse(forms: Any, scope_key: str) -> list[DataFrame]:
    """Return the frames that a JSON list describes.

    :param scope_key: the attribute that names the scope of a point.
    :raises InvalidInput: one of them, or one of their points, cannot be stored.
    """
    if not isinstance(forms, list) or not forms:
        raise errors.InvalidInput(reason='A list of at least one frame is expected')
    found = []
    for number, form in enumerate(forms):
        try:
            found.append(_frame(form, scope_key))
        except (ValueError, errors.InvalidInput) as exc:
            raise errors.InvalidInput(
                reason=f'Frame {number}: {str(exc):.{parameters.REASON_MAX}}'
            ) from exc
    return found


def _frame(form, scope_key):
    frame = DataFrame.from_dict(form)
    for bound in (frame.start, frame.end):
        parameters.instant(timeframe.render(bound))
    if frame.end <= frame.start:
        raise errors.InvalidInput(
            reason=f'The period ends at {timeframe.render(frame.end)}, which is not after its '
            f'begin at {timeframe.render(frame.start)}'
        )
    for name, point in frame:
        parameters.nonempty(parameters.NAME_LENGTH_MAX)(name)
        _check_point(point, scope_key)
    return frame


def _check_point(point: DataPoint, scope_key: str) -> None:
    parameters.nonempty(parameters.NAME_LENGTH_MAX)(point.unit)
    for attributes in (point.groupby, point.metadata):
        _check_names(attributes)
    bounds.check_attributes(point.series)
    scope_id = point.groupby.get(scope_key, '')
    # As text, null would be the scope None, and a list one with an unintended name.
    if isinstance(scope_id, bool) or not isinstance(scope_id, (str, int)):
        raise errors.InvalidInput(reason=f'{scope_key} must be text, not {scope_id!r}')
    if scope_id != '' and not scope_state.is_storable(str(scope_id)):
        raise errors.InvalidInput(
            reason=f'{scope_key} is longer than {scope_state.ID_LENGTH_MAX} characters, or '
            'holds a control character'
        )


def _check_names(attributes: Mapping) -> None:
    for name in attributes:
        parameters.nonempty(parameters.NAME_LENGTH_MAX)(name)
