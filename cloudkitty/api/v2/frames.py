"""Frames that callers push: what is taken, and what is refused before anything is stored."""

from collections.abc import Mapping
from typing import Any

from cloudkitty import errors, timeframe
from cloudkitty.api import query, schemas
from cloudkitty.dataframe import DataFrame, DataPoint
from cloudkitty.db import scopes

# Bytes of all attributes of a point, as JSON.
ATTRIBUTES_SIZE_MAX = 65535

_NUMBER = {'type': ['number', 'string']}
_POINT = {
    'type': 'object', 'additionalProperties': False, 'required': ['vol', 'groupby', 'metadata'],
    'properties': {
        'vol': schemas.form(unit=schemas.TEXT, qty=_NUMBER),
        'rating': {'type': 'object', 'additionalProperties': False,
                   'properties': {'price': _NUMBER}},
        'groupby': {'type': 'object'}, 'metadata': {'type': 'object'}}}
# What a request gives.
GIVEN = schemas.form(
    period=schemas.form(begin=query.INSTANT, end=query.INSTANT),
    usage=schemas.mapping(schemas.listing(_POINT)))


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
                reason=f'Frame {number}: {str(exc):.{query.REASON_MAX}}') from exc
    return found


def _frame(form, scope_key):
    frame = DataFrame.from_dict(form)
    for bound in (frame.start, frame.end):
        query.instant(timeframe.render(bound))
    if frame.end <= frame.start:
        raise errors.InvalidInput(
            reason=f'The period ends at {timeframe.render(frame.end)}, which is not after its '
                   f'begin at {timeframe.render(frame.start)}')
    for name, point in frame:
        query.nonempty(query.NAME_LENGTH_MAX)(name)
        _check_point(point, scope_key)
    return frame


def _check_point(point: DataPoint, scope_key: str) -> None:
    query.nonempty(query.NAME_LENGTH_MAX)(point.unit)
    for attributes in (point.groupby, point.metadata):
        _check_names(attributes)
    try:
        size = len(point.series.identity)
    # A whole number of more than 64 bits, or too many levels.
    except TypeError as exc:
        raise errors.InvalidInput(reason=f'Attributes cannot be stored: {exc}') from exc
    if size > ATTRIBUTES_SIZE_MAX:
        raise errors.InvalidInput(
            reason=f'Attributes of a point have {size} bytes, more than {ATTRIBUTES_SIZE_MAX}')
    scope_id = str(point.groupby.get(scope_key, ''))
    if scope_id and not scopes.is_storable(scope_id):
        raise errors.InvalidInput(
            reason=f'{scope_key} is longer than {scopes.ID_LENGTH_MAX} characters')


def _check_names(attributes: Mapping) -> None:
    for name in attributes:
        query.nonempty(query.NAME_LENGTH_MAX)(name)
