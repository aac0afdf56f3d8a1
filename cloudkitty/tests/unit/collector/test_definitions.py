"""The metric definition file, from the disk to the collector."""

import pytest

from cloudkitty import collector, errors, plugins


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
    """Return the text of the error, which is the same for those who collect and those who don't."""
    texts = []
    for load in collector.get_driver, collector.get_definitions:
        with pytest.raises(errors.ConfigurationError) as caught:
            load(conf)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert '\n' not in texts[0]
    return texts[0]


@pytest.mark.parametrize('content, text', [
    ('', 'metrics must be a mapping of metric names to definitions, at least one, not None.'),
    ('# nothing\n', 'metrics must be a mapping'),
    ('metrics: {cpu: [}', 'no valid YAML: while parsing'),
    ('metrics:\n  cpu: {unit: x}\n  cpu: {unit: y}\n', "no valid YAML: while reading a mapping"),
    ('metrics: {cpu: {unit: x}, cpu: {unit: y}}', "found 'cpu' twice"),
    ('metrics: {cpu: {unit: x, unit: y}}', "found 'unit' twice"),
    ('metrics: {cpu: {unit: 2024-13-45}}', 'no valid YAML: month must be in 1..12'),
    ('metrics: {[a]: {unit: x}}', 'no valid YAML: while constructing a mapping'),
    ('metrics: !!python/object:os.system {}', 'no valid YAML: could not determine a constructor'),
    (b'metrics: {cpu: {unit: \xff}}', 'no valid YAML:'),
    (b'\0\1\2', 'no valid YAML: unacceptable character'),
    ('[' * 5000, 'no valid YAML:'),
    ('just text', "the file must hold the key metrics, not 'just text'."),
    ('metrics: {cpu: {}}', "metric 'cpu': the key unit is missing."),
    ('metrics: {cpu: {unit: x, factor: .nan}}', "metric 'cpu': factor must be a finite number"),
    ('metrics: {cpu: {unit: x, factor: .inf}}', "metric 'cpu': factor must be a finite number"),
    ('metrics: {cpu: {unit: x, extra_args: null}}', "metric 'cpu': extra_args must be a mapping"),
    ('metrics: {image.size: {unit: x}}',
     "metric 'image.size': this is no name of a Prometheus metric."),
    ('metrics: {cpu: {unit: x, groupby: [a.b]}}', "metric 'cpu': 'a.b' in groupby or metadata is"),
    ('metrics: {cpu: {unit: x, metadata: [a-b]}}', "metric 'cpu': 'a-b' in groupby or metadata"),
])
def test_a_wrong_file_is_one_line_that_names_it(conf, metrics_file, content, text):
    path = metrics_file(content)

    message = refusal(conf)

    assert message.startswith(f'{path}: ')
    assert text in message


@pytest.mark.parametrize('path, text', [
    ('/nonexistent/metrics.yml', '/nonexistent/metrics.yml: No such file or directory'),
    ('/', '/: Is a directory'),
])
def test_a_file_that_cannot_be_read_is_named(conf, metrics_file, path, text):
    conf.set_override('metrics_conf', path, 'collect')

    assert refusal(conf) == text


def test_definitions_can_be_had_without_the_source(conf, metrics_file):
    """The API needs the names, and no option of the collector."""
    metrics_file('metrics: {cpu: &a {unit: x}, ram: {<<: *a, unit: MiB, alt_name: memory}}')

    found = collector.get_definitions(conf)

    assert list(found) == ['cpu', 'ram@#memory']
    assert found['ram@#memory'].unit == 'MiB'
    assert found['cpu'].extra_args == {
        'aggregation_method': 'max', 'query_prefix': '', 'query_suffix': ''}


@pytest.mark.parametrize('extra_args, text', [
    ('{aggregation_method: last}', 'aggregation_method must be one of avg, count, max, min, '
                                   "stddev, stdvar, sum, not 'last'."),
    ('{aggregation_method: null}', 'aggregation_method must be one of'),
    ('{query_function: sin}', 'query_function must be one of abs, ceil, exp, floor, ln, log2, '
                              "log10, round, sqrt, not 'sin'."),
    ('{range_function: increase}', 'range_function must be one of changes, delta, deriv, idelta, '
                                   "irate, rate, not 'increase'."),
    ('{range_function: irange}', 'range_function must be one of'),
    ('{query_prefix: 5}', 'query_prefix must be text, not 5.'),
    ('{query_suffix: [x]}', "query_suffix must be text, not ['x']."),
    ('{resource_type: x}', "has the unknown key 'resource_type'; allowed: aggregation_method, "
                           'query_function, range_function, query_prefix, query_suffix.'),
])
def test_wrong_parameters_of_prometheus_are_refused(conf, metrics_file, extra_args, text):
    metrics_file(f'metrics: {{cpu: {{unit: x, extra_args: {extra_args}}}}}')

    message = refusal(conf)

    assert "metric 'cpu': extra_args " in message
    assert text in message


def test_a_scope_key_must_be_a_label(conf, metrics_file):
    metrics_file('metrics: {cpu: {unit: x}}')
    conf.set_override('scope_key', 'project-id', 'collect')

    assert "'project-id' in groupby or metadata is no name of a Prometheus label" in refusal(conf)


def test_an_unknown_collector_names_those_there_are(conf):
    conf.set_override('collector', 'crystal-ball', 'collect')

    assert refusal(conf) == (
        "[collect]collector: no driver is named 'crystal-ball'; allowed: "
        f'{", ".join(plugins.names(collector.NAMESPACE))}, or any name with a section '
        '[collector_crystal-ball] that has the option driver.')
