"""Scopes with usage, and the statements of their accounts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from cloudkitty.audit import trail
from cloudkitty.billing import ledger
from cloudkitty.billing.closing import Closing
from cloudkitty.billing.statements import Statements
from cloudkitty.billing.verification import Verifier
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.storage.v2 import sql

HOUR = timedelta(hours=1)
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
ACTOR = trail.Actor('ann')


def moment(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class World:
    """A database with a clock that stands still.

    :ivar now: what its statements take for the current time.
    """

    def __init__(self, conf):
        conf.set_override('enabled', True, 'billing')
        self.conf = conf
        self.now = moment('2026-11-20')
        self.storage = sql.SQLStorage(conf)
        self.database = self.storage.database
        self.storage.changes.clock = lambda: self.now
        self.statements = Statements(conf, self.database, self.storage, lambda: self.now)
        self.closing = Closing(self.statements)

    def apply(self, form, month='2026-01'):
        return self.statements.documents.apply(form, month, actor=ACTOR, now=self.now)

    def push(self, scope, begin, quantity, price='0', metric='cpu', **attributes):
        """Store the one point of a scope and an hour."""
        self.store([(scope, begin, metric, quantity, price, attributes)])

    def store(self, points):
        """Store points, which replace those of their scopes and hours."""
        frames = {}
        for scope, begin, metric, quantity, price, attributes in points:
            frame = frames.setdefault((scope, begin), DataFrame(begin, begin + HOUR))
            groupby = {'project_id': scope, **attributes}
            point = DataPoint('unit', Decimal(quantity), Decimal(price), groupby, {})
            frame.add_point(point, metric)
        by_scope = {}
        for (scope, _), frame in frames.items():
            by_scope.setdefault(scope, []).append(frame)
        for scope, found in by_scope.items():
            self.storage.push(found, scope)

    def draft(self, account, month='2026-10'):
        return self.statements.draft(account, month)

    def close(self, account, month='2026-10'):
        return self.closing.close(account, month, 'ann')

    def content(self, number):
        with self.database.reader() as connection:
            return ledger.document(connection, number)

    def months(self):
        """Return the months of all statements, the newest first."""
        with self.database.reader() as connection:
            _, found = ledger.find(connection, ledger.Selection(), 0, 1000)
        return [entry.month for entry in found]

    def closing_accounts(self, month):
        """Return the accounts that have a statement of a month."""
        with self.database.reader() as connection:
            return ledger.closed_accounts(connection, month)

    def faults(self):
        return list(Verifier(self.statements).check())

    def pending(self, account, month):
        """Return the corrections that the draft of a month has: (month, list, amount)."""
        return [
            (line.period, str(line.list_price), str(line.amount))
            for line in self.draft(account, month).statement.lines
            if line.is_correction
        ]
