"""A pollster: a power strip says how much each of its sockets has delivered."""

from decimal import Decimal

import requests
from oslo_config import cfg

from cloudkitty import pollster
from cloudkitty.core.metering.message import Counter


class PowerPollster(pollster.BasePollster):
    """Reads `{"sockets": [{"id": "s1", "customer": "acme", "watt_hours": "1.5"}, ...]}`."""

    GROUP = 'pollster_power'
    OPTS = [
        cfg.URIOpt('url', help='URL of the power strip.'),
        cfg.IntOpt('timeout', default=10, min=1, help='Seconds to wait for an answer.'),
    ]
    METERS = ('power.socket', 'power.energy')
    # It says which sockets exist, so the end of one that is gone is known.
    STATES = ('power.socket',)

    def is_enabled(self) -> bool:
        self.reason = f'[{self.GROUP}]url is empty'
        return bool(self.options.url)

    def discover(self) -> pollster.Listing:
        answer = requests.get(self.options.url, timeout=self.options.timeout)
        answer.raise_for_status()
        # The strip lists all of its sockets, and nobody else has them.
        return pollster.Listing(answer.json()['sockets'], is_complete=True, is_cloud=True)

    def poll(self, resources, now):
        at = now()
        for socket in resources:
            # Quantities are text or exact numbers, never floating point numbers.
            energy = Decimal(socket['watt_hours'])
            yield self._counter(socket, at, 'power.energy', 'cumulative', 'Wh', energy)
            # All that is known of it: if that changes, the old state ends and a new one begins.
            exists = self._counter(socket, at, 'power.socket', 'state', 'socket', Decimal(1))
            yield exists._replace(life='change')

    def _counter(self, socket, at, name, kind, unit, volume) -> Counter:
        attributes = {'strip': self.options.url}
        return Counter(
            name, kind, unit, volume, socket['customer'], None, socket['id'], at, attributes
        )
