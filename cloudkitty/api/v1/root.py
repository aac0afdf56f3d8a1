"""`/v1`: which controller answers which path."""

import pecan
import webob.exc

from cloudkitty.api import rest
from cloudkitty.api.v1 import collector, info, rating, report, storage


class V1Controller(rest.Node):
    """Children of `/v1`; `billing` is an old name of `rating`."""

    def __init__(self):
        rating_controller = rating.RatingController()
        self._children = {
            'billing': rating_controller,
            'rating': rating_controller,
            'collector': collector.CollectorController(),
            'info': info.InfoController(),
            'report': report.ReportController(),
            'storage': storage.StorageController(),
        }

    def mounts(self):
        return self._children

    @pecan.expose()
    def _route(self, segments, request):
        child = self._children.get(segments[0])
        if child is None:
            raise webob.exc.HTTPNotFound()
        return rest.descend(child, segments[1:], request)
