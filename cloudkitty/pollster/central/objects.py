"""Swift accounts."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import Clock, Listing
from cloudkitty.pollster.central import CloudPollster, Item

# Name of the counter, unit, header of the answer of Swift.
_COUNTS = (
    ('storage.objects', 'object', 'X-Account-Object-Count'),
    ('storage.objects.size', 'B', 'X-Account-Bytes-Used'),
    ('storage.objects.containers', 'container', 'X-Account-Container-Count'),
)
NOT_FOUND = 404
PAGE = {'limit': '1000'}


class ObjectsPollster(CloudPollster):
    """Objects, bytes and containers of each project's account. It needs the role ResellerAdmin."""

    GROUP = 'pollster_swift'
    OPTS = [
        *CloudPollster.OPTS,
        cfg.StrOpt(
            'reseller_prefix',
            default='AUTH_',
            help='What the names of accounts begin with, before the id of the project.',
        ),
    ]
    METERS = tuple(name for name, _, _ in _COUNTS)
    SERVICE = 'object-store'
    VERSION = 'v1'

    def discover(self) -> Listing:
        """Return the projects of Keystone."""
        return Listing(list(self.client_of('identity', 'v3').pages('projects', PAGE, 'projects')))

    def poll(self, resources: Sequence[Item], now: Clock) -> Iterator[Counter]:
        # The catalog has the account of the caller's own project.
        swift = self.client_of(self.SERVICE, self.VERSION, is_cut=True)
        for project in resources:
            account = f'{self.options.reseller_prefix}{project["id"]}'
            try:
                headers = swift.headers(account)
            except errors.CollectError as exc:
                # A project has no account before it stores something.
                if exc.facts.get('status') == NOT_FOUND:
                    continue
                raise
            at = now()
            for name, unit, header in _COUNTS:
                yield Counter(
                    name,
                    facts.GAUGE,
                    unit,
                    Decimal(headers[header]),
                    project['id'],
                    None,
                    project['id'],
                    at,
                    {},
                )
