"""The rating module `noop`: changes nothing, and is always there."""

from cloudkitty import dataframe, rating


class Noop(rating.RatingProcessorBase):
    """Hand every frame on as it is."""

    module_name = 'noop'
    description = 'Dummy test module.'

    def process(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        return frame
