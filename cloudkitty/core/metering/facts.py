"""Facts: what was said of a resource at an instant, and the key that makes a repeat one. Pure.

Times are microseconds since the epoch, which add and compare exactly.

Source: doc/source/contributor/metering.rst, "Facts".
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core import bounds, dataframe, timeframe
from cloudkitty.core.dataframe import FrozenDict

STATE, GAUGE, CUMULATIVE, DELTA = KINDS = ('state', 'gauge', 'cumulative', 'delta')
# What a fact says of a life; facts of one instant are taken in this order. Samples have SAMPLE.
SAMPLE, BEGIN, CHANGE, SEEN, END, PRESUMED_END = range(6)
STAGES = {
    'sample': SAMPLE,
    'begin': BEGIN,
    'change': CHANGE,
    'seen': SEEN,
    'end': END,
    'presumed_end': PRESUMED_END,
}
STAGE_NAMES = {stage: name for name, stage in STAGES.items()}

NAME_LENGTH_MAX = 255
SCOPE_ID_LENGTH_MAX = 256
ATTRIBUTES_MAX = 64
ATTRIBUTES_SIZE_MAX = 16384
# Significant digits of a quantity: one less than those of products and quotients.
DIGITS_MAX = 27
INTEGER_DIGITS_MAX = 20
SCALE_MAX = 30
MICROSECOND = timedelta(microseconds=1)
SECOND_US = 1_000_000
DAY_US = 86400 * SECOND_US
AT_MAX = 32_503_680_000 * SECOND_US  # the year 3000

Attributes = FrozenDict[str, str]


class Fact(NamedTuple):
    """One statement about a resource.

    :ivar source: who measured; tenants' sources begin with their project and a colon.
    :ivar at: when it holds from, or was measured, microseconds since the epoch.
    :ivar stage: SAMPLE, or what it says of the life of a resource of kind STATE.
    :ivar tag: 0, or a number that keeps different facts of one instant apart.
    :ivar quantity: None: not stated, as in most ends.
    :ivar attributes: None: not stated, those before stay.
    :ivar born: when the life began, if the fact says so, microseconds since the epoch.
    """

    source: str
    scope_id: str
    meter: str
    resource_id: str
    kind: str
    unit: str
    at: int
    stage: int = SAMPLE
    tag: int = 0
    quantity: Decimal | None = None
    attributes: Attributes | None = None
    born: int | None = None

    @property
    def series(self) -> tuple[str, str, str, str, str]:
        """What facts of one series have in common."""
        return self.source, self.scope_id, self.meter, self.resource_id, self.kind


def to_us(instant: datetime) -> int:
    """Return an aware *instant* in microseconds since the epoch."""
    return (timeframe.to_utc(instant) - timeframe.EPOCH) // MICROSECOND


def from_us(instant_us: int) -> datetime:
    """Return the aware UTC instant of microseconds since the epoch."""
    return timeframe.EPOCH + timedelta(microseconds=instant_us)


def render_us(instant_us: int) -> str:
    """Return the instant in ISO 8601, UTC, with its microseconds."""
    return from_us(instant_us).isoformat(timespec='microseconds')


def midnight(instant_us: int) -> int:
    """Return the begin of the day of an instant, UTC, in microseconds since the epoch."""
    return instant_us - instant_us % DAY_US


def digest(*parts: str) -> bytes:
    """Return 16 bytes that differ for different *parts*, however these are divided."""
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode()
        hashed.update(b'%d:' % len(data))
        hashed.update(data)
    return hashed.digest()[:16]


def tag_of(*parts: str) -> int:
    """Return a signed number of 64 bits that differs for different *parts*; never 0."""
    return int.from_bytes(digest(*parts)[:8], 'big', signed=True) or 1


def source_of_project(project_id: str, source: str) -> str:
    """Return the source of usage that a project has pushed itself, see is_of_project()."""
    return f'{project_id}:{source}'


def is_of_project(source: str, scope_id: str) -> bool:
    """Return whether the usage of a scope was pushed by itself, so that all others count first."""
    return source.startswith(f'{scope_id}:')


def check(fact: Fact) -> Fact:
    """Return *fact* if it can be stored on every database without loss.

    :raises InvalidInput: a name is empty or too long, a number has too many digits, or there are
        too many attributes.
    """
    check_name('source', fact.source)
    check_name('meter', fact.meter)
    check_name('resource', fact.resource_id)
    check_name('scope_id', fact.scope_id, SCOPE_ID_LENGTH_MAX)
    # Ceilometer's power.state has none.
    if fact.unit != '':
        check_name('unit', fact.unit)
    if fact.kind not in KINDS:
        _refuse(f'kind must be one of {", ".join(KINDS)}')
    if (fact.stage == SAMPLE) == (fact.kind == STATE):
        _refuse(f'a fact of kind {fact.kind} cannot be a {STAGE_NAMES[fact.stage]}')
    for instant_us in (fact.at, fact.born):
        if instant_us is not None and not 0 <= instant_us < AT_MAX:
            _refuse('times must lie between 1970 and 3000')
    if fact.born is not None and fact.born > fact.at:
        _refuse('a life cannot begin after it is seen')
    _check_quantity(fact)
    if fact.attributes is not None:
        _check_attributes(fact.attributes)
    return fact


def _check_quantity(fact: Fact) -> None:
    quantity = fact.quantity
    if quantity is None:
        if fact.kind != STATE:
            _refuse('quantity is missing')
        return
    if quantity < 0 and fact.kind in (STATE, CUMULATIVE):
        _refuse(f'a quantity of kind {fact.kind} cannot be below 0')
    digits = len(quantity.as_tuple().digits)
    scale = digits - quantity.adjusted() - 1
    if digits > DIGITS_MAX or quantity.adjusted() >= INTEGER_DIGITS_MAX or scale > SCALE_MAX:
        _refuse(
            f'a quantity has at most {DIGITS_MAX} digits, {INTEGER_DIGITS_MAX} before and '
            f'{SCALE_MAX} after the point'
        )


def _check_attributes(attributes: Mapping[str, str]) -> None:
    if len(attributes) > ATTRIBUTES_MAX:
        _refuse(f'more than {ATTRIBUTES_MAX} attributes')
    size = 0
    for name, value in attributes.items():
        check_name('the name of an attribute', name)
        if not isinstance(value, str) or not dataframe.is_text(value):
            _refuse(f'attribute {name!r} is no text that can be stored')
        size += len(name.encode()) + len(value.encode())
    if size > ATTRIBUTES_SIZE_MAX:
        _refuse(f'attributes have {size} bytes, more than {ATTRIBUTES_SIZE_MAX}')


def check_name(what: str, name: Any, length_max: int = NAME_LENGTH_MAX) -> None:
    """Refuse what is no name.

    :param what: says in the error what the name is of.
    :raises InvalidInput: it is no text, empty, too long, or has control characters.
    """
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= length_max
        # What is printable has neither; other text is examined.
        or not (
            name.isprintable() or (dataframe.is_text(name) and not bounds.CONTROLS.search(name))
        )
    ):
        _refuse(f'{what} must be text of 1 to {length_max} characters without control characters')


def _refuse(reason: str) -> None:
    raise errors.InvalidInput(reason=reason)


def flat_attributes(given: Mapping[str, Any], ignored: frozenset[str] = frozenset()) -> Attributes:
    """Return the texts, numbers and booleans of *given* as text; other values are left out.

    :param ignored: names that are left out, too.
    """
    return FrozenDict(
        (name, value if isinstance(value, str) else _flat(value))
        for name, value in given.items()
        if name not in ignored and isinstance(value, (str, int, float, Decimal))
    )


def _flat(value: int | float | Decimal) -> str:
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return format(value, 'f') if isinstance(value, Decimal) else str(value)
