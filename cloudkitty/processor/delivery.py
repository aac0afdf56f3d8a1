"""Delivery: sends the messages in the outbox to webhooks and to the message bus.

It has threads of its own, because a receiver may be slow: rating never waits for one.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent import futures
from datetime import datetime, timedelta

from cloudkitty import db, errors
from cloudkitty.billing import outbox, webhooks
from cloudkitty.billing.delivery import DEADLINE_S, Answer, Sender
from cloudkitty.billing.outbox import Message
from cloudkitty.billing.webhooks import Webhook
from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings

LOG = logging.getLogger(__name__)
RECEIVERS_AT_ONCE = 8
# Messages to one receiver that a thread sends one after the other, and how long it begins new ones.
MESSAGES_AT_ONCE = 25
TURN = timedelta(seconds=DEADLINE_S)
# Nobody else sends them meanwhile; names are resolved, too, which has no timeout of its own.
LEASE = 4 * TURN
# How often to look while there is something to send.
BUSY = timedelta(seconds=1)

Notify = Callable[[Message], str]


class Delivery(LockedJob):
    """Sends to some receivers at once, to each its oldest messages first.

    :param sender: sends to webhooks; None: its library is not installed.
    :param notify: sends to the bus; returns why it failed, or ''. None: there is no bus.
    :param pool: runs what sends; None: threads of its own.
    """

    LOCK = 'delivery'
    TITLE = 'Delivering messages'
    PAUSE = timedelta(seconds=30)

    def __init__(
        self,
        *,
        database: db.Database,
        sender: Sender | None,
        notify: Notify | None,
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
        pool: futures.Executor | None = None,
    ):
        super().__init__(locks=locks, settings=settings, clock=clock)
        self._database = database
        self._sender = sender
        self._notify = notify
        self._pool = pool or futures.ThreadPoolExecutor(RECEIVERS_AT_ONCE, 'delivery')
        # Receivers that are being sent to, by what sends; None: the message bus.
        self._running: dict[str | None, futures.Future[None]] = {}

    def step(self) -> bool:
        has_more = super().step()
        if not all(run.done() for run in self._running.values()):
            self.next_at = min(self.next_at, self._clock() + BUSY)
        return has_more

    def work(self, now: datetime) -> bool:
        self._running = {one: run for one, run in self._running.items() if not run.done()}
        with self._database.reader() as connection:
            waiting = outbox.receivers(connection, now, RECEIVERS_AT_ONCE)
            # A receiver that is slow has its turn later, and takes no place of others.
            free = [one for one in waiting if one not in self._running]
            found = {
                one: (
                    outbox.due(connection, one, now, MESSAGES_AT_ONCE),
                    None if one is None else self._receiver(connection, one),
                )
                for one in free[: RECEIVERS_AT_ONCE - len(self._running)]
            }
        ids = [message.id for messages, _ in found.values() for message in messages]
        self._put_off(ids, now + LEASE)
        for one, (messages, webhook) in found.items():
            self._running[one] = self._pool.submit(self._deliver, messages, webhook)
        return any(len(messages) == MESSAGES_AT_ONCE for messages, _ in found.values())

    @staticmethod
    def _receiver(connection, webhook_id):
        try:
            return webhooks.ROWS.get(connection, webhook_id)
        except errors.NotFound:
            return None

    def _deliver(self, messages: Sequence[Message], webhook: Webhook | None) -> None:
        """Send messages to one receiver, until it does not take one, or its turn is over."""
        end = self._clock() + TURN
        for number, message in enumerate(messages, 1):
            # Whatever goes wrong must not end the thread in silence.
            try:
                answer = self._send(message, webhook)
                self._note(message, answer)
            except Exception:
                LOG.exception('Message %s is sent again later', message.message)
                return
            now = self._clock()
            if answer.reason or now > end:
                self._put_off([one.id for one in messages[number:]], now)
                return

    def _send(self, message, webhook):
        if message.webhook is None:
            return Answer('there is no message bus' if not self._notify else self._notify(message))
        if webhook is None:
            return Answer()
        if self._sender is None:
            return Answer('the package standardwebhooks is not installed')
        return self._sender.send(webhook, message, self._clock())

    def _put_off(self, ids: Sequence[int], until: datetime) -> None:
        """Have messages sent at *until* at the earliest."""

        def change(connection):
            outbox.put_off(connection, ids, until)

        if ids:
            self._database.write(change)

    def _note(self, message, answer):
        def change(connection):
            if answer.is_gone:
                webhooks.switch_off(connection, message.webhook)
            elif answer.reason:
                return outbox.failed(connection, message, answer.reason, self._clock())
            else:
                outbox.delivered(connection, [message.id])
            return True

        is_tried_again = self._database.write(change)
        if answer.reason:
            LOG.log(
                logging.WARNING if is_tried_again else logging.ERROR,
                'Message %s, %s, was not taken by %s: %s%s',
                message.message,
                message.event,
                f'webhook {message.webhook}' if message.webhook else 'the message bus',
                answer.reason,
                '' if is_tried_again else '; it is given up',
            )
