"""Prometheus misbehaves in the middle of a run: nothing is lost, nothing doubled, it goes on."""

import pytest

from cloudkitty.tests import faults, history
from cloudkitty.tests.functional import worker_run

UNTIL = worker_run.NOW + worker_run.HOUR


class Clock:
    """Time that only passes while the worker sleeps."""

    def __init__(self):
        self.now = worker_run.NOW

    def __call__(self):
        return self.now


@pytest.fixture
def run(database, tmp_path, prometheus):
    """Return a function that rates everything from a server.

    It returns how many turns the worker took, and what it found stored then.
    """

    def _run(url, timeout_s):
        path = worker_run.write_conf(
            tmp_path,
            prometheus_url=url,
            batch_periods=1,
            timeout_s=timeout_s,
            connection=f'sqlite:///{database.engine.url.database}',
        )
        conf = worker_run.load_conf(path)
        worker_run.clear(database)
        clock = Clock()
        worker = worker_run.build(conf, clock).worker
        turns = 0
        while clock.now < UNTIL and turns < 60:
            clock.now = max(worker.turn(), clock.now)
            turns += 1
        return turns, worker_run.results(conf)

    return _run


FAULTS = {
    'down': faults.reset,
    'slow': faults.hang,
    'slower': faults.drip,
    'error 500': faults.text('Internal error', status=500),
    'error 503': faults.error('unavailable', 'starting', status=503),
    'error 404': faults.text('Not found', status=404),
    'error object': faults.error('execution', 'too many samples', status=422),
    'bad query': faults.error('bad_data', 'parse error', status=400),
    'error object with status 200': faults.error('timeout', 'too slow', status=200),
    'truncated': faults.truncated,
    'no JSON': faults.text('<html>login</html>'),
    'other JSON': faults.as_json({'status': 'success', 'data': {'result': [{'metric': 7}]}}),
    'huge': faults.huge,
}


@pytest.mark.parametrize('fault', FAULTS)
def test_the_run_recovers_from_a_fault_in_its_middle(run, prometheus, fault):
    whole = faults.pass_on(prometheus.url)
    timeout_s = 0.5 if fault.startswith('slow') else 10
    with faults.FaultyServer(whole) as server:
        _, expected = run(server.url, timeout_s)
        asked = len(server.requests)
        assert asked >= history.HOURS * len(worker_run.METRICS)
        assert len(expected['points']) > 30

        # More often than all threads together try again at once.
        server.answer = faults.in_turn(
            *[whole] * 5, *[FAULTS[fault]] * 16, *[whole] * 5, *[FAULTS[fault]] * 3, whole
        )
        turns, found = run(server.url, timeout_s)

    assert found == expected
    assert turns > 1
