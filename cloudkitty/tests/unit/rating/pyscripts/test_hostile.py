"""A script that fails, in whatever way, is an error that names it; the worker goes on."""

import os
import pathlib
import select
import subprocess
import sys
import time
from concurrent import futures

import pytest

from cloudkitty import errors
from cloudkitty.rating.pyscripts import host
from cloudkitty.tests.unit.rating.pyscripts.conftest import LIMITS, MIB, frame, point, script

BILL = "for item in data['usage']['m']: item['rating']['price'] += 1"
FIRST = "item = data['usage']['m'][0]\n"
AS_ROOT = os.geteuid() == 0

# Source, and what the log says of it.
BAD = {
    'syntax': ('return 0', "SyntaxError in line 1: 'return' outside function"),
    'nul': ('a = "\0"', 'source code string cannot contain null bytes'),
    'exception': ('\n1 / 0', 'ZeroDivisionError in line 2: division by zero'),
    'name': ('scope_id', "NameError in line 1: name 'scope_id' is not defined"),
    'exit': ('raise SystemExit(3)', 'SystemExit in line 1: 3'),
    'sys.exit': ('import sys; sys.exit()', 'SystemExit in line 1'),
    'interrupt': ('raise KeyboardInterrupt', 'KeyboardInterrupt in line 1'),
    'os._exit': ('import os; os._exit(3)', 'its process ended, status 3'),
    'crash': ('import os; os.kill(os.getpid(), 11)', 'its process ended, status 11'),
    'recursion': ('def f(): f()\nf()', 'RecursionError in line 1: maximum recursion depth'),
    'deep source': ('(' * 90 + ')' * 90 + '+1' * 90000, 'Error'),
    'memory': ("a = ['x'] * (10 << 30)", 'MemoryError'),
    'many objects': ('a = []\nwhile True: a.append(bytearray(1 << 20))', 'MemoryError'),
    'odd error': ('class E(Exception):\n  def __str__(self): raise E\nraise E', 'E in line 3: '),
    'no data': ('del data', 'no frame: data is NoneType, not a dict'),
    'list': ('data = [1]', 'no frame: data is list, not a dict'),
    'unknown key': ("data['scope'] = 1", 'no frame: data must hold period and usage'),
    'no usage': ("del data['usage']", 'no frame: data must hold period and usage'),
    'usage': ("data['usage'] = [1]", 'no frame: usage is list, not a dict'),
    'period': ("data['period']['end'] = data['period']['begin']", 'the period of data was changed'),
    'no period': ("data['period'] = 7", 'the period of data was changed'),
    'points': ("data['usage']['m'] = 'ab'", "usage of 'm' must be a list of points"),
    'a point': ("data['usage']['m'] = [1]", 'point must be a mapping, not 1'),
    'not iterable': ("data['usage']['m'] = 5", "'int' object is not iterable"),
    'point key': (FIRST + "item['desc'] = {}", 'point has unknown keys: desc'),
    'no vol': (FIRST + "del item['vol']", 'point lacks vol'),
    'price null': (FIRST + "item['rating']['price'] = None", 'None is not a number'),
    'price text': (FIRST + "item['rating']['price'] = 'much'", "'much' is not a number"),
    'price nan': (FIRST + "item['rating']['price'] = float('nan')", 'is not a finite number'),
    'price huge': (FIRST + "item['rating']['price'] = 10 ** 20", 'price is too big: 1.000e+20'),
    'price huger': (FIRST + "item['rating']['price'] = '9e999999'", 'an exponent beyond 400'),
    'qty huge': (FIRST + "item['vol']['qty'] = 10 ** 20", 'qty is too big: 1.000e+20'),
    'unit null': (FIRST + "item['vol']['unit'] = None", 'vol.unit must be text, not None'),
    'unit long': (FIRST + "item['vol']['unit'] = 'x' * 256", 'vol.unit must be text of 1 to 255'),
    'groupby': (FIRST + "item['groupby'] = 7", 'groupby must be a mapping'),
    'attribute': (FIRST + "item['metadata']['x'] = {1, 2}", 'set, which is no JSON value'),
    'attribute nan': (FIRST + "item['metadata']['x'] = float('inf')", 'not JSON compliant'),
    'attribute int': (FIRST + "item['metadata']['x'] = 2 ** 70", 'cannot be stored'),
    'attribute text': (FIRST + "item['metadata']['x'] = '\\ud800'", 'cannot be stored'),
    'attribute name': (FIRST + "item['metadata']['x' * 256] = 1", 'the name of an attribute must'),
    'attribute nul': (FIRST + "item['metadata']['\\0'] = 1", 'the name of an attribute must'),
    'scope': (FIRST + "item['groupby']['project_id'] = 'x' * 257", 'project_id names no scope'),
    'no scope': (FIRST + "item['groupby']['project_id'] = None", 'project_id names no scope'),
    'scope of two lines': (
        FIRST + "item['groupby']['project_id'] = 'p\\n1'",
        'project_id names no scope',
    ),
    'circle': (FIRST + "item['metadata']['x'] = item['metadata']", 'Circular reference'),
    'metric name': ("data['usage'][''] = data['usage']['m']", 'the name of a metric must be text'),
    'metric long': ("data['usage']['x' * 256] = data['usage']['m']", 'the name of a metric must'),
    'many points': ("data['usage']['m'] *= 100_001", 'far more points than it was given'),
    'long answer': (
        FIRST + "item['metadata']['x'] = 'x' * (3 << 20)",
        'exceed [rating_pyscripts]output_limit',
    ),
    'long file': (
        "import os\nfile = os.memfd_create('x')\nwhile True: os.write(file, b'x' * (1 << 20))",
        'OSError in line 3: [Errno 27] File too large',
    ),
    'fork': ('import os\nwhile True: os.fork()', 'BlockingIOError in line 2'),
    'thread': ('import threading\nthreading.Thread(target=print).start()', "can't start new"),
    'program': ("import subprocess\nsubprocess.run(['true'])", 'BlockingIOError in line 2'),
    'rubbish in the answer': (
        "import os\nfor n in range(3, 9):\n  try: os.write(n, b'\\0\\0\\0\\1{')\n"
        '  except OSError: pass',
        'the answer is not a valid message',
    ),
    # It waits, so that its own answer alone is there to be read.
    'forged answer': (
        "import os, time\nbody = b'x' * 16 + b'{\"usage\": {}}'\nfor n in range(3, 9):\n"
        "  try: os.write(n, len(body).to_bytes(4, 'big') + body)\n  except OSError: pass\n"
        'time.sleep(99)',
        'the answer is not a valid message',
    ),
    'kill the parent': (
        'import os; os.kill(os.getppid(), 9); raise ValueError',
        'PermissionError in line 1' if AS_ROOT else 'in line 1',
    ),
}


def own_lines(caplog):
    """Return what we logged; threads that other tests left behind log as well."""
    return [record.message for record in caplog.records if record.name.startswith('cloudkitty')]


@pytest.mark.parametrize('name', BAD)
def test_a_bad_script_is_told_and_logged_once(pool, caplog, name):
    """The error names the script, and the next frame is not touched by it."""
    source, said = BAD[name]
    bad = script(source, name)
    given = frame(point())

    for _ in range(2):
        with pytest.raises(errors.PriceScriptFailed) as caught:
            pool.rate(given, BILL, bad, BILL)
        assert f'Script {name!r} (id of {name}) failed: ' in str(caught.value)
        assert said in str(caught.value)
        assert [one.price for _, one in pool.rate(given, BILL, BILL)] == [2]

    lines = [line for line in caplog.messages if f'Script {name} (id of {name})' in line]
    assert len(lines) == 1, lines
    assert said in lines[0]
    assert 'period 2024-05-01 12:00:00+00:00, scope p' in lines[0]


def test_a_script_that_hangs_is_ended(make_pool):
    pool = make_pool(time_s=0.3)
    begin = time.monotonic()
    with pytest.raises(errors.PriceScriptFailed, match=r'time: it did not finish within 0\.3 s'):
        pool.rate(frame(point()), BILL, 'while True: pass', BILL)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    'source',
    [
        'import time; time.sleep(999)',
        'while True:\n  try:\n    while True: pass\n  except: pass',
        'import signal\nfor n in range(1, 65):\n  try: signal.signal(n, signal.SIG_IGN)\n'
        '  except (OSError, ValueError): pass\nsignal.sigwait([1])',
        'import os; os.kill(os.getpid(), 19)',
        '9 ** 9 ** 9',
        "data['usage'] = {'m': (x for x in iter(int, 1))}",
    ],
)
def test_nothing_that_hangs_survives(make_pool, source):
    pool = make_pool(time_s=0.3)
    given = frame(point())
    process = pool.host._ready()
    with pytest.raises(errors.PriceScriptFailed):
        pool.rate(given, source)
    assert process._popen.poll() is not None
    assert [one.price for _, one in pool.rate(given, BILL)] == [1]


def test_a_script_that_hangs_for_one_scope_prices_the_others(make_pool):
    """However often it hangs: nobody is rated without it."""
    pool = make_pool(time_s=0.3)
    slow = script(
        "while data['usage']['m'][0]['groupby'].get('name') == 'slow': pass\n" + BILL, 'slow'
    )
    for _ in range(5):
        with pytest.raises(errors.PriceScriptFailed, match="Script 'slow'"):
            pool.rate(frame(point(name='slow')), slow)
        assert [one.price for _, one in pool.rate(frame(point()), slow)] == [1]


def test_the_process_knows_no_secret(make_pool, monkeypatch, tmp_path):
    """No environment, no open file, no argument and no terminal of the worker is there."""
    monkeypatch.setenv('OS_PASSWORD', 'secret')
    with open(tmp_path / 'held', 'w') as held:
        os.set_inheritable(held.fileno(), True)
        rated = make_pool().rate(
            frame(point()),
            FIRST
            + (
                'import os, sys\n'
                "links = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')\n"
                "         if os.path.lexists(f'/proc/self/fd/{n}')]\n"
                "item['metadata'] = {'environ': dict(os.environ), 'links': links,\n"
                "    'cwd': os.getcwd(),\n"
                "    'user': os.getuid(), 'groups': os.getgroups(), 'modules': list(sys.modules)}\n"
                "print('to nobody'); sys.stderr.write('to nobody'); sys.stdin.read()"
            ),
        )
    seen = rated.usage['m'][0].metadata
    assert 'secret' not in str(seen)
    assert set(seen['environ']) <= {*host.ENVIRONMENT, 'LC_CTYPE'}
    assert sorted({link.partition(':')[0] for link in seen['links']}) == ['/dev/null', 'pipe']
    assert len([link for link in seen['links'] if link.startswith('pipe')]) == 2
    assert not [name for name in seen['modules'] if name.startswith(('cloudkitty', 'sqlalchemy'))]
    if AS_ROOT:
        assert (seen['user'], seen['groups']) == (65534, [])
    assert seen['cwd'] == '/'


@pytest.mark.parametrize(
    'source',
    [
        'import decimal; decimal.getcontext().prec = 3',
        'import sys; sys.setrecursionlimit(60)',
        'import decimal; decimal.setcontext(decimal.Context(prec=2))',
        'import signal; signal.alarm(1)',
        'item = data["usage"]["m"][0]; leftover = 5',
    ],
)
def test_nothing_is_left_to_the_next_script(pool, source):
    third = FIRST + (
        "from decimal import Decimal\nassert 'leftover' not in globals()\n"
        'def deep(n): return n and deep(n - 1)\ndeep(300)\n'
        "item['rating']['price'] = Decimal(1) / 3"
    )
    rated = pool.rate(frame(point()), source, third)
    assert str(rated.usage['m'][0].price) == '0.' + '3' * 28


def test_what_earlier_runs_left_in_memory_is_no_reason_to_fail(make_pool, caplog):
    """The script is run again in a new process."""
    pool = make_pool(memory_bytes=128 * MIB)
    hoarding = (
        "import string\nif not hasattr(string, 'kept'): string.kept = []\n"
        'string.kept.append(bytearray(20 << 20))'
    )
    assert len({_process_of(pool, hoarding) for _ in range(12)}) > 1
    assert not own_lines(caplog)


def test_a_process_that_died_between_two_frames_is_replaced(make_pool, caplog):
    pool = make_pool()
    for _ in range(2):
        assert [one.price for _, one in pool.rate(frame(point()), BILL)] == [1]
        pool.host._process._popen.kill()
        os.kill(_runner_of(pool), 9)
    assert not own_lines(caplog)


def _process_of(pool, *scripts):
    """Return the id of the process that runs the last of some scripts, which tells it itself."""
    telling = "import os\nfor item in data['usage']['m']: item['rating']['price'] = os.getpid()"
    ((_, one),) = pool.rate(frame(point()), *scripts, telling)
    return int(one.price)


def _runner_of(pool):
    info = pathlib.Path(f'/proc/self/fdinfo/{pool.host._process._runner}').read_text()
    return int(next(line for line in info.splitlines() if line.startswith('Pid:')).split()[1])


def test_the_process_goes_when_the_worker_forgets_it(make_pool):
    pool = make_pool()
    pool.rate(frame(point()), BILL)
    popen = pool.host._process._popen
    pool.host.stop()
    assert popen.poll() is not None


def test_the_process_ends_with_the_worker():
    """Even if the worker is killed while a script runs."""
    worker = subprocess.Popen([sys.executable, '-c', WORKER], stdout=subprocess.PIPE, text=True)
    pid = int(worker.stdout.readline())
    runner = os.pidfd_open(pid)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    assert select.select([runner], [], [], 30)[0]
    os.close(runner)


WORKER = """
import os, pathlib
from cloudkitty.tests.unit.rating.pyscripts import conftest
pool = conftest.Pool(conftest.LIMITS._replace(time_s=600))
process = pool.host._ready()
info = pathlib.Path(f'/proc/self/fdinfo/{process._runner}').read_text()
print(next(line for line in info.splitlines() if line[:4] == 'Pid:').split()[1], flush=True)
pool.rate(conftest.frame(conftest.point()), 'while True: pass')
"""


def test_threads_share_a_process(pool):
    def rate(number):
        rated = pool.rate(frame(point(qty=str(number))), BILL.replace('1', "item['vol']['qty']"))
        return [int(one.price) for _, one in rated]

    with futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(rate, range(40))) == [[number] for number in range(40)]


def test_the_process_is_replaced_from_time_to_time(make_pool, monkeypatch):
    monkeypatch.setattr('cloudkitty.rating.pyscripts.host.RUNS_MAX', 2)
    pool = make_pool()
    assert len({_process_of(pool) for _ in range(5)}) == 3


@pytest.mark.parametrize(
    'limits, reason',
    [
        ({'preload': ('no_such_module',)}, "No module named 'no_such_module'"),
        ({'user': 'nobody here'}, "user: there is no user 'nobody here'"),
    ],
)
def test_nothing_is_rated_while_the_process_does_not_start(make_pool, limits, reason):
    """What every script would miss must not pass unrated."""
    if 'user' in limits and not AS_ROOT:
        limits, reason = {'preload': ('nope',)}, 'nope'
    with pytest.raises(errors.ModuleLoadError, match=reason):
        make_pool(**limits).rate(frame(point()), BILL)


def test_modules_are_loaded_beforehand(make_pool):
    rated = make_pool(preload=('fileinput',)).rate(
        frame(point()), FIRST + "import sys; item['metadata']['x'] = 'fileinput' in sys.modules"
    )
    assert rated.usage['m'][0].metadata['x'] is True


def test_a_damaged_source_and_an_odd_attribute_are_failures(pool):
    with pytest.raises(errors.PriceScriptFailed, match='the frame cannot be shown to a script: '):
        pool.rate(frame(point(odd=LIMITS.__class__)), BILL)
    with pytest.raises(errors.PriceScriptFailed, match='source: the database holds a damaged one'):
        pool.rate(frame(point()), script(None, 'damaged'))


def test_a_script_gains_no_privileges(pool):
    """Not even by a program of another user, which the worker could not end."""
    rated = pool.rate(
        frame(point()),
        FIRST + "item['metadata']['x'] = [line for line in open('/proc/self/status') "
        "if line.startswith('NoNewPrivs')]",
    )

    assert rated.usage['m'][0].metadata['x'] == ['NoNewPrivs:\t1\n']


def test_a_script_that_becomes_a_program_is_ended_at_once(make_pool):
    """It costs no more than its time. Nobody but root may start one at all."""
    pool = make_pool(time_s=20, user='')
    pool.rate(frame(point()), BILL)
    begin = time.monotonic()

    with pytest.raises(errors.PriceScriptFailed, match='its process ended'):
        pool.rate(frame(point()), "import os; os.execv('/bin/sleep', ['sleep', '99'])")

    assert time.monotonic() - begin < 4
