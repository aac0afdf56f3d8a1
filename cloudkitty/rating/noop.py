"""The rating module `noop`: changes nothing and is always enabled."""

from cloudkitty import rating
from cloudkitty.core import dataframe
from cloudkitty.core.scope_period import ScopePeriods


class Noop(rating.RatingProcessorBase):
    """Return every frame unchanged."""

    module_name = 'noop'
    description = 'Dummy test module.'

    def process(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        return frame

    def price_columns(self, usage: ScopePeriods) -> ScopePeriods:
        return usage
