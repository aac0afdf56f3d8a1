"""Prometheus metrics of the API: requests by route, summed over all its processes."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import prometheus_client
from oslo_config import cfg
from oslo_middleware import request_id
from prometheus_client import exposition
from prometheus_client.core import GaugeMetricFamily, Metric

from cloudkitty import errors, version
from cloudkitty.api import hooks, openapi, root
from cloudkitty.telemetry import shared_registry
from cloudkitty.usage import entries

# Value of the label for unknown paths and methods, to bound the cardinality.
OTHER = 'other'
# Buckets of the histogram of response times: upper bounds, seconds.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


def counted(application, conf: cfg.ConfigOpts):
    """Return *application* with request metrics, unchanged if metrics are disabled.

    :raises ConfigurationError: [api]metrics_folder cannot be used.
    """
    if not conf.api.metrics_folder:
        return application
    folder = Path(conf.api.metrics_folder)
    try:
        folder.mkdir(exist_ok=True)
        shared_registry.share(folder, shared_registry.Slots(folder).number)
    except OSError as exc:
        raise errors.ConfigurationError(
            reason=f'[api]metrics_folder: {folder}: {exc.strerror}'
        ) from exc
    registry = shared_registry.read(folder)
    registry.register(Build())
    show = request_id.RequestId(exposition.make_wsgi_app(registry), conf)
    return RequestCount(application, root.RootController().description['paths'], show)


class Build:
    """What runs here, with a name of its own: alerts miss that of the processor when it is away."""

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily(
            'cloudkitty_api_build_info', 'What runs here.', labels=['version']
        )
        build.add_metric([version.version_string()], 1)
        return [build]


class Routes:
    """Finds the template of a path, such as `/v2/rating/modules/{module_id}`.

    :param templates: all templates.
    """

    def __init__(self, templates: Iterable[str]):
        self._tree: dict = {}
        for template in templates:
            node = self._tree
            for segment in _segments(template):
                node = node.setdefault('*' if segment.startswith('{') else segment, {})
            # Segments are never empty.
            node[''] = template

    def find(self, path: str) -> str:
        """Return the template of *path*, or OTHER."""
        return _find(self._tree, _segments(path)) or OTHER


def _segments(path):
    return path.strip('/').split('/') if path.strip('/') else []


def _find(node, segments):
    if not segments:
        return node.get('')
    return next(
        (
            found
            for name in (segments[0], '*')
            if name and name in node and (found := _find(node[name], segments[1:]))
        ),
        None,
    )


class RequestCount:
    """Middleware that counts requests and serves the metrics.

    :param templates: templates of all paths.
    :param show: WSGI application that serves the metrics of all processes.
    """

    def __init__(self, application, templates: Mapping[str, object], show):
        self._application = application
        self._routes = Routes(templates)
        self._show = show
        registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            'cloudkitty_api_requests',
            'Requests answered.',
            ['method', 'route', 'status'],
            registry=registry,
        )
        self._times = prometheus_client.Histogram(
            'cloudkitty_api_request_duration_seconds',
            'How long the answers took.',
            ['method', 'route'],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._refused_usage = prometheus_client.Counter(
            'cloudkitty_api_refused_usage',
            'Usage refused because its project has pushed too much, by the option that limits it.',
            ['limit'],
            registry=registry,
        )
        # rate() and increase() only see a counter rise that existed before.
        for option in entries.OWN_OPTIONS:
            self._refused_usage.labels(option)

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
            for option, refused in environ.get(hooks.REFUSED_USAGE, {}).items():
                self._refused_usage.labels(option).inc(refused)
