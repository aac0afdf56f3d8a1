"""Glance images."""

import itertools
from collections.abc import Iterable

from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster.central import Item, ListPollster

# In these there is data.
STORED = ('active', 'deactivated')


class ImagePollster(ListPollster):
    """Sizes of images, bytes."""

    METERS = STATES = ('image.size',)
    SERVICE = 'image'
    VERSION = 'v2'
    PROJECT = 'owner'

    def items(self) -> Iterable[Item]:
        # Hidden images are listed by a separate query only.
        return itertools.chain.from_iterable(
            self.client.pages(
                'images', {'visibility': 'all', 'os_hidden': hidden, 'limit': '1000'}, 'images'
            )
            for hidden in ('false', 'true')
        )

    def shows_others(self, item: Item, own: str | None) -> bool:
        # Public images of others are shown to everybody.
        return item['visibility'] == 'private' and super().shows_others(item, own)

    def measure(self, item: Item, at: int) -> Iterable[Counter]:
        # An image without a project cannot be charged.
        if item['status'] in STORED and self.project_of(item) and item['size'] is not None:
            yield self.state(
                item,
                'image.size',
                'B',
                item['size'],
                at,
                name=item.get('name'),
                visibility=item['visibility'],
                disk_format=item.get('disk_format'),
            )
