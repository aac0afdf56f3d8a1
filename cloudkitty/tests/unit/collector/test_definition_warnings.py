"""What `cloudkitty-metrics check` says of valid definitions that may be meant otherwise."""

import pytest

from cloudkitty.collector import definition_warnings
from cloudkitty.collector.prometheus import PrometheusCollector


def warnings_of(**definition):
    """Return the texts about a metric for Prometheus."""
    conf = {'metrics': {'cpu': {'unit': 'u', **definition}}}
    (metric,) = PrometheusCollector.check_configuration(conf, 'project_id').values()
    return [
        text
        for _, text in (
            *definition_warnings.of_attributes(metric),
            *definition_warnings.of_prometheus(metric),
        )
    ]


@pytest.mark.parametrize('name', ['type', 'time', 'begin', 'end', 'qty', 'rate'])
def test_a_group_that_no_report_can_have_is_told(name):
    (text,) = warnings_of(groupby=[name])

    assert f'reports cannot group by {name!r}' in text
    assert warnings_of(metadata=[name]) == []


@pytest.mark.parametrize('name', ['month', 'year', 'week_of_the_year', 'day_of_the_year'])
def test_an_attribute_that_the_calendar_hides_is_told(name):
    for key in ('groupby', 'metadata'):
        (text,) = warnings_of(**{key: [name]})
        assert 'of the period takes the place' in text


@pytest.mark.parametrize(
    'matcher, is_told',
    [
        ('status=~"ACTIVE|SHUTOFF"', True),
        ('status="ACTIVE"', True),
        ('vm_state =~ "active"', True),
        ('status!="SHELVED_OFFLOADED"', False),
        ('status!~"DELETED"', False),
        ('status=""', False),
        ('flavor="status"', False),
    ],
)
def test_a_list_of_what_is_charged_is_told(matcher, is_told):
    found = warnings_of(extra_args={'matchers': [matcher], 'measure': 'share'})

    assert ['it lists what is charged' in text for text in found] == [True] * is_told


@pytest.mark.parametrize(
    'prefix, suffix, names',
    [
        ('', '* 2 > 0', []),
        ('clamp_max(', ', 5e3) * Inf', []),
        ('', '* on (project_id) group_left (flavor, region) price_info{a="x b"}', ['price_info']),
        ('scalar(vector(1)) *', '/ scalar(node:cores:sum offset 5m)', ['node:cores:sum']),
        ('', 'and on() up{job="a"} == bool 1 unless cpu[5m]', ['up']),
        ('sum by (project_id) (', ' - avg_over_time(free_gb[1h:5m] @ 1609746000))', ['free_gb']),
    ],
)
@pytest.mark.parametrize('measure', [{}, {'measure': 'mean'}])
def test_another_metric_in_a_query_is_told(prefix, suffix, names, measure):
    """Nobody looks for its holes."""
    found = warnings_of(extra_args={'query_prefix': prefix, 'query_suffix': suffix, **measure})

    assert [text.partition(', ')[0].split()[-1] for text in found] == names


@pytest.mark.parametrize('method', ['max', 'min', 'avg'])
def test_a_map_of_one_number_for_the_whole_period_is_told(method):
    """An average of two states is no state at all."""
    (text,) = warnings_of(
        mutate='MAP', mutate_map={0: 1}, extra_args={'aggregation_method': method}
    )

    assert text.startswith(f'the {method} of the period decides alone')
