"""Cinder volumes, snapshots and backups."""

import abc
from collections.abc import Iterable

from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster.central import Item, ListPollster

# The first microversion with the id of the type of a volume.
MICROVERSION = '3.63'
# States of items that do not exist yet, or never did.
UNBORN = ('creating', 'error')


class _CinderPollster(ListPollster):
    """Base of the pollsters that query Cinder."""

    SERVICE = 'block-storage'
    VERSION = 'v3'
    KEY = ''

    def items(self) -> Iterable[Item]:
        return self.client.pages(
            f'{self.KEY}/detail',
            {'all_tenants': '1', 'limit': '1000'},
            self.KEY,
            microversion=MICROVERSION,
            microversion_service_type=self.SERVICE,
        )

    def measure(self, item: Item, at: int) -> Iterable[Counter]:
        if item['status'] not in UNBORN:
            yield self.sized(item, at)

    @abc.abstractmethod
    def sized(self, item: Item, at: int) -> Counter:
        """Return the counter of an existing item."""


class VolumePollster(_CinderPollster):
    """Sizes of volumes, GiB."""

    METERS = STATES = ('volume.size',)
    KEY = 'volumes'
    PROJECT = 'os-vol-tenant-attr:tenant_id'

    def sized(self, item: Item, at: int) -> Counter:
        return self.state(
            item,
            'volume.size',
            'GiB',
            item['size'],
            at,
            display_name=item.get('name'),
            volume_type=item.get('volume_type'),
            volume_type_id=item.get('volume_type_id'),
            availability_zone=item.get('availability_zone'),
        )


class SnapshotPollster(_CinderPollster):
    """Sizes of snapshots, GiB."""

    METERS = STATES = ('volume.snapshot.size',)
    KEY = 'snapshots'
    PROJECT = 'os-extended-snapshot-attributes:project_id'

    def sized(self, item: Item, at: int) -> Counter:
        return self.state(
            item,
            'volume.snapshot.size',
            'GiB',
            item['size'],
            at,
            display_name=item.get('name'),
            volume_id=item.get('volume_id'),
        )


class BackupPollster(_CinderPollster):
    """Sizes of backups, GiB."""

    METERS = STATES = ('volume.backup.size',)
    KEY = 'backups'
    PROJECT = 'os-backup-project-attr:project_id'

    def sized(self, item: Item, at: int) -> Counter:
        return self.state(
            item,
            'volume.backup.size',
            'GiB',
            item['size'],
            at,
            display_name=item.get('name'),
            volume_id=item.get('volume_id'),
            is_incremental=item.get('is_incremental'),
        )
