"""Prometheus metrics of an intake process."""

import prometheus_client

from cloudkitty import dataframe
from cloudkitty.clients import bus
from cloudkitty.usage.entries import Outcome

TYPES_MAX = 200
OTHER = 'other'


class Figures:
    """Counts messages by result, and notifications without a listener.

    :param registry: where the metrics are registered.
    """

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        self._messages = prometheus_client.Counter(
            'cloudkitty_usage_messages',
            'Metering messages from the message bus, by result.',
            ['outcome'],
            registry=registry,
        )
        self._ignored = prometheus_client.Counter(
            'cloudkitty_usage_ignored',
            'Notifications without a listener, by event type.',
            ['event_type'],
            registry=registry,
        )
        self._attributes = prometheus_client.Counter(
            'cloudkitty_usage_attributes',
            'Sets of attributes in messages that were not stored before.',
            registry=registry,
        )
        # rate() and increase() only see a counter rise that existed before.
        for outcome in ('accepted', 'duplicate', 'late', 'rejected'):
            self._messages.labels(outcome)
        self._types: set[str] = set()

    def stored(self, outcome: Outcome, refused: int) -> None:
        """Count a batch.

        :param refused: those that were no metering messages.
        """
        self._messages.labels('accepted').inc(outcome.accepted)
        self._messages.labels('duplicate').inc(outcome.duplicates)
        self._messages.labels('late').inc(outcome.late)
        self._messages.labels('rejected').inc(len(outcome.rejected) + refused)
        self._attributes.inc(outcome.new_attributes)

    def ignored(self, event_type: str) -> None:
        """Count a message; beyond TYPES_MAX event types, or under none, they count together."""
        is_label = len(event_type) <= bus.TEXT_MAX and dataframe.is_text(event_type)
        if event_type not in self._types and len(self._types) < TYPES_MAX and is_label:
            self._types.add(event_type)
        self._ignored.labels(event_type if event_type in self._types else OTHER).inc()
