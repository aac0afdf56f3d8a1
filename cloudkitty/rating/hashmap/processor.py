"""The rating module `hashmap`: prices from rules that are kept in the database."""

import decimal
import functools
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from oslo_config import cfg

from cloudkitty import db, rating
from cloudkitty.core import dataframe
from cloudkitty.core.pricing import book, formula, rules
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.rating.hashmap.store import rules as db_rules

LOG = logging.getLogger(__name__)


class HashMap(rating.RatingProcessorBase):
    """Price the points of a scope.

    :param rule_book: the rules, shared by all scopes.
    """

    module_name = 'hashmap'
    description = 'HashMap rating module.'
    hot_config = True
    config_controller = 'cloudkitty.api.v1.hashmap:HashMapController'

    def __init__(self, tenant_id: str | None = None, *, rule_book: book.RuleBook) -> None:
        super().__init__(tenant_id)
        self._book = rule_book
        self._instant = datetime.now(UTC)

    @classmethod
    def factory(
        cls, conf: cfg.ConfigOpts, database: db.Database
    ) -> Callable[[str | None], 'HashMap']:
        with database.reader() as connection:
            rule_book = book.RuleBook(db_rules.load(connection))
        return functools.partial(cls, rule_book=rule_book)

    def reload_config(self, start: datetime | None = None) -> None:
        self._instant = start or datetime.now(UTC)

    def process(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        usage = {}
        for name, points in frame.itertypes():
            usage[name], defects = self._book.price_points(
                name, points, scope=self.tenant_id, instant=self._instant
            )
            for defect in defects:
                self._log(defect, frame.start)
        return dataframe.DataFrame(frame.start, frame.end, usage)

    def explain(self, name: str, point: dataframe.DataPoint) -> list[str]:
        found = self._book.matching_rules(name, point, scope=self.tenant_id, instant=self._instant)
        return [rules.describe(rule) for rule in found]

    def amounts(self, name: str, point: dataframe.DataPoint) -> list[formula.Amount]:
        try:
            return self._book.amounts(name, point, scope=self.tenant_id, instant=self._instant)
        except decimal.DecimalException:
            # Then process() adds nothing either.
            return []

    def price_columns(self, usage: ScopePeriods) -> ScopePeriods:
        columns, defects = self._book.price_columns(usage)
        for offset, defect in defects:
            self._log(defect, usage.periods[offset].begin)
        return usage.with_columns(columns)

    def _log(self, defect: rules.Defect, begin: datetime) -> None:
        LOG.error(
            'hashmap: scope %s, period %s, metric %s: %s',
            self.tenant_id,
            begin,
            defect.service,
            defect.reason,
        )
