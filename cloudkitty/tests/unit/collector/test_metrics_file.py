"""The metric definition file, from the disk to the collector."""

import pytest

from cloudkitty import collector, errors, plugins
from cloudkitty import conf as configuration
from cloudkitty.collector.prometheus import PrometheusCollector


@pytest.fixture
def metrics_file(conf, tmp_path):
    """Return what writes the metric definition file that the configuration names."""
    path = tmp_path / 'metrics.yml'
    conf.set_override('metrics_conf', str(path), 'collect')
    conf.set_override('collector', 'prometheus', 'collect')

    def write(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(conf):
    """Return the text of the error with which no collector is made."""
    with pytest.raises(errors.ConfigurationError) as caught:
        collector.get_driver(conf)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    'content, text',
    [
        ('', 'metrics must be a mapping of metric names to definitions, at least one, not None.'),
        ('# nothing\n', 'metrics must be a mapping'),
        ('metrics: {cpu: [}', 'no valid YAML: while parsing'),
        (
            'metrics:\n  cpu: {unit: x}\n  cpu: {unit: y}\n',
            'no valid YAML: while reading a mapping',
        ),
        ('metrics: {cpu: {unit: x}, cpu: {unit: y}}', "found 'cpu' twice"),
        ('metrics: {cpu: {unit: x, unit: y}}', "found 'unit' twice"),
        ('metrics: {cpu: {unit: 2024-13-45}}', 'no valid YAML: month must be in 1..12'),
        ('metrics: {[a]: {unit: x}}', 'no valid YAML: while constructing a mapping'),
        (
            'metrics: !!python/object:os.system {}',
            'no valid YAML: could not determine a constructor',
        ),
        (b'metrics: {cpu: {unit: \xff}}', 'no valid YAML:'),
        (b'\0\1\2', 'no valid YAML: unacceptable character'),
        ('[' * 5000, 'no valid YAML:'),
        ('just text', "the file must hold the key metrics, not 'just text'."),
        ('metrics: {cpu: {}}', "metric 'cpu': the key unit is missing."),
        ('metrics: {cpu: {unit: x, factor: .nan}}', "metric 'cpu': factor must be a finite number"),
        ('metrics: {cpu: {unit: x, factor: .inf}}', "metric 'cpu': factor must be a finite number"),
        (
            'metrics: {cpu: {unit: x, extra_args: null}}',
            "metric 'cpu': extra_args must be a mapping",
        ),
        (
            'metrics: {image.size: {unit: x}}',
            "metric 'image.size': this is no name of a Prometheus metric; "
            'for names of Prometheus 3 set utf8_names in extra_args.',
        ),
        (
            'metrics: {cpu: {unit: x, groupby: [a.b]}}',
            "metric 'cpu': 'a.b' in groupby or metadata is",
        ),
        (
            'metrics: {cpu: {unit: x, metadata: [a-b]}}',
            "metric 'cpu': 'a-b' in groupby or metadata",
        ),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(conf, metrics_file, content, text):
    path = metrics_file(content)

    message = refusal(conf)

    assert message.startswith(f'{path}: ')
    assert text in message


@pytest.mark.parametrize(
    'path, text',
    [
        ('/nonexistent/metrics.yml', '/nonexistent/metrics.yml: No such file or directory'),
        ('/', '/: Is a directory'),
    ],
)
def test_a_file_that_cannot_be_read_is_named(conf, metrics_file, path, text):
    conf.set_override('metrics_conf', path, 'collect')

    assert refusal(conf) == text


def test_a_collector_has_the_definitions_of_the_file(conf, metrics_file):
    """They are named by their internal keys, anchors are followed, and defaults are filled in."""
    metrics_file('metrics: {cpu: &a {unit: x}, ram: {<<: *a, unit: MiB, alt_name: memory}}')
    configuration.register_driver(conf, 'collector_prometheus', PrometheusCollector.OPTS)
    conf.set_override('prometheus_url', 'http://127.0.0.1:9/api/v1', 'collector_prometheus')

    found = collector.get_driver(conf).conf

    assert list(found) == ['cpu', 'ram@#memory']
    assert found['ram@#memory'].unit == 'MiB'
    assert found['cpu'].extra_args == {
        'aggregation_method': 'max',
        'query_prefix': '',
        'query_suffix': '',
    }


@pytest.mark.parametrize(
    'extra_args, text',
    [
        (
            '{aggregation_method: last}',
            'aggregation_method must be one of avg, count, max, min, '
            "stddev, stdvar, sum, not 'last'.",
        ),
        ('{aggregation_method: null}', 'aggregation_method must be one of'),
        (
            '{query_function: sin}',
            'query_function must be one of abs, ceil, exp, floor, ln, log2, '
            "log10, round, sqrt, not 'sin'.",
        ),
        (
            '{range_function: max}',
            'range_function must be one of changes, delta, deriv, idelta, '
            "increase, irate, rate, not 'max'.",
        ),
        ('{range_function: irange}', 'range_function must be one of'),
        ('{query_prefix: 5}', 'query_prefix must be text, not 5.'),
        ('{query_suffix: [x]}', "query_suffix must be text, not ['x']."),
        (
            '{resource_type: x}',
            "has the unknown key 'resource_type'; allowed: aggregation_method, "
            'query_function, range_function, query_prefix, query_suffix, matchers, utf8_names, '
            'health, measure, resource_key, parts, scrape_interval, plus, minus, times, '
            'divided_by.',
        ),
        ('{measure: total}', 'measure must be one of seen, share, time_weighted, mean, max, incr'),
        ('{resource_key: id}', 'resource_key needs the key measure'),
        ('{parts: [a]}', 'parts needs the key measure'),
        ('{minus: a}', 'minus needs the key measure'),
        ('{measure: max, resource_key: 5}', 'resource_key must be a list of attribute names'),
        ('{measure: max, scrape_interval: 0}', 'scrape_interval must be a whole number, 1 or m'),
        ('{measure: max, minus: a b}', "minus must be the name of a metric, not 'a b'"),
        ('{measure: max, minus: a, plus: b}', 'minus does not go with plus'),
        ('{measure: max, range_function: rate}', 'range_function does not go with measure'),
        (
            '{measure: max, aggregation_method: count}',
            "must be one of max, min, avg, sum with measure, not 'count'",
        ),
        ('{measure: share, parts: [a]}', "parts does not go with measure 'share', which takes"),
        ('{measure: seen, minus: a}', "minus does not go with measure 'seen', which takes"),
        ('{measure: seen, aggregation_method: sum}', "does not go with measure 'seen', which"),
    ],
)
def test_wrong_parameters_of_prometheus_are_refused(conf, metrics_file, extra_args, text):
    metrics_file(f'metrics: {{cpu: {{unit: x, extra_args: {extra_args}}}}}')

    message = refusal(conf)

    assert "metric 'cpu': extra_args " in message
    assert text in message


@pytest.mark.parametrize(
    'definition, text',
    [
        (
            'extra_args: {measure: share, resource_key: id}',
            "'id' is in resource_key, so it must be in groupby, too.",
        ),
        (
            'metadata: [port], extra_args: {measure: max, parts: port}',
            "'port' is in parts, so it must not be in groupby or metadata.",
        ),
    ],
)
def test_attributes_that_do_not_go_with_the_measure_are_refused(
    conf, metrics_file, definition, text
):
    metrics_file(f'metrics: {{cpu: {{unit: x, {definition}}}}}')

    assert f"metric 'cpu': {text}" in refusal(conf)


def test_a_scope_key_must_be_a_label(conf, metrics_file):
    metrics_file('metrics: {cpu: {unit: x}}')
    conf.set_override('scope_key', 'project-id', 'collect')

    assert "'project-id' in groupby or metadata is no name of a Prometheus label" in refusal(conf)


def test_an_unknown_collector_names_those_there_are(conf):
    conf.set_override('collector', 'crystal-ball', 'collect')

    assert refusal(conf) == (
        "[collect]collector: no driver is named 'crystal-ball'; allowed: "
        f'{", ".join(plugins.names(collector.NAMESPACE))}, or any name with a section '
        '[collector_crystal-ball] that has the option driver.'
    )
