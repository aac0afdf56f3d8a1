"""What a reader gets to see, whatever the storage."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors, report
from cloudkitty.core.dataframe import DataFrame, DataPoint

NOW = datetime(2024, 3, 31, 12, tzinfo=UTC)
MARCH = datetime(2024, 3, 1, tzinfo=UTC)
APRIL = datetime(2024, 4, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ADMIN = report.Viewer(is_admin=True, project_id='admin')
READER = report.Viewer(is_admin=False, project_id='p1')


class RecordingStorage:
    """Answers with what it was made with, and keeps what it was asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = None

    def total(self, **question):
        self.asked = question
        return self.answer

    def retrieve(self, **question):
        self.asked = question
        return self.answer


EVERYTHING = report.Selection()


def _summary(viewer, selection=EVERYTHING, rows=(), **kwargs):
    storage = RecordingStorage({'total': len(rows), 'results': list(rows)})
    table = report.Report(storage, 'project_id').summary(viewer, selection, now=NOW, **kwargs)
    return storage.asked, table


@pytest.mark.parametrize(
    'given, bounds',
    [
        ({}, (MARCH, APRIL)),
        ({'begin': MARCH + HOUR}, (MARCH + HOUR, APRIL)),
        ({'end': MARCH}, (MARCH, MARCH)),
    ],
)
def test_each_bound_defaults_to_the_month_in_utc(given, bounds):
    asked, _ = _summary(ADMIN, report.Selection(**given))

    assert (asked['begin'], asked['end']) == bounds


@pytest.mark.parametrize(
    'filters, seen',
    [
        (None, {'project_id': ['p1']}),
        ({'project_id': ['p2']}, {'project_id': ['p1']}),
        ({'project_id': ['p1', 'p2']}, {'project_id': ['p1']}),
        ({'id': ['x']}, {'id': ['x'], 'project_id': ['p1']}),
    ],
)
def test_the_scope_of_a_reader_replaces_every_filter_on_it(filters, seen):
    asked, _ = _summary(READER, report.Selection(filters=filters))

    assert asked['filters'] == seen


def test_an_admin_is_not_filtered():
    asked, _ = _summary(ADMIN, report.Selection(filters={'id': ['x']}))

    assert asked['filters'] == {'id': ['x']}


def test_the_filter_type_chooses_metrics():
    asked, _ = _summary(ADMIN, report.Selection(filters={'type': ['cpu', 'ip']}))

    assert asked['metric_types'] == ['cpu', 'ip']
    assert asked['filters'] is None


def test_columns_come_in_one_order_whatever_the_storage_says():
    """begin, end, measures, groups in the order asked for; `time` makes no column."""
    row = {
        'type': 'cpu',
        'month': '3',
        'rate': Decimal(2),
        'qty': Decimal(1),
        'end': APRIL,
        'begin': MARCH,
    }

    asked, table = _summary(ADMIN, rows=[row], groupby=['time-m', 'type', 'time', 'type'])

    assert asked['groupby'] == ['time-m', 'type', 'time']
    assert table.columns == ['begin', 'end', 'qty', 'rate', 'month', 'type']
    assert table.rows == [row]


@pytest.mark.parametrize('name', ['', 'time-x', 'time-', 'time-dd', 'begin', 'rate'])
def test_a_group_that_is_none_is_refused(name):
    with pytest.raises(errors.InvalidInput):
        _summary(ADMIN, groupby=[name])


@pytest.mark.parametrize('name', ['up-time', 'time-a-b', 'timed', 'id'])
def test_a_group_that_only_looks_like_a_time_is_an_attribute(name):
    row = {'begin': MARCH, 'end': APRIL, 'qty': Decimal(1), 'rate': Decimal(2), name: 'x'}

    asked, table = _summary(ADMIN, rows=[row], groupby=[name])

    assert asked['groupby'] == [name]
    assert table.columns == ['begin', 'end', 'qty', 'rate', name]


def test_frames_of_a_period_are_one():
    point = DataPoint('u', 1, 1, {}, {})
    frames = [
        DataFrame(MARCH + HOUR, MARCH + 2 * HOUR, {'b': [point]}),
        DataFrame(MARCH, MARCH + HOUR, {'a': [point]}),
        DataFrame(MARCH + HOUR, MARCH + 2 * HOUR, {'a': [point], 'b': [point]}),
    ]
    storage = RecordingStorage({'total': 4, 'dataframes': frames})

    total, merged = report.Report(storage, 'project_id').frames(ADMIN, report.Selection(), NOW)

    assert total == 4
    assert merged == [
        DataFrame(MARCH, MARCH + HOUR, {'a': [point]}),
        DataFrame(MARCH + HOUR, MARCH + 2 * HOUR, {'a': [point], 'b': [point] * 2}),
    ]


@pytest.mark.parametrize(
    'viewer, sees_nothing',
    [
        (ADMIN, False),
        (READER, False),
        (report.Viewer(True, None), False),
        (report.Viewer(False, None), True),
        (report.Viewer(False, ''), True),
    ],
)
def test_a_reader_without_a_project_sees_nothing(viewer, sees_nothing):
    assert viewer.sees_nothing is sees_nothing


def test_without_a_limit_everything_is_asked_for():
    asked, _ = _summary(ADMIN, report.Selection(limit=None))

    assert asked['paginate'] is False


def test_scopes_are_those_with_points_that_name_one():
    rows = [{'project_id': ''}, {'project_id': 'p1'}, {'project_id': 'p2'}]
    storage = RecordingStorage({'total': 3, 'results': rows})

    found = report.Report(storage, 'project_id').scopes(ADMIN, report.Selection(limit=None), NOW)

    assert found == ['p1', 'p2']
    assert storage.asked['groupby'] == ['project_id']


def test_a_frame_is_split_by_metric_and_scope():
    """A scope may stand in metadata; points that name none are together."""
    first, second = (DataPoint('u', number, 1, {'project_id': 'p1'}, {}) for number in (1, 2))
    other = DataPoint('u', 1, 1, {}, {'project_id': 'p0'})
    nameless = DataPoint('u', 1, 1, {}, {})
    frame = DataFrame(MARCH, MARCH + HOUR, {'cpu': [first, other, second], 'net': [nameless]})

    parts = report.split([frame], 'project_id')

    assert [part[2:] for part in parts] == [
        ('p0', 'cpu', [other]),
        ('p1', 'cpu', [first, second]),
        (None, 'net', [nameless]),
    ]
    assert {part[:2] for part in parts} == {(MARCH, MARCH + HOUR)}
