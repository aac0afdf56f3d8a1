"""Facts are pushed while two processors rate their periods: none is lost, none counts twice."""

import os
import random
import threading
import time
from concurrent import futures
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import yaml

from cloudkitty import db, storage
from cloudkitty.core.metering import facts
from cloudkitty.db import migration
from cloudkitty.processor import service
from cloudkitty.scopes import reprocessing
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import usage
from cloudkitty.tests.conftest import on_database
from cloudkitty.tests.usage import ORIGIN, entry, fact
from cloudkitty.usage.intake import Intake

# 10,000 for a thorough run.
FACTS = int(os.environ.get('CLOUDKITTY_TEST_RACE_FACTS', '400'))
PERIOD_S = 2
CLIENTS = 4
DEADLINE_S = 240


def test_facts_race_with_the_rating_of_their_periods(conf, tmp_path):
    """Their times are around those at which their periods become due."""
    (tmp_path / 'metrics.yml').write_text(
        yaml.safe_dump({'metrics': {'request': {'unit': 'r', 'extra_args': {'kind': 'delta'}}}})
    )
    begin = datetime.now(UTC).replace(microsecond=0)
    for name, value in {
        'period': PERIOD_S,
        'wait_periods': 1,
        'collector': 'metering',
        'metrics_conf': str(tmp_path / 'metrics.yml'),
        'start_date': f'{begin - timedelta(seconds=10):%Y-%m-%dT%H:%M:%S}',
    }.items():
        conf.set_override(name, value, 'collect')
    conf.set_override('backend', 'metering', 'fetcher')
    conf.set_override('max_workers', 2, 'orchestrator')
    conf.set_override('max_workers_reprocessing', 2, 'orchestrator')
    with on_database('postgresql', conf):
        database = db.Database(conf)
        migration.upgrade(database)
        intake = Intake.of(conf, database)
        workers = [service.build(conf, number, clock=_now) for number in range(2)]
        with futures.ThreadPoolExecutor(CLIENTS + 2) as pool:
            running = [pool.submit(parts.worker.run) for parts in workers]
            list(pool.map(lambda number: _push(intake, number, begin), range(CLIENTS)))
            # From here on nothing is new.
            end = _now()
            try:
                _wait_until(lambda: _is_settled(database, workers, end))
            finally:
                for parts in workers:
                    parts.worker.stop()
            for one in running:
                one.result(timeout=60)
        for parts in workers:
            parts.locks.close()
        assert _total(conf, begin) == FACTS // CLIENTS * CLIENTS
        database.engine.dispose()


def _now():
    return datetime.now(UTC)


def _push(intake, number, begin):
    choose = random.Random(number)
    for count in range(FACTS // CLIENTS):
        at = max(_now() - timedelta(seconds=choose.uniform(0, 2 * PERIOD_S)), begin)
        stated = fact(
            facts.to_us(at),
            tag=number * 1_000_000 + count + 1,
            meter='request',
            scope_id=f'p{choose.randrange(3)}',
        )
        assert intake.store([entry(stated)], ORIGIN).accepted == 1
        threading.Event().wait(choose.uniform(0, 0.02))


def _is_settled(database, workers, end):
    """Return whether all that was pushed is rated, and nothing is to be rated again."""
    for parts in workers:
        parts.worker.wake()
    with database.reader() as connection:
        tasks = reprocessing.list_tasks(connection)[1]
        marks = [scope.mark for scope in scope_state.list_scopes(connection)[1]]
    return (
        not usage.lates(database)
        and all(task.current == task.end for task in tasks)
        and bool(marks)
        and min(marks) >= end
    )


def _wait_until(is_done):
    deadline = time.monotonic() + DEADLINE_S
    while not is_done():
        assert time.monotonic() < deadline, 'the processors do not settle'
        threading.Event().wait(0.5)


def _total(conf, begin):
    window = {
        'begin': begin - timedelta(minutes=1),
        'end': begin + timedelta(days=1),
        'paginate': False,
    }
    store = storage.get_driver(conf)
    found = sum(
        (point.qty for frame in store.retrieve(**window)['dataframes'] for _, point in frame),
        Decimal(0),
    )
    store.database.engine.dispose()
    return found
