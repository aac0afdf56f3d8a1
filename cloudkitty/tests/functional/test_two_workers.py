"""Two workers that no lock keeps apart: the mark of each scope decides."""

import threading

import pytest
import sqlalchemy as sa

from cloudkitty.db import tables
from cloudkitty.tests.functional import worker_run


@pytest.mark.parametrize('batch_periods', [1, 2])
def test_two_workers_at_once_store_what_one_stores(
    any_database, tmp_path, prometheus, batch_periods
):
    """They ask, rate and commit the same periods at the same time, on one database."""
    paths = []
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        # Each has a lock service of its own, which is as good as none.
        paths.append(
            worker_run.write_conf(
                tmp_path / name,
                prometheus_url=prometheus.url,
                batch_periods=batch_periods,
                connection=any_database.engine.url.render_as_string(False),
            )
        )
    confs = [worker_run.load_conf(path) for path in paths]
    worker_run.clear(any_database)
    worker_run.build(confs[0]).worker.turn()
    expected = worker_run.results(confs[0])
    worker_run.clear(any_database)
    start = threading.Barrier(2)
    failures = []

    def work(conf):
        worker = worker_run.build(conf).worker
        start.wait(30)
        try:
            worker.turn()
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(conf,)) for conf in confs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert worker_run.results(confs[0]) == expected
    # The same again would be no harm to what is stored, and is work that no lock saved.
    with any_database.reader() as connection:
        assert (
            connection.execute(sa.select(sa.func.max(tables.rated_frames.c.revision))).scalar_one()
            == 1
        )
