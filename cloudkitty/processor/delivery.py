"""Delivery: sends the messages in the outbox to webhooks and to the message bus."""

import logging
from collections.abc import Callable
from concurrent import futures
from datetime import datetime, timedelta

from cloudkitty import db, errors
from cloudkitty.billing import outbox, webhooks
from cloudkitty.billing.delivery import DEADLINE_S, Answer, Sender
from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings

LOG = logging.getLogger(__name__)
MESSAGES_AT_ONCE = 8
# Names have to be resolved, too, which has no timeout of its own.
WAIT_S = 2 * DEADLINE_S

Notify = Callable[[outbox.Message], str]


class Delivery(LockedJob):
    """Sends some messages at once, of each webhook the oldest first.

    :param sender: sends to webhooks; None: its library is not installed.
    :param notify: sends to the bus; returns why it failed, or ''. None: there is no bus.
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
    ):
        super().__init__(locks=locks, settings=settings, clock=clock)
        self._database = database
        self._sender = sender
        self._notify = notify
        self._pool = futures.ThreadPoolExecutor(MESSAGES_AT_ONCE, 'delivery')

    def work(self, now: datetime) -> bool:
        with self._database.reader() as connection:
            found = outbox.due(connection, now, MESSAGES_AT_ONCE)
            receivers = {
                one.webhook: self._receiver(connection, one.webhook) for one in found if one.webhook
            }
        sent = {
            self._pool.submit(self._send, one, receivers.get(one.webhook or ''), now): one
            for one in found
        }
        futures.wait(sent, WAIT_S)
        for future, message in sent.items():
            answer = future.result() if future.done() else Answer('it takes too long')
            self._note(message, answer)
        return len(found) == MESSAGES_AT_ONCE

    @staticmethod
    def _receiver(connection, webhook_id):
        try:
            return webhooks.get(connection, webhook_id)
        except errors.NotFound:
            return None

    def _send(self, message, webhook, now):
        if message.webhook is None:
            return Answer('there is no message bus' if not self._notify else self._notify(message))
        if webhook is None:
            return Answer()
        if self._sender is None:
            return Answer('the package standardwebhooks is not installed')
        return self._sender.send(webhook, message, now)

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
