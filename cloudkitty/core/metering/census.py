"""Resources that are missing in a complete list. Pure.

Absence is evidence only in a list that is complete. One that would end too much is held for a
person to look at.

Source: doc/source/contributor/metering.rst, "Censuses".
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from cloudkitty.core.metering import facts

SETTLE_US = 120 * facts.SECOND_US
END_MAX = 20
END_SHARE_MAX = Decimal('0.05')


class Listing(NamedTuple):
    """A list of the resources that exist.

    :ivar begin, end: when it was made, microseconds since the epoch.
    :ivar resource_ids: the resources in it.
    :ivar is_complete: whether it is known to name every resource.
    """

    begin: int
    end: int
    resource_ids: frozenset[str]
    is_complete: bool


class Verdict(NamedTuple):
    """What follows from a list.

    :ivar seen: resources that were not known, to be seen at the end of the list.
    :ivar ended: instant of the presumed end by resource, microseconds since the epoch.
    :ivar is_held: too much would end, so nothing does until a person agrees.
    """

    seen: frozenset[str]
    ended: Mapping[str, int]
    is_held: bool = False


def judge(
    listing: Listing,
    known: Mapping[str, int],
    *,
    settle_us: int = SETTLE_US,
    end_max: int = END_MAX,
    end_share_max: Decimal = END_SHARE_MAX,
    is_accepted: bool = False,
) -> Verdict:
    """Return which resources *listing* shows for the first time, and which ended.

    A resource ends at the last instant at which it was seen: in favour of the customer.

    :param known: when each resource whose life is open was last seen or spoken of, microseconds
        since the epoch.
    :param settle_us: one that was spoken of so shortly before the list may be missing in it.
    :param end_max, end_share_max: as many may end at once, or this share of those known, whichever
        is more.
    :param is_accepted: a person has agreed to as many ends as there are.
    """
    seen = listing.resource_ids - known.keys()
    if not listing.is_complete:
        return Verdict(frozenset(seen), {})
    ended = {
        resource_id: last
        for resource_id, last in known.items()
        if resource_id not in listing.resource_ids and last < listing.begin - settle_us
    }
    if not is_accepted and len(ended) > max(Decimal(end_max), end_share_max * len(known)):
        return Verdict(frozenset(seen), {}, is_held=True)
    return Verdict(frozenset(seen), ended)
