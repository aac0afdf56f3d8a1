"""What the API counts for Prometheus: requests by route, in all its processes together."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import prometheus_client
from oslo_config import cfg
from oslo_middleware import request_id
from prometheus_client import exposition

from cloudkitty import errors, figures
from cloudkitty.api import hooks, openapi, root

# A label's value for whatever a caller may invent.
OTHER = 'other'
# Upper bounds of the times of answers, seconds.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


def counted(application, conf: cfg.ConfigOpts):
    """Return *application* with its requests counted, as it is if nobody shall see the figures.

    :raises ConfigurationError: the processes cannot count in [api]metrics_folder.
    """
    if not conf.api.metrics_folder:
        return application
    folder = Path(conf.api.metrics_folder)
    try:
        folder.mkdir(exist_ok=True)
        figures.share(folder, figures.Slots(folder).number)
    except OSError as exc:
        raise errors.ConfigurationError(
            reason=f'[api]metrics_folder: {folder}: {exc.strerror}') from exc
    show = request_id.RequestId(exposition.make_wsgi_app(figures.read(folder)), conf)
    return RequestCount(application, root.RootController().description['paths'], show)


class Routes:
    """Finds the template of a path, such as `/v2/rating/modules/{module_id}`.

    :param templates: all there are.
    """

    def __init__(self, templates: Iterable[str]):
        self._tree: dict = {}
        for template in templates:
            node = self._tree
            for segment in _segments(template):
                node = node.setdefault('*' if segment.startswith('{') else segment, {})
            # No segment is empty.
            node[''] = template

    def find(self, path: str) -> str:
        """Return the template of *path*, or OTHER."""
        return _find(self._tree, _segments(path)) or OTHER


def _segments(path):
    return path.strip('/').split('/') if path.strip('/') else []


def _find(node, segments):
    if not segments:
        return node.get('')
    return next((found for name in (segments[0], '*') if name and name in node
                 and (found := _find(node[name], segments[1:]))), None)


class RequestCount:
    """Counts requests, and answers Prometheus.

    :param templates: of all paths there are.
    :param show: WSGI application that shows what all processes have counted.
    """

    def __init__(self, application, templates: Mapping[str, object], show):
        self._application = application
        self._routes = Routes(templates)
        self._show = show
        registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            'cloudkitty_api_requests', 'Requests answered.', ['method', 'route', 'status'],
            registry=registry)
        self._times = prometheus_client.Histogram(
            'cloudkitty_api_seconds', 'How long the answers took.', ['method', 'route'],
            buckets=BUCKETS_S, registry=registry)

    def __call__(self, environ, start_response):
        path = environ.get('PATH_INFO', '')
        if path == openapi.FIGURES:
            return self._show(environ, start_response)
        begin = time.monotonic()
        method = environ['REQUEST_METHOD']
        labels = (method if method in hooks.METHODS else OTHER, self._routes.find(path))

        def start(status, *rest):
            self._requests.labels(*labels, status[:3]).inc()
            return start_response(status, *rest)

        try:
            return self._application(environ, start)
        finally:
            self._times.labels(*labels).observe(time.monotonic() - begin)
