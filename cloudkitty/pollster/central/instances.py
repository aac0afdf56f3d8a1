"""Nova servers, including those that were deleted lately."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudkitty.core import timeframe
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster.central import Item, ListPollster

# The first microversion with the sizes of the flavor of a server.
MICROVERSION = '2.47'
# How far back deletions are queried, so that an outage of a service or agent hides none.
LOOK_BACK = timedelta(days=1)
DELETED = 'DELETED'
# States of servers that do not exist yet, or never did.
UNBORN = ('building', 'error')


class ServerPollster(ListPollster):
    """Existence of servers, with the sizes of their flavors; and the end of deleted ones."""

    METERS = STATES = ('instance', 'vcpus', 'memory', 'disk.root.size', 'disk.ephemeral.size')
    SERVICE = 'compute'
    VERSION = 'v2.1'
    PROJECT = 'tenant_id'

    def items(self) -> Iterator[Item]:
        yield from self._servers({})
        since = datetime.now(UTC) - LOOK_BACK
        for one in self._servers({'deleted': 'true', 'changes-since': since.isoformat()}):
            if one['status'] == DELETED:
                yield one

    def is_whole(self, items: Sequence[Item]) -> bool:
        # Nova refuses this query to callers who may not see all projects.
        return True

    def _servers(self, parameters: Mapping[str, str]) -> Iterator[Item]:
        return self.client.pages(
            'servers/detail',
            {'all_tenants': '1', 'limit': '1000', **parameters},
            'servers',
            microversion=MICROVERSION,
            microversion_service_type=self.SERVICE,
        )

    def measure(self, item: Item, at: int) -> Iterable[Counter]:
        if item['status'] == DELETED:
            ended = _ended_at(item)
            # Its begin may have been missed, too.
            for counter in self._sizes(item, ended):
                yield counter
                yield counter._replace(life='end')
        elif item['OS-EXT-STS:vm_state'] not in UNBORN or item.get('OS-SRV-USG:launched_at'):
            yield from self._sizes(item, at)

    def _sizes(self, item: Item, at: int) -> Iterator[Counter]:
        flavor = item['flavor']
        attributes = _attributes(item)
        for name, unit, volume in (
            ('instance', 'instance', 1),
            ('vcpus', 'vcpu', flavor['vcpus']),
            ('memory', 'MiB', flavor['ram']),
            ('disk.root.size', 'GiB', flavor['disk']),
            ('disk.ephemeral.size', 'GiB', flavor['ephemeral']),
        ):
            yield self.state(item, name, unit, volume, at, **attributes)


def _attributes(item: Item) -> dict[str, Any]:
    image = item.get('image')
    return {
        'display_name': item.get('name'),
        'flavor_name': item['flavor'].get('original_name'),
        # A server that boots from a volume has ''.
        'image_ref': image.get('id') if isinstance(image, dict) else None,
        'availability_zone': item.get('OS-EXT-AZ:availability_zone'),
        'state': item.get('OS-EXT-STS:vm_state'),
    }


def _ended_at(item: Item) -> int:
    """Return when a server was deleted, microseconds since the epoch."""
    return facts.to_us(
        timeframe.parse_exact(item.get('OS-SRV-USG:terminated_at') or item['updated'])
    )
