"""Sums by series are added for several periods at once, and every answer is exact meanwhile."""

import contextlib
import decimal
import functools
import itertools
import os
import random
import signal
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty.core import block, timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.decimals import SUM_CONTEXT
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import Replacement, ScopeBatch
from cloudkitty.storage.v2.series.faults import list_scopes
from cloudkitty.storage.v2.sql import LEFT, SQLStorage, folding, rebuild, verify
from cloudkitty.tests.stored import keys, marks

STEP = timedelta(hours=6)
BEGIN = datetime(2024, 4, 29, tzinfo=UTC)
END = datetime(2024, 6, 1, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'fetcher', 'collector')
SCOPES = ('a', 'b', 'c')
# How often a process is killed, see the last test.
KILLS = int(os.environ.get('CLOUDKITTY_TEST_KILLS', '24'))
GROUPS = (
    (),
    ('type',),
    ('project_id',),
    ('department',),
    ('type', 'project_id', 'department'),
    ('day_of_the_year',),
    ('day_of_the_year', 'department'),
    ('time',),
)
# Periods that are rated again may begin before the first one.
FIRST = BEGIN - 4 * STEP
WHOLE = (['department'], FIRST, END)


@pytest.fixture
def storage(any_database, any_conf):
    with prepared(any_conf, fold_periods=4) as opened:
        yield opened


@pytest.fixture
def sql(database, conf):
    """A store on SQLite, for what no database decides."""
    with prepared(conf, fold_periods=4) as opened:
        yield opened


@contextlib.contextmanager
def prepared(conf, fold_periods):
    conf.set_override('period', 6 * 3600, 'collect')
    conf.set_override('fold_periods', fold_periods, 'storage')
    storage = SQLStorage(conf)
    with storage.database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, SCOPES, now=BEGIN, initial_mark=BEGIN - STEP, final_mark=BEGIN
        )
    yield storage
    storage.database.close()


def frame(name, begin, price=1):
    """Return two points of two departments, one of which other scopes have, too."""
    return DataFrame(
        begin,
        begin + STEP,
        {
            'cpu': [
                DataPoint('u', n + 1, price, {'project_id': name, 'department': department}, {})
                for n, department in enumerate(('all', f'of {name}'))
            ]
        },
    )


def commit(storage, name, periods, price=1):
    """Store the next periods of a scope."""
    assert storage.commit([next_part(storage, name, periods, price)]) == []


def next_part(storage, name, periods, price=1, *, is_idle=False):
    """Return the next periods of a scope, to be stored."""
    mark = marks(storage)[name]
    begins = [mark + number * STEP for number in range(1, periods + 1)]
    frames = [] if is_idle else [frame(name, one, price) for one in begins]
    return ScopeBatch(keys(storage)[name], name, mark, begins[-1], frames)


def with_exact_sums(function):
    """Let *function* add without rounding."""

    @functools.wraps(function)
    def run(*arguments):
        with decimal.localcontext(SUM_CONTEXT):
            return function(*arguments)

    return run


def unfolded(storage):
    """Return the begins of the frames that are not folded, by scope."""
    with storage.database.reader() as connection:
        rows = connection.execute(
            sa.select(tables.rated_scopes.c.identifier, folding.FRAMES.c.begin)
            .join(folding.UNFOLDED, folding.IS_UNFOLDED)
            .join(tables.rated_scopes, tables.rated_scopes.c.id == folding.FRAMES.c.scope_id)
        ).all()
    found = {}
    for name, begin in rows:
        found.setdefault(name, []).append(begin)
    return found


def decoded_points(storage):
    """Yield the points of all blocks: groups by name, and the price."""
    with storage.database.reader() as connection:
        entries = {
            row.id: verify.series_ids.entry_of(row)
            for row in connection.execute(sa.select(tables.rated_series))
        }
        frames = connection.execute(sa.select(tables.rated_frames)).all()
    for row in frames:
        begin = timeframe.from_naive(row.begin)
        for number, _, price in zip(*block.decode(row.block), strict=True):
            yield {
                **entries[number].series.groupby,
                'type': entries[number].metric,
                'time': begin,
                **timeframe.calendar_of(begin),
                'price': price,
            }


def decoded(storage):
    """Return (price, points) by department, as the blocks say."""
    return {name: sums for (name,), sums in grouped(storage, ('department',)).items()}


@with_exact_sums
def grouped(storage, names):
    """Return (price, points) by some of the groups, as the blocks say."""
    prices, points = Counter(), Counter()
    for point in decoded_points(storage):
        key = tuple(point[name] for name in names)
        prices[key] += point['price']
        points[key] += 1
    return {key: (prices[key], points[key]) for key in points}


@with_exact_sums
def check(storage):
    """Make sure that all answers are those of the blocks, and all tables right."""
    right = decoded(storage)
    found = storage.total(*WHOLE, custom_fields='sum(price) AS rate, count(price) AS points')[
        'results'
    ]
    assert {row['department']: (row['rate'], row['points']) for row in found} == right
    shown = storage.total(*WHOLE, offset=1, limit=2)
    assert shown['total'] == len(right)
    assert [row['department'] for row in shown['results']] == sorted(right)[1:3]
    # Bounds that cut days on both sides.
    cut = storage.total(['department'], FIRST + 5 * STEP, END - STEP)['results']
    first = storage.total(['department'], FIRST, FIRST + 5 * STEP)['results']
    parts = Counter()
    for row in (*cut, *first):
        parts[row['department']] += row['rate']
    assert parts == Counter({name: price for name, (price, _) in right.items()})
    for name, (_, points) in list(right.items())[:1]:
        page = storage.retrieve(FIRST, END, {'department': name}, offset=points // 2, limit=2)
        assert page['total'] == points
        shown = sum(len(members) for one in page['dataframes'] for _, members in one.itertypes())
        assert shown == min(2, points - points // 2)
    assert faults(storage) == []


def faults(storage):
    with storage.database.reader() as connection:
        found = list_scopes(connection, None)
    return [str(fault) for scope in found for fault in verify.check(storage.database, scope)]


def test_scopes_take_turns():
    """Of four scopes one is folded each period, and each of them in every fourth."""
    due = [
        [
            folding.is_due(number, BEGIN + turn * STEP, BEGIN + (turn + 1) * STEP, 21600, 4)
            for number in range(4)
        ]
        for turn in range(8)
    ]

    assert [sum(turn) for turn in due] == [1] * 8
    assert due[:4] == due[4:]
    assert all(folding.is_due(number, BEGIN, BEGIN + 4 * STEP, 21600, 4) for number in range(9))
    assert all(folding.is_due(number, BEGIN, BEGIN + STEP, 21600, 1) for number in range(9))


def test_single_periods_wait_and_long_batches_do_not(sql):
    commit(sql, 'a', 5)
    assert unfolded(sql) == {}
    seen = []
    for _ in range(7):
        commit(sql, 'a', 1)
        seen.append(len(unfolded(sql).get('a', ())))
    # Whenever its turn comes, the scope has no unfolded frame, and one more after each period.
    assert sorted(seen[-4:]) == [0, 1, 2, 3]
    check(sql)
    # The totals by scope and metric never wait.
    with sql.database.reader() as connection:
        assert connection.scalar(sa.select(sa.func.sum(tables.rated_totals.c.points))) == 24


def test_periods_without_usage_fold_the_scope_when_its_turn_comes(storage):
    """And a scope that never used anything has no row but its mark."""
    commit(storage, 'a', 5)
    while 'a' not in unfolded(storage):
        commit(storage, 'a', 1)
    before = marks(storage)
    for _ in range(4):
        parts = [next_part(storage, name, 1, is_idle=name != 'b') for name in SCOPES]
        assert storage.commit(parts) == []
        check(storage)

    assert 'a' not in unfolded(storage)
    assert marks(storage) == {name: mark + 4 * STEP for name, mark in before.items()}
    with storage.database.reader() as connection:
        known = connection.execute(sa.select(tables.rated_scopes.c.identifier)).scalars()
        assert set(known) == {'a', 'b'}


def test_every_answer_is_exact_whatever_happens(storage):
    dice = random.Random(storage.database.engine.dialect.name)
    for turn in range(24):
        name = dice.choice(SCOPES)
        mark = marks(storage)[name]
        deed = dice.choice(('commit', 'commit', 'commit', 'commit', 'more', 'replace', 'push',
                            'delete', 'reset', 'left', 'idle'))  # fmt: skip
        back = mark - dice.randrange(4) * STEP
        if deed == 'commit':
            commit(storage, name, 1, Decimal(turn) / 7)
        elif deed == 'more':
            commit(storage, name, dice.randrange(2, 6))
        elif deed == 'left':
            storage.fold(back + LEFT)
        elif deed == 'idle':
            assert storage.commit([next_part(storage, name, 2, is_idle=True)]) == []
        elif back >= BEGIN:
            deeds = {'push': push, 'replace': replace, 'delete': delete, 'reset': reset}
            deeds[deed](storage, name, back)
        check(storage)


def push(storage, name, begin):
    storage.push([frame(name, begin, Decimal('-0.25'))])


def replace(storage, name, end):
    """Rate the four periods before *end* again; the first one has no points any more."""
    begin = end - 4 * STEP
    storage.database.write(
        lambda connection: scope_reprocessing.create(
            connection, [name], identity=IDENTITY, window=Period(begin, end), reason='test'
        )
    )
    with storage.database.reader() as connection:
        task = scope_reprocessing.list_tasks(connection)[1][-1]
    frames = [DataFrame(begin, begin + STEP, {})]
    frames += [frame(name, begin + n * STEP, Decimal('0.3')) for n in range(1, 4)]
    part = ScopeBatch(keys(storage)[name], name, begin - STEP, end - STEP, frames)
    assert storage.replace([Replacement(task.id, None, end - STEP, part)]) == []


def delete(storage, name, begin):
    storage.delete(begin, begin + STEP, {'project_id': name})


def reset(storage, name, mark):
    key = keys(storage)[name]
    storage.database.write(lambda connection: resets.order(connection, [key], mark, now=END))
    assert storage.reset(resets.Reset(key, name, mark))


@pytest.mark.parametrize('deed', [delete, reset, replace])
def test_what_waits_is_folded_before_it_is_removed(sql, deed):
    """Else it would be subtracted from sums that never had it."""
    commit(sql, 'a', 5)
    while len(unfolded(sql).get('a', ())) < 2:
        commit(sql, 'a', 1)

    deed(sql, 'a', marks(sql)['a'])

    check(sql)


def test_frames_after_the_mark_do_not_wait(sql):
    """An import may have stored them; they are folded, so those before them must be, too."""
    sql.push([frame('a', BEGIN + 2 * STEP)], 'a')
    sql.push([frame('b', BEGIN + STEP)], 'b')
    commit(sql, 'a', 1)
    assert unfolded(sql) == {}
    commit(sql, 'b', 1)
    for _ in range(2):
        commit(sql, 'a', 1)
        commit(sql, 'b', 1)
    check(sql)


def test_what_is_left_is_folded(sql):
    for name in SCOPES:
        for _ in range(3):
            commit(sql, name, 1)
    assert unfolded(sql)
    now = BEGIN + LEFT

    assert sql.fold(now) is False
    assert unfolded(sql)
    assert sql.fold(now + 3 * STEP) is False

    assert unfolded(sql) == {}
    check(sql)


def test_points_that_exceed_the_retention_are_folded_first(sql):
    commit(sql, 'a', 1)
    commit(sql, 'b', 2)
    before = sql.total(*WHOLE)
    sql.conf.set_override('retention_period', 24, 'storage')
    now = END

    assert sql.expire(now) is False
    assert sql.total(*WHOLE) == before
    while sql.expire(now + timedelta(hours=2)):
        pass

    assert unfolded(sql) == {}
    with sql.database.reader() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.rated_frames)) == 0
    assert sql.total(*WHOLE) == before
    assert faults(sql) == []


def test_sums_are_rebuilt_without_what_waits(sql):
    for _ in range(7):
        commit(sql, 'a', 1)
    with sql.database.writer() as connection:
        connection.execute(sa.update(tables.rated_days).values(price=7))
        connection.execute(sa.update(tables.rated_totals).values(points=77))
        found = list_scopes(connection, None)
    assert len(faults(sql)) > 2

    for make in (rebuild.rebuild_days, rebuild.rebuild_totals):
        for scope in found:
            assert not [one.left for one in make(sql.database, scope) if one.left]

    check(sql)


def test_a_reader_never_misses_or_doubles_a_period(storage):
    """Neither in a snapshot nor in the transaction of a statement, while scopes are folded."""
    done, wrong, answers = threading.Event(), [], []
    commit(storage, 'a', 1)

    def read():
        while not done.is_set():
            with storage.database.reader() as connection:
                rows = storage.sums(connection, ['department'], Period(FIRST, END), {})
            for found in (rows, storage.total(*WHOLE)['results']):
                # Each period has one point of price 1 in both departments.
                if len({row['rate'] for row in found}) != 1 or len(found) != 2:
                    wrong.append(found)
                answers.append(found[0]['rate'])

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(25):
            commit(storage, 'a', 1)
    finally:
        done.set()
        thread.join()

    assert wrong == []
    assert answers == sorted(answers)
    assert storage.total(*WHOLE)['results'][0]['rate'] == 26


def test_periods_that_are_folded_between_two_statements_are_not_missed(storage, any_conf):
    """They are in no sums for the first one, and are no longer unfolded for the second one."""
    commit(storage, 'a', 1)
    assert unfolded(storage)
    rival, folded = SQLStorage(any_conf), []

    def fold(connection, cursor, statement, *rest):
        if 'rated_unfolded' in statement and 'block' in statement and not folded:
            folded.append(rival.fold(END))

    sa.event.listen(storage.database.engine, 'before_cursor_execute', fold)
    try:
        with storage.database.reader() as connection:
            found = storage.sums(connection, ['department'], Period(FIRST, END), {})
    finally:
        sa.event.remove(storage.database.engine, 'before_cursor_execute', fold)
        rival.database.close()

    assert folded and not unfolded(storage)
    assert {row['department']: row['rate'] for row in found} == {'all': 1, 'of a': 1}


def check_groups(storage):
    """Make sure that totals by any grouping are those of the blocks."""
    for names in GROUPS:
        found = storage.total(
            list(names), FIRST, END, custom_fields='sum(price) AS rate, count(price) AS points'
        )['results']
        shown = {
            tuple(row['begin' if name == 'time' else name] for name in names): (
                row['rate'],
                row['points'],
            )
            for row in found
        }
        assert shown == grouped(storage, names), names


def killed(deed, conf, at):
    """Do *deed* in a process that is killed before its statement or commit number *at*.

    Returns whether it was; else it is done.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = [at]

    def count(*_):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        storage = SQLStorage(conf)
        for event in ('before_cursor_execute', 'commit'):
            sa.event.listen(storage.database.engine, event, count)
        deed(storage)
    finally:
        # Neither the connections nor the test belong to this process.
        os._exit(0)


def commit_all(storage):
    """Store a period of each scope: the sums of some wait, others are folded."""
    assert storage.commit([next_part(storage, name, 1) for name in SCOPES]) == []


def leave_idle(storage):
    assert storage.commit([next_part(storage, name, 1, is_idle=True) for name in SCOPES]) == []


def fold_all(storage):
    storage.fold(END + LEFT)


def test_a_process_killed_at_any_statement_leaves_every_answer(any_database, any_conf):
    """Whether it stores, folds what it stores, or folds what was left.

    CLOUDKITTY_TEST_KILLS=200 kills it at every statement.
    """
    with prepared(any_conf, fold_periods=2) as storage:
        commit_all(storage)
        kills, step = Counter(), max(1, 200 // KILLS)
        deeds = itertools.cycle((fold_all, commit_all, leave_idle, commit_all, commit_all))
        for turn, deed in enumerate(deeds):
            at = turn % step + 1
            while killed(deed, any_conf, at):
                check_groups(storage)
                kills[deed] += 1
                at += step
            check_groups(storage)
            if kills.total() >= KILLS:
                break

        assert kills.keys() == {fold_all, commit_all, leave_idle}
        assert faults(storage) == []
