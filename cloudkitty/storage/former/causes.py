"""Causes of differences between an old and a new bill.

A cause is only named when it explains every period that differs.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core import timeframe
from cloudkitty.core.decimals import ZERO
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.storage.former import bills
from cloudkitty.storage.former.bills import Line, Outcome
from cloudkitty.storage.former.rest import Amount

SHIFT_MAX = 14
# Periods in which a shift must fit, and different amounts among them: constant usage fits any.
SHIFT_PERIODS_MIN = 6
SHIFT_AMOUNTS_MIN = 3
# Relative error of numbers of nine significant digits.
NINE_DIGITS = Decimal('1e-8')
TWICE = 2

OVERWRITTEN = 'points with equal groupby attributes were overwritten in the old bill'
DOUBLED_THERE = 'these periods were counted twice in the old bill'
DOUBLED_HERE = 'these points are counted twice in the new bill'
ROUNDED = 'quantities were rounded to nine digits in the old bill'
LAST_OF_REPROCESSING = 'the last period of a reprocessing'
LATE = 'rated before its data was complete'
SHIFTED = 'times in the old bill are {hours:+d} periods off: another time zone'
DELETED_RULE = 'rule {name!r} applies here until it was deleted'
UNPRICED = 'quantities are equal, and no rule prices them in the new bill'
REPRICED = 'quantities are equal: the rules differ from those of the old bill'
SCOPE_NAME = 'the same amount is that of scope {name!r} {where}'
METRIC_NAME = 'the same amount is that of metric {name!r} {where}'


class Pair(NamedTuple):
    """A period in both bills; what a bill does not have is zero."""

    window: Period
    old: Amount
    new: Amount


class Inquiry(NamedTuple):
    """The facts about a difference.

    :ivar pairs: all periods that were compared.
    :ivar wrong: those that differ.
    """

    scope_id: str
    metric: str
    pairs: Sequence[Pair]
    wrong: Sequence[Pair]


class Evidence(NamedTuple):
    """Queries of the points of two bills; each takes a period, a scope id and a metric.

    :ivar count_old: returns how many points the old bill has; None: unknown.
    :ivar groups_new: returns the attributes to group by of each point of the new bill.
    """

    count_old: Callable[[Period, str, str], int | None]
    groups_new: Callable[[Period, str, str], Sequence[Any]]


class Investigator:
    """Looks for causes.

    :param length: of a period.
    """

    def __init__(
        self,
        database: db.Database,
        evidence: Evidence,
        tolerance: bills.Tolerance,
        length: timedelta,
    ) -> None:
        self.database = database
        self.evidence = evidence
        self.tolerance = tolerance
        self.length = length

    def cause(self, scope_id: str, metric: str, pairs: Sequence[Pair]) -> str:
        """Return the cause of the differences in *pairs*; '': unknown."""
        wrong = [
            pair
            for pair in pairs
            if bills.outcome_of(pair.old, pair.new, self.tolerance) in bills.DIFFERING
        ]
        found = Inquiry(scope_id, metric, pairs, wrong)
        checks: tuple[Callable[[Inquiry], str], ...] = (
            self._shifted,
            self._reprocessed,
            self._late,
            self._doubled,
            self._overwritten,
            self._rounded,
            self._deleted_rule,
            self._repriced,
        )
        if not wrong:
            return ''
        return next(filter(None, (check(found) for check in checks)), '')

    def _same(self, one: Amount, other: Amount) -> bool:
        return bills.outcome_of(one, other, self.tolerance) not in bills.DIFFERING

    def _shifted(self, found: Inquiry) -> str:
        old = [pair.old for pair in found.pairs]
        new = [pair.new for pair in found.pairs]
        for hours in sorted(range(-SHIFT_MAX, SHIFT_MAX + 1), key=abs):
            # Of the periods that are in both days.
            shifted = (old[hours:], new) if hours > 0 else (old, new[-hours:])
            pairs = list(zip(*shifted, strict=False))
            distinct = {amount.price for _, amount in pairs if amount.price}
            if (
                hours
                and len(pairs) >= SHIFT_PERIODS_MIN
                and len(distinct) >= SHIFT_AMOUNTS_MIN
                and all(self._same(one, other) for one, other in pairs)
            ):
                return SHIFTED.format(hours=hours)
        return ''

    def _reprocessed(self, found: Inquiry) -> str:
        tasks = tables.tasks
        statement = sa.select(tasks.c.end_reprocess_time).where(
            tasks.c.identifier == found.scope_id
        )
        with self.database.reader() as connection:
            ends = [timeframe.from_naive(end) for end in connection.scalars(statement)]
        # The end of a task of the former service is the begin of its last period.
        last = {*ends, *(end - self.length for end in ends)}
        is_last = all(pair.window.begin in last for pair in found.wrong)
        return LAST_OF_REPROCESSING if is_last else ''

    def _late(self, found: Inquiry) -> str:
        notes, scopes = tables.notes, tables.scopes
        statement = (
            sa.select(notes.c.begin, notes.c.end)
            .join_from(notes, scopes, notes.c.state_id == scopes.c.id)
            .where(scopes.c.identifier == found.scope_id)
        )
        with self.database.reader() as connection:
            spans = [
                Period(timeframe.from_naive(begin), timeframe.from_naive(end))
                for begin, end in connection.execute(statement)
            ]
        is_late = all(
            any(begin <= pair.window.begin < end for begin, end in spans) for pair in found.wrong
        )
        return LATE if is_late else ''

    def _doubled(self, found: Inquiry) -> str:
        if all(self._same(pair.old, _twice(pair.new)) for pair in found.wrong):
            return DOUBLED_THERE
        if all(self._same(_twice(pair.old), pair.new) for pair in found.wrong):
            return DOUBLED_HERE
        return ''

    def _overwritten(self, found: Inquiry) -> str:
        for pair in found.wrong:
            place = pair.window, found.scope_id, found.metric
            groups = self.evidence.groups_new(*place)
            # The former store kept one of the points of each group.
            if not len(set(groups)) < len(groups):
                return ''
            if self.evidence.count_old(*place) != len(set(groups)):
                return ''
        return OVERWRITTEN

    def _rounded(self, found: Inquiry) -> str:
        def is_near(old: Decimal | None, new: Decimal | None) -> bool:
            if old is None or new is None:
                return True
            return abs(old - new) <= max(abs(old), abs(new)) * NINE_DIGITS

        is_rounded = all(
            is_near(pair.old.qty, pair.new.qty) and is_near(pair.old.price, pair.new.price)
            for pair in found.wrong
        )
        return ROUNDED if is_rounded else ''

    def _has_equal_quantities(self, pair: Pair) -> bool:
        """Return whether the quantities are equal; also if one of them is unknown."""
        return None in (pair.old.qty, pair.new.qty) or self._same(
            pair.old._replace(price=ZERO), pair.new._replace(price=ZERO)
        )

    def _repriced(self, found: Inquiry) -> str:
        if not all(
            pair.old.qty is not None and pair.old.qty != ZERO and self._has_equal_quantities(pair)
            for pair in found.wrong
        ):
            return ''
        return REPRICED if any(pair.new.price for pair in found.wrong) else UNPRICED

    def _deleted_rule(self, found: Inquiry) -> str:
        if not all(map(self._has_equal_quantities, found.wrong)):
            return ''
        names: set[str] | None = None
        for pair in found.wrong:
            own = self._deleted_rules(found.metric, found.scope_id, pair.window.begin)
            names = own if names is None else names & own
        return DELETED_RULE.format(name=min(names)) if names else ''

    def _deleted_rules(self, metric: str, scope_id: str, begin: datetime) -> set[str]:
        """Return the rules of a metric that applied to a period and were deleted later."""
        rules, fields, services = (
            tables.hashmap_mappings,
            tables.hashmap_fields,
            tables.hashmap_services,
        )
        moment = timeframe.to_naive(begin)
        owner = sa.func.coalesce(rules.c.service_id, fields.c.service_id)
        statement = (
            sa.select(rules.c.name)
            .join_from(rules, fields, rules.c.field_id == fields.c.id, isouter=True)
            .join(services, owner == services.c.id)
            .where(
                services.c.name == metric,
                rules.c.deleted > moment,
                rules.c.start <= moment,
                sa.or_(rules.c.end.is_(None), rules.c.end > moment),
                sa.or_(rules.c.tenant_id.is_(None), rules.c.tenant_id == scope_id),
            )
        )
        with self.database.reader() as connection:
            return set(connection.scalars(statement))


def _twice(amount: Amount) -> Amount:
    qty = None if amount.qty is None else amount.qty * TWICE
    return Amount(qty, amount.price * TWICE, amount.points)


def renamed(lines: Sequence[Line], tolerance: bills.Tolerance) -> dict[Line, str]:
    """Return the causes of lines that only one bill has and that are in the other under a name.

    :param lines: those of one window that differ.
    """
    found: dict[Line, str] = {}
    old_only = [line for line in lines if line.outcome == Outcome.OLD_ONLY]
    new_only = [line for line in lines if line.outcome == Outcome.NEW_ONLY]
    for line in old_only:
        for other in new_only:
            if other in found or not _is_renamed(line, other, tolerance):
                continue
            text = SCOPE_NAME if line.metric == other.metric else METRIC_NAME
            name = 'scope_id' if line.metric == other.metric else 'metric'
            found[line] = text.format(name=getattr(other, name), where='here')
            found[other] = text.format(name=getattr(line, name), where='there')
            break
    return found


def _is_renamed(line: Line, other: Line, tolerance: bills.Tolerance) -> bool:
    alike = (line.metric == other.metric) + (line.scope_id == other.scope_id)
    return alike == 1 and bills.outcome_of(line.old, other.new, tolerance) not in bills.DIFFERING
