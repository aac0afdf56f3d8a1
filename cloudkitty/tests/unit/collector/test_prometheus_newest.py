"""How far back the newest sample of a silent metric is looked for."""

from datetime import datetime, timedelta

import pytest

from cloudkitty.tests import faults, history

HOUR = history.hour(0)


@pytest.mark.parametrize('silent_h, hours', [(0.5, 1), (3, 5), (17, 21), (30, 24), (None, 24)])
def test_a_silent_metric_is_looked_for_in_the_last_hours_first(build, server, silent_h, hours):
    """A query about 100,000 series of a whole day takes a source many seconds."""
    now = HOUR.begin
    sample = None if silent_h is None else now.timestamp() - silent_h * 3600

    def answer(handler, request):
        spans.append([datetime.fromisoformat(request.parameters[one]) for one in ('start', 'end')])
        is_there = sample is not None and spans[-1][0].timestamp() <= sample
        values = [{'metric': {'metric': 'NAME'}, 'values': [[1, str(sample)]]}]
        data = {'resultType': 'matrix', 'result': values if is_there else []}
        faults.as_json({'status': 'success', 'data': data})(handler, request)

    spans = []
    server.answer = faults.in_turn(faults.vector(), *[answer] * 3)

    found = build().newest(['NAME'], since=now - timedelta(days=1), now=now)['NAME']

    is_within = silent_h is not None and silent_h <= 24
    assert (found and found.timestamp()) == (sample if is_within else None)
    # Without a gap, as far as needed.
    assert [end for _, end in spans] == [now, *(begin for begin, _ in spans[:-1])]
    assert spans[-1][0] == now - timedelta(hours=hours)
