"""The rating module `hashmap`: prices from rules that are kept in the database."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from cloudkitty import dataframe, rating
from cloudkitty.db.hashmap import rules as db_rules
from cloudkitty.rating.hashmap import book

LOG = logging.getLogger(__name__)


class HashMap(rating.RatingProcessorBase):
    """Price the points of a scope.

    :param rule_book: the rules, shared by all scopes.
    """

    module_name = 'hashmap'
    description = 'HashMap rating module.'
    hot_config = True
    config_controller = 'cloudkitty.api.v1.hashmap:HashMapController'

    def __init__(self, tenant_id: str | None = None, *, rule_book: book.RuleBook):
        super().__init__(tenant_id)
        self._book = rule_book
        self._instant = datetime.now(UTC)

    @classmethod
    def factory(cls, conf, database) -> Callable[[str | None], 'HashMap']:
        with database.reader() as connection:
            rule_book = book.RuleBook(db_rules.load(connection))
        return lambda tenant_id=None: cls(tenant_id, rule_book=rule_book)

    def reload_config(self, start: datetime | None = None) -> None:
        self._instant = start or datetime.now(UTC)

    def process(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        usage = {}
        for name, points in frame.itertypes():
            usage[name], defects = self._book.price_points(
                name, points, scope=self.tenant_id, instant=self._instant)
            for defect in defects:
                LOG.error('hashmap: scope %s, period %s, metric %s: %s',
                          self.tenant_id, frame.start, defect.service, defect.reason)
        return dataframe.DataFrame(frame.start, frame.end, usage)
