"""Pushed usage is rated by the processor, and rated again when it comes late."""

import dataclasses
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
import yaml
from oslo_config import cfg

from cloudkitty import errors, storage
from cloudkitty.core.metering import facts
from cloudkitty.db import usage_tables
from cloudkitty.fetcher.metering import MeteringFetcher
from cloudkitty.processor import late_usage, service
from cloudkitty.scopes import reprocessing
from cloudkitty.tests import usage
from cloudkitty.tests.usage import HOUR, ORIGIN, entry, fact, life, us
from cloudkitty.usage.intake import Intake

MIDNIGHT = facts.from_us(us(0))
METRICS = {
    'metrics': {
        'volume.size': {'unit': 'GiB', 'extra_args': {'kind': 'state'}},
        'request': {'unit': 'request', 'extra_args': {'kind': 'delta'}},
    }
}


class Cloud:
    """A database, a processor and an intake that share a clock."""

    def __init__(self, conf: cfg.ConfigOpts, database, folder):
        (folder / 'metrics.yml').write_text(yaml.safe_dump(METRICS))
        for group, values in {
            'collect': {
                'collector': 'metering',
                'metrics_conf': str(folder / 'metrics.yml'),
                'wait_periods': 1,
                'start_date': '2024-11-29',
            },
            'fetcher': {'backend': 'metering'},
            'orchestrator': {'max_workers': 1, 'max_workers_reprocessing': 1, 'max_threads': 2},
        }.items():
            for name, value in values.items():
                conf.set_override(name, value, group)
        conf.register_opts(MeteringFetcher.OPTS, MeteringFetcher.GROUP)
        # The fetcher counts from today.
        conf.set_override('since', 36500, MeteringFetcher.GROUP)
        self.conf, self.database = conf, database
        self.now = MIDNIGHT
        self.intake = Intake(database, usage.LIMITS, lambda: self.now)
        self.parts = service.build(conf, 0, clock=lambda: self.now)

    def push(self, *stated, **more):
        """Store facts, none of which is in the future."""
        newest = facts.from_us(max(one.at for one in stated))
        self.now = max(self.now, newest)
        outcome = self.intake.store([entry(one, **more) for one in stated], ORIGIN)
        assert not outcome.rejected
        return outcome

    def rate(self, hours: float) -> None:
        """Set the clock, and work until nothing is left to do."""
        self.now = MIDNIGHT + timedelta(hours=hours)
        for _ in range(4):
            self.parts.worker.turn()
            self.now += timedelta(seconds=45)

    def rated(self) -> dict[tuple[int, str], Decimal]:
        """Return the rated quantity by metric and hour since midnight."""
        found: dict[tuple[int, str], Decimal] = {}
        window = {'begin': MIDNIGHT, 'end': MIDNIGHT + timedelta(days=2), 'paginate': False}
        for frame in storage.get_driver(self.conf).retrieve(**window)['dataframes']:
            for name, point in frame:
                key = ((frame.start - MIDNIGHT) // HOUR, name)
                found[key] = found.get(key, Decimal(0)) + point.qty
        return found

    def tasks(self):
        with self.database.reader() as connection:
            return reprocessing.list_tasks(connection, is_ascending=True)[1]

    def close(self):
        self.parts.locks.close()


@pytest.fixture
def cloud(any_conf, any_database, tmp_path):
    made = Cloud(any_conf, any_database, tmp_path)
    yield made
    made.close()


@pytest.fixture
def small_cloud(conf, database, tmp_path):
    made = Cloud(conf, database, tmp_path)
    yield made
    made.close()


def request(at, quantity, tag):
    return fact(at, quantity, tag=tag, meter='request', unit='request')


def test_usage_is_rated(cloud):
    """Of the scopes that have any, from the begin of rating on."""
    existence = life(us(0.5), us(2.25), '4')
    for one in (existence[0], request(us(1.5), '3', 1), existence[1]):
        cloud.push(one)

    cloud.rate(3.1)

    assert cloud.rated() == {
        (0, 'volume.size'): 2,
        (1, 'volume.size'): 4,
        (2, 'volume.size'): 1,
        (1, 'request'): 3,
    }
    assert cloud.tasks() == []


def test_late_usage_is_rated_again(cloud):
    """Within two turns, and once; what was rated before stays meanwhile."""
    cloud.push(*life(us(0.5), None, '4'), request(us(1.5), '3', 1))
    cloud.rate(4.1)
    before = cloud.rated()
    assert before[2, 'volume.size'] == 4

    outcome = cloud.push(
        fact(us(1.5), None, kind=facts.STATE, stage=facts.END), request(us(1.75), '5', 2)
    )
    assert (outcome.accepted, outcome.late) == (2, 2)
    assert cloud.rated() == before
    cloud.rate(5.1)
    cloud.rate(6.1)

    assert cloud.rated() == {
        (0, 'volume.size'): 2,
        (1, 'volume.size'): 2,
        (1, 'request'): 8,
    }
    assert usage.lates(cloud.database) == []
    assert {task.reason for task in cloud.tasks()} == {'late usage'}
    assert all(task.current == task.end for task in cloud.tasks())


def test_usage_that_is_taken_back_costs_nothing(cloud):
    """Though it was all that its periods had."""
    cloud.push(request(us(1.5), '3', 1), event_id='e')
    cloud.push(request(us(3.5), '1', 2))
    cloud.rate(5.1)
    assert cloud.rated() == {(1, 'request'): 3, (3, 'request'): 1}

    assert cloud.intake.void('s', 'e')
    cloud.rate(6.1)

    assert cloud.rated() == {(3, 'request'): 1}


def test_three_days_late(small_cloud):
    """Everything between is right again; what is older than allowed is refused."""
    cloud = small_cloud
    cloud.push(*life(us(1), None, '4'))
    cloud.rate(72.1)
    late = fact(us(0.5), '2', kind=facts.STATE, stage=facts.BEGIN, resource_id='v2')

    assert cloud.push(late).late == 1
    cloud.rate(73.1)
    cloud.rate(74.1)
    cloud.rate(75.1)

    found = cloud.rated()
    assert (found[0, 'volume.size'], usage.lates(cloud.database)) == (1, [])
    refused = cloud.intake.store([entry(fact(us(0.5) - 36 * 24 * usage.HOUR_US))], ORIGIN)
    assert refused.rejected == {0: 'time is more than 35 days in the past'}


def test_a_scope_that_is_not_rated_yet_keeps_its_late_rows(small_cloud):
    """A worker may be collecting without them; they go once its periods are rated."""
    cloud = small_cloud
    cloud.now = MIDNIGHT + timedelta(hours=3)
    cloud.push(request(us(1.5), '3', 1))
    assert len(usage.lates(cloud.database)) == 1

    cloud.rate(3.1)
    cloud.rate(4.1)
    cloud.rate(5.1)

    assert cloud.rated() == {(1, 'request'): 3}
    assert usage.lates(cloud.database) == []


def test_a_fact_that_comes_while_its_period_is_rated(small_cloud):
    """After the collection and before the commit: it has its period rated again."""
    cloud = small_cloud
    cloud.push(request(us(1.5), '3', 1))
    worker = cloud.parts.worker
    commit = worker._pipeline.commit
    late = [request(us(1.75), '5', 2)]

    def commit_later(batch):
        if late:
            assert cloud.push(late.pop()).late == 1
        return commit(batch)

    worker._pipeline = dataclasses.replace(worker._pipeline, commit=commit_later)
    cloud.rate(3.1)

    assert (late, cloud.rated()) == ([], {(1, 'request'): 8})
    assert [task.reason for task in cloud.tasks()] == ['late usage']


def test_late_usage_that_never_ceases_waits(cloud):
    """For 4 % of the time that it covers; one task covers all that came meanwhile."""
    cloud.push(request(us(0.5), '1', 1))
    cloud.rate(101)
    cloud.push(request(us(0.75), '1', 2), request(us(99.5), '1', 3))
    cloud.rate(101.5)
    assert [task.current == task.end for task in cloud.tasks()] == [True]

    for number, hour in enumerate((1.5, 98.5, 2.5)):
        cloud.push(request(us(hour), '1', 4 + number))
    cloud.rate(102)
    assert len(cloud.tasks()) == 1
    assert usage.lates(cloud.database) == [('p1', us(1.5), us(98.5) + 1)]

    cloud.rate(106)

    assert [task.start for task in cloud.tasks()][1:] == [MIDNIGHT + HOUR]
    assert usage.lates(cloud.database) == []
    # rated() reads two days.
    assert sum(cloud.rated().values()) == 4


def test_little_late_usage_hardly_waits(small_cloud):
    """An hour for 2.4 minutes, though five days were rated again just before."""
    cloud = small_cloud
    cloud.push(request(us(0.5), '1', 1))
    cloud.rate(101)
    cloud.push(request(us(0.75), '1', 2), request(us(99.5), '1', 3))
    cloud.rate(101.5)

    cloud.push(request(us(1.5), '1', 4))
    cloud.rate(102)

    assert len(cloud.tasks()) == 2
    assert usage.lates(cloud.database) == []


def test_late_usage_waits_for_the_task_under_way(small_cloud):
    """However far apart their times are: a scope has one task at a time."""
    cloud = small_cloud
    cloud.push(request(us(0.5), '1', 1))
    cloud.rate(101)
    late = cloud.parts.worker._background_jobs[0]
    cloud.push(request(us(0.75), '1', 2))

    cloud.now += timedelta(minutes=1)
    assert late.step()
    cloud.push(request(us(50.5), '1', 3))
    cloud.now += timedelta(minutes=10)
    assert not late.step()
    cloud.rate(102)
    cloud.rate(103)

    assert len(cloud.tasks()) == 2
    assert usage.lates(cloud.database) == []


def break_hours(cloud, monkeypatch, broken):
    """Let the source fail for periods that begin in hours, which may be changed meanwhile."""
    collector = cloud.parts.worker._pipeline.collector
    collect = collector.collect_columns

    def failing(metric, periods, scopes):
        if any((period.begin - MIDNIGHT) // HOUR in broken for period in periods):
            raise errors.CollectError(collector='metering', reason='broken')
        return collect(metric, periods, scopes)

    monkeypatch.setattr(collector, 'collect_columns', failing)


def spans(cloud):
    """Return the hours of the tasks, and whether they are done."""
    return [
        ((task.start - MIDNIGHT) / HOUR, (task.end - MIDNIGHT) / HOUR, task.current == task.end)
        for task in cloud.tasks()
    ]


def test_a_task_that_fails_does_not_hold_others(cloud, monkeypatch):
    """Later late usage is rated around it; that of its own time waits, and is rated in the end."""
    broken = {1}
    cloud.push(*life(us(0.5), None, '4'), request(us(0.5), '1', 1))
    cloud.rate(6.1)
    break_hours(cloud, monkeypatch, broken)
    cloud.push(request(us(1.5), '1', 2))
    cloud.rate(6.5)
    assert spans(cloud) == [(1, 2, False)]

    cloud.push(request(us(2.5), '1', 3))
    cloud.rate(6.7)
    assert spans(cloud) == [(1, 2, False), (2, 3, True)]
    assert cloud.rated()[2, 'request'] == 1

    # From half past midnight on.
    cloud.push(fact(us(0.75), None, kind=facts.STATE, stage=facts.END))
    cloud.rate(7.5)
    cloud.rate(7.8)
    assert spans(cloud)[2:] == [(0, 1, True), (2, 5, True), (5, 6, True)]
    found = {key: quantity for key, quantity in cloud.rated().items() if key[1] == 'volume.size'}
    assert found == {(0, 'volume.size'): 1, (1, 'volume.size'): 4}
    assert usage.lates(cloud.database) == [('p1', us(1), us(2))]
    with cloud.database.reader() as connection:
        assert reprocessing.count_held(connection) == 1
    assert [task.failure_count > 1 for task in cloud.tasks()[:1]] == [True]

    broken.clear()
    cloud.rate(8)
    cloud.rate(8.5)
    assert usage.lates(cloud.database) == []
    assert all(is_done for _, _, is_done in spans(cloud))
    assert cloud.rated() == {
        (0, 'request'): 1,
        (1, 'request'): 1,
        (2, 'request'): 1,
        (0, 'volume.size'): 1,
    }


def test_tasks_that_fail_are_few(small_cloud, monkeypatch):
    """Then late usage of the scope waits; its rows are merged, but not over what fails."""
    cloud = small_cloud
    monkeypatch.setattr(late_usage, 'HELD_MAX', 2)
    cloud.push(request(us(0.5), '1', 1))
    cloud.rate(30)
    break_hours(cloud, monkeypatch, {2, 4})
    for number, hour in enumerate((2.5, 4.5)):
        cloud.push(request(us(hour), '1', 2 + number))
        cloud.rate(31 + number)

    for number, hour in enumerate((6.5, 2.25, 7.5, 2.75)):
        cloud.push(request(us(hour), '1', 9 + number))
    cloud.rate(34)

    assert spans(cloud) == [(2, 3, False), (4, 5, False)]
    assert usage.lates(cloud.database) == [
        ('p1', us(2.25), us(2.75) + 1),
        ('p1', us(6.5), us(7.5) + 1),
    ]


def test_a_scope_whose_late_usage_cannot_be_read_holds_no_other(small_cloud, caplog):
    """It is logged once, and tried again later each time."""
    cloud = small_cloud
    cloud.push(request(us(0.5), '1', 1))
    cloud.rate(6.1)
    table = usage_tables.late
    beyond = {'scope_id': 'a', 'begin': 9 * 10**18, 'end': 9 * 10**18 + 1, 'received_at': us(6)}
    with cloud.database.writer() as connection:
        connection.execute(sa.insert(table).values(beyond))

    for hour in (1, 2, 3):
        cloud.push(request(us(hour), '1', hour + 1))
        cloud.rate(6.5 + hour)

    assert all(is_done for _, _, is_done in spans(cloud))
    assert [scope_id for scope_id, _, _ in usage.lates(cloud.database)] == ['a']
    logged = [one for one in caplog.records if 'scope a ' in one.getMessage()]
    assert [one.levelname for one in logged] == ['ERROR']
    with cloud.database.writer() as connection:
        connection.execute(sa.delete(table))
    cloud.rate(11)
    assert 'works again' in caplog.text
