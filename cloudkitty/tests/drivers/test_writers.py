"""What every output format does, ours and those of other packages."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors, plugins, writer
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.writer import PUSHED, RATED, RatedPeriod, Report, ScopeProgress

MAY = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LONG = Decimal('12345678901234567890.12345678901234567890123456789012345678')


class CountingWriter(writer.BaseReportWriter):
    """A format of another package: the numbers of points, which nobody can import."""

    extension = 'txt'

    def write(self, report, out):
        for period in report.periods:
            out.write(f'{period.scope_id} {sum(1 for _ in period.frame)}\n'.encode())
            yield 1


FORMATS = {
    **{
        name: found
        for name, found in plugins.load_all(writer.NAMESPACE).items()
        if issubclass(found, writer.BaseReportWriter)
    },
    'counting': CountingWriter,
}


@pytest.fixture(params=sorted(FORMATS))
def made(request):
    return FORMATS[request.param]()


def _report():
    points = [
        DataPoint('GiB', LONG, Decimal('-0.1'), {'id': 'x', 'n': 1}, {'name': 'ä\n;='}, 'text'),
        DataPoint('GiB', 2, 3, {}, {}),
    ]
    periods = [
        RatedPeriod('a', RATED, DataFrame(MAY, MAY + HOUR, {'volume': points})),
        RatedPeriod('a', PUSHED, DataFrame(MAY, MAY + HOUR, {'volume': points[1:]})),
        RatedPeriod('b', RATED, DataFrame(MAY + HOUR, MAY + 2 * HOUR, {'cpu': points[:1]})),
    ]
    progress = [
        ScopeProgress('a', 'project_id', 'keystone', 'gnocchi', MAY, True),
        ScopeProgress('b', None, None, None, MAY + HOUR, False),
    ]
    return Report('project_id', progress, iter(periods))


def _written(made):
    sink = io.BytesIO()
    counts = list(made.write(_report(), sink))
    return sink.getvalue(), counts


def test_the_formats_are_installed():
    assert {'csv', 'jsonl', 'osrf', 'parquet'} <= set(writer.names())
    assert all(isinstance(found, type) for found in FORMATS.values())


def test_progress_counts_every_period(made):
    """Whoever shows a bar learns of each of them."""
    content, counts = _written(made)

    assert sum(counts) == 3
    assert content
    assert made.extension


def test_the_same_report_makes_the_same_bytes(made):
    """No clock, no chance: a file can be compared with one made anew."""
    assert _written(made) == _written(made)


def test_what_was_written_is_read_digit_for_digit(made):
    """A format that cannot be read says so."""
    content, _ = _written(made)
    if not made.can_read:
        with pytest.raises(errors.InvalidInput, match='files can only be written'):
            made.read(io.BytesIO(content))
        return

    found = made.read(io.BytesIO(content))

    expected = _report()
    assert (found.scope_key, found.progress) == (expected.scope_key, expected.progress)
    assert list(found.periods) == list(expected.periods)


def test_a_file_cut_short_is_an_error(made):
    """Never a shorter bill."""
    content, _ = _written(made)

    with pytest.raises(errors.InvalidInput):
        list(made.read(io.BytesIO(content[: len(content) // 2])).periods)


def test_an_unknown_origin_is_an_error():
    """A file of a later release, or one changed by hand."""
    made = FORMATS['jsonl']()
    content, _ = _written(made)

    with pytest.raises(errors.InvalidInput, match="'guessed' is no origin"):
        list(made.read(io.BytesIO(content.replace(b'"pushed"', b'"guessed"'))).periods)


def test_an_unknown_format_names_those_that_are_installed():
    with pytest.raises(errors.UnknownDriver, match='csv, focus, focus_parquet, .*jsonl, osrf'):
        writer.get_writer('xls')


def test_a_format_of_statements_holds_no_usage():
    with pytest.raises(errors.InvalidInput, match='focus is a format of statements'):
        writer.get_writer('focus')
