"""kill -9 of the processor at any moment: after a restart the data is that of a quiet run."""

import os
import random
import signal

import pytest
import sqlalchemy as sa

from cloudkitty.tests.functional import worker_run

KILLS = {'sqlite': 50, 'postgresql': 12, 'mysql': 12}


def live(path, *, kill_at, **options):
    """Work in a process of its own until nothing is due.

    :param kill_at: number of the SQL statement or commit before which the process is killed;
        None: it is not.
    :returns: number of statements and commits of all the work; None: the process was killed.
    """
    told, tells = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(tells, str(_work(path, kill_at, options)).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(tells)
    with open(told) as answer:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return None
        assert status == 0
        return int(answer.read())


def _work(path, kill_at, options):
    done = 0

    def count(*arguments):
        nonlocal done
        done += 1
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.engine.Engine, 'before_cursor_execute', count)
    sa.event.listen(sa.engine.Engine, 'commit', count)
    conf = worker_run.load_conf(path)
    for name, value in options.items():
        conf.set_override(name, value, 'orchestrator')
    worker_run.build(conf).worker.turn()
    return done


@pytest.mark.timeout(600)
def test_a_killed_processor_loses_nothing_and_doubles_nothing(any_database, tmp_path, prometheus):
    path = worker_run.write_conf(
        tmp_path,
        prometheus_url=prometheus.url,
        connection=any_database.engine.url.render_as_string(False),
    )
    conf = worker_run.load_conf(path)
    worker_run.clear(any_database)
    any_database.engine.dispose()
    # In the smallest steps, so that a life comes further than where the one before it was killed.
    statements = live(path, kill_at=None, batch_periods=1, batch_scopes=1)
    expected = worker_run.results(conf)
    assert len(expected['points']) > 30
    choose = random.Random(20240501)

    kills, rounds, has_ended = 0, 0, True
    while kills < KILLS[any_database.engine.dialect.name] or not has_ended:
        if has_ended:
            worker_run.clear(any_database)
            any_database.engine.dispose()
            rounds += 1
        life = live(
            path,
            kill_at=choose.randint(1, statements),
            batch_periods=choose.choice([1, 2, 24]),
            batch_scopes=choose.choice([1, 100]),
        )
        has_ended = life is not None
        kills += not has_ended
        if has_ended:
            assert worker_run.results(conf) == expected
    assert rounds > 1
