"""A worker as the service builds it removes what is too old, while it rates or cannot."""

from datetime import timedelta

import pytest

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests.functional import worker_run
from cloudkitty.tests.functional.worker_run import HOUR, NOW


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.mark.parametrize('hours, points', [(None, 20), (48, 2)])
def test_points_older_than_the_option_says_go(database, tmp_path, hours, points):
    path = worker_run.write_conf(
        tmp_path,
        connection=f'sqlite:///{database.engine.url.database}',
        # Nobody is there: nothing new is rated.
        prometheus_url='http://127.0.0.1:9/api/v1',
    )
    if hours:
        path.write_text(f'{path.read_text()}\n[storage]\nretention_period = {hours}\n')
    conf = worker_run.load_conf(path)
    store = SQLStorage(conf)
    days = [NOW - timedelta(days=day) for day in range(1, 21)]
    store.push(
        [
            DataFrame(
                begin, begin + HOUR, {'cpu': [DataPoint('u', 1, 2, {'project_id': 'alpha'}, {})]}
            )
            for begin in days
        ],
        'alpha',
    )
    clock = Clock()
    parts = worker_run.build(conf, clock)

    parts.worker.turn()
    clock.now += HOUR
    parts.worker.turn()

    assert store.retrieve(days[-1], NOW)['total'] == points
    # Whole days; the sums are all there.
    (whole,) = store.total([], days[-1].replace(hour=0), NOW.replace(hour=0))['results']
    assert whole['rate'] == 40
    parts.database.close()
    store.database.close()
