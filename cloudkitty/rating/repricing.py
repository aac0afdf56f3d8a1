"""Pricing stored usage again, by other rules of hashmap than those that are stored."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import db, errors, plugins, rating
from cloudkitty.core import dataframe, decimals, timeframe
from cloudkitty.core.pricing.book import RuleBook
from cloudkitty.core.pricing.rules import Rule
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.processor import HashMap
from cloudkitty.rating.modules import ModuleSet


def modules_with(
    conf: cfg.ConfigOpts,
    database: db.Database,
    choose: Callable[[sa.Connection], Iterable[Rule]],
) -> ModuleSet:
    """Return the enabled rating modules, with other rules for hashmap.

    :param choose: returns the rules; called once.
    :raises Conflict: hashmap is not enabled, so it would price nothing.
    """
    with database.reader() as connection:
        if HashMap.module_name not in module_state.list_enabled(connection):
            raise errors.Conflict(reason='The rating module hashmap is not enabled.')
        rule_book = RuleBook(choose(connection))

    class Hypothetical(HashMap):
        @classmethod
        def factory(
            cls, conf: cfg.ConfigOpts, database: db.Database
        ) -> Callable[[str | None], HashMap]:
            return functools.partial(cls, rule_book=rule_book)

    installed: dict[str, type[Any] | BaseException] = {
        **plugins.load_all(rating.NAMESPACE),
        HashMap.module_name: Hypothetical,
    }
    return ModuleSet(conf, database, installed)


def price_again(
    modules: ModuleSet, frame: dataframe.DataFrame, scope_id: str
) -> dataframe.DataFrame:
    """Return a stored frame as it would be rated now."""
    calendar = dataframe.FrozenDict(timeframe.calendar_of(frame.start))
    usage = {
        metric: [
            dataframe.DataPoint.of(point.series, point.qty, decimals.ZERO, calendar)
            for point in points
        ]
        for metric, points in frame.itertypes()
    }
    return modules.rate(dataframe.DataFrame(frame.start, frame.end, usage), scope_id)
