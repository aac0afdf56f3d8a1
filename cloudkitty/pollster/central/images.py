"""Images of Glance's."""

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
        # Those that are hidden are listed only if asked for, and then alone.
        return itertools.chain.from_iterable(
            self.client.pages(
                'images', {'visibility': 'all', 'os_hidden': hidden, 'limit': '1000'}, 'images'
            )
            for hidden in ('false', 'true')
        )

    def shows_others(self, item: Item, own: str | None) -> bool:
        # Images of others that are public are shown to everybody.
        return item['visibility'] == 'private' and super().shows_others(item, own)

    def measure(self, item: Item, at: int) -> Iterable[Counter]:
        # What belongs to no project cannot be charged to one.
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
