"""A rating module: what is used on Saturdays and Sundays costs less, or more."""

import functools
from decimal import Decimal, InvalidOperation

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors, rating
from cloudkitty.core.dataframe import DataFrame

SATURDAY = 5


class Weekend(rating.RatingProcessorBase):
    """Multiplies the price so far; give it a lower priority than the module that makes prices."""

    module_name = 'weekend'
    description = 'Multiplies the prices of Saturdays and Sundays (UTC) by a factor.'
    GROUP = 'rating_weekend'
    OPTS = [cfg.StrOpt('factor', default='0.5', help='Factor for prices, a decimal number.')]

    def __init__(self, tenant_id=None, factor=Decimal(1)):
        super().__init__(tenant_id)
        self.factor = factor

    @classmethod
    def factory(cls, conf, database):
        options = configuration.register_driver(conf, cls.GROUP, cls.OPTS)
        try:
            factor = Decimal(options.factor)
        except InvalidOperation as exc:
            raise errors.ModuleLoadError(
                module=cls.module_name, reason=f'[{cls.GROUP}]factor is not a number'
            ) from exc
        return functools.partial(cls, factor=factor)

    def process(self, frame: DataFrame) -> DataFrame:
        # The price of a period depends on that period alone, however often it is rated.
        if frame.start.weekday() < SATURDAY:
            return frame
        return DataFrame(
            frame.start,
            frame.end,
            {
                name: [point.set_price(point.price * self.factor) for point in points]
                for name, points in frame.itertypes()
            },
        )
