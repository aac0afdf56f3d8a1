"""The process that runs scripts. It is started by path and needs nothing but the standard library.

Two processes, in fact: the *runner*, which executes the scripts, and above it a *guard*, which ends
it when the worker is gone. The runner reads requests from its standard input and writes answers to
its standard output, each after its length; scripts see neither. See exchange.py for the contents.

The argument is one JSON object: host.Limits, and the uid and gid to change to.
"""

import contextlib
import ctypes
import datetime
import decimal
import importlib
import json
import os
import resource
import select
import signal
import struct
import sys
import types
from typing import IO, Any, NamedTuple

LENGTH = struct.Struct('>I')
FILE_NAME = '<script>'
PR_SET_NO_NEW_PRIVS = 38
DETAIL_LENGTH_MAX = 500
CONTAINERS = {dict, list}
PARTS = {'vol', 'rating', 'groupby', 'metadata'}
CPU_SPARE_S = 2
# Imported before the user changes: the new user may not be able to read them.
COMMON = (
    '_strptime',
    'calendar',
    'collections',
    'copy',
    'encodings.idna',
    'fractions',
    'functools',
    'hashlib',
    'itertools',
    'math',
    'operator',
    're',
    'statistics',
    'string',
    'time',
    'traceback',
)


class InvalidFrame(Exception):
    """`data` is no valid frame after a script."""


def main() -> int:
    """Split into guard and runner; return the exit status."""
    limits = json.loads(sys.argv[1])
    pid = os.fork()
    return guard(pid) if pid else serve(limits)


def guard(pid: int) -> int:
    """Kill the runner when its worker is gone; return its exit status."""
    runner = os.pidfd_open(pid)
    silence(1, 2)
    poll = select.poll()
    poll.register(0, 0)  # no event but a hang-up when the worker ends, which is always reported
    poll.register(runner, select.POLLIN)
    poll.poll()
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(runner, signal.SIGKILL)
    return abs(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def silence(*numbers: int) -> None:
    """Redirect these file descriptors to /dev/null."""
    with open(os.devnull, 'r+b') as nowhere:
        for number in numbers:
            os.dup2(nowhere.fileno(), number)


def serve(limits: dict[str, Any]) -> int:
    """Answer requests until the input ends."""
    for name in (*COMMON, *limits['preload']):
        importlib.import_module(name)
    requests = open(os.dup(0), 'rb')
    responses = open(os.dup(1), 'wb')
    confine(limits)
    runner = Runner(limits)
    send(responses, b'', {'pid': os.getpid()})
    silence(0, 1, 2)
    while head := requests.read(LENGTH.size):
        message = requests.read(LENGTH.unpack(head)[0])
        header, _, frame = message.partition(b'\n')
        request = json.loads(header)
        send(responses, request['token'].encode(), runner.answer(request, frame))
    return 0


def send(stream: IO[bytes], token: bytes, content: bytes | dict[str, Any]) -> None:
    """Write one message; a dict is rendered as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    stream.write(LENGTH.pack(len(token) + len(body)) + token + body)
    stream.flush()


def confine(limits: dict[str, Any]) -> None:
    """Set the limits and the user of this process irrevocably."""
    # No program that a script starts can change to a user whose processes the worker cannot kill.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), 'prctl')
    bounds = {
        resource.RLIMIT_AS: limits['memory_bytes'],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits['output_bytes'],
        resource.RLIMIT_NPROC: 0,
    }
    for kind, bound in bounds.items():
        hard = resource.getrlimit(kind)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (bound, bound))
    # If the host runs out of memory, this process is killed first. Some hosts forbid the setting.
    with contextlib.suppress(OSError), open('/proc/self/oom_score_adj', 'w') as score:
        score.write('900')
    if limits['account'] is not None:
        user, group = limits['account']
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)


class Runner:
    """Executes scripts, each compiled once.

    :param limits: see host.Limits.
    """

    def __init__(self, limits: dict[str, Any]) -> None:
        self.time_s = limits['time_s']
        self.codes: dict[str, types.CodeType | Exception] = {}
        self.context = decimal.getcontext().copy()
        self.depth = sys.getrecursionlimit()

    def answer(self, request: dict[str, Any], frame: bytes) -> bytes | dict[str, Any]:
        """Return the frame after one script, or {'error': [kind, detail]}."""
        try:
            self.reset()
            code = self.code_of(request)
            view = FrameView(frame, request['tag'], request['is_tagged'])
            names: dict[str, Any] = {'data': view.data}
            exec(code, names)
            return view.render(names)
        # A script may raise anything, SystemExit and KeyboardInterrupt included.
        except BaseException as exc:
            return {'error': describe(exc)}

    def reset(self) -> None:
        """Undo changes that a script may have made to the interpreter."""
        decimal.setcontext(self.context.copy())
        sys.setrecursionlimit(self.depth)
        signal.setitimer(signal.ITIMER_REAL, 0)
        used = resource.getrusage(resource.RUSAGE_SELF)
        # The worker enforces the timeout; this is for the case that it died.
        resource.setrlimit(
            resource.RLIMIT_CPU,
            (
                int(used.ru_utime + used.ru_stime + self.time_s) + CPU_SPARE_S,
                resource.RLIM_INFINITY,
            ),
        )

    def code_of(self, request: dict[str, Any]) -> types.CodeType:
        key = request['key']
        if key not in self.codes:
            try:
                self.codes[key] = compile(request['source'], FILE_NAME, 'exec', dont_inherit=True)
            except Exception as exc:
                self.codes[key] = exc
        code = self.codes[key]
        if isinstance(code, Exception):
            raise code.with_traceback(None)
        return code


class Original(NamedTuple):
    """A point that was sent: its dict, its price, and fingerprints of its parts.

    :ivar values: the values of the parts, kept alive so that no other object gets the same id().
    """

    item: dict[str, Any]
    price: decimal.Decimal
    vol: list[Any] | None
    groupby: list[Any] | None
    metadata: list[Any] | None
    values: list[Any]


def fingerprint_of(part: dict[str, Any]) -> list[Any] | None:
    """Return a fingerprint of names and values; None if a value is mutable.

    Values are compared by identity, because 1, 1.0 and True are equal but priced differently.
    """
    if not CONTAINERS.isdisjoint(map(type, part.values())):
        return None
    return [*part, *map(id, part.values())]


def has_fingerprint(part: object, look: list[Any] | None) -> bool:
    """Return whether a part is certainly unchanged."""
    return isinstance(part, dict) and [*part, *map(id, part.values())] == look


class FrameView:
    """A frame in the form that scripts see, with its original content for comparison.

    :param frame: JSON, see exchange.encode.
    :param tag: name that marks a value that JSON cannot represent.
    :param is_tagged: whether there is such a value in the frame.
    """

    def __init__(self, frame: bytes, tag: str, is_tagged: bool) -> None:
        self.tag = tag
        hook = self.untag if is_tagged else None
        given = json.loads(frame, object_hook=hook)
        begin, end = map(datetime.datetime.fromisoformat, given['period'])
        self.period = {'begin': begin, 'end': end}
        self.originals: list[Original] = []
        usage = {
            name: [self.point(*parts) for parts in points]
            for name, points in given['usage'].items()
        }
        self.positions = {
            id(original.item): position for position, original in enumerate(self.originals)
        }
        self.data = {'period': dict(self.period), 'usage': usage}

    def untag(self, form: dict[str, Any]) -> Any:
        if self.tag not in form:
            return form
        kind, text = form[self.tag]
        return decimal.Decimal(text) if kind == 'd' else datetime.datetime.fromisoformat(text)

    def point(
        self, unit: str, qty: str, price: str, groupby: dict[str, Any], metadata: dict[str, Any]
    ) -> dict[str, Any]:
        exact = decimal.Decimal(price)
        vol = {'unit': unit, 'qty': decimal.Decimal(qty)}
        item = {'vol': vol, 'rating': {'price': exact}, 'groupby': groupby, 'metadata': metadata}
        self.originals.append(
            Original(
                item,
                exact,
                fingerprint_of(vol),
                fingerprint_of(groupby),
                fingerprint_of(metadata),
                [*vol.values(), *groupby.values(), *metadata.values()],
            )
        )
        return item

    def render(self, names: dict[str, Any]) -> bytes:
        """Return the frame after the script, in JSON.

        :raises InvalidFrame: `data` is no valid frame, or one of another period.
        """
        data = names.get('data')
        if not isinstance(data, dict):
            raise InvalidFrame(f'data is {type(data).__name__}, not a dict')
        if data.keys() != {'period', 'usage'}:
            raise InvalidFrame(f'data must hold period and usage, not {sorted(map(str, data))}')
        if not self.is_period(data['period']):
            raise InvalidFrame('the period of data was changed')
        if not isinstance(data['usage'], dict):
            raise InvalidFrame(f'usage is {type(data["usage"]).__name__}, not a dict')
        usage = {name: self.entries(name, points) for name, points in data['usage'].items()}
        return json.dumps({'usage': usage}, default=self.render_value, allow_nan=False).encode()

    def is_period(self, period: Any) -> bool:
        if not isinstance(period, dict) or period.keys() != {'begin', 'end'}:
            return False
        return all(
            value == self.period[name] or value == self.period[name].isoformat()
            for name, value in period.items()
        )

    def entries(self, name: object, points: Any) -> list[Any]:
        if isinstance(points, (str, bytes, dict)):
            raise InvalidFrame(f'usage of {name!r} must be a list of points')
        return [self.entry(item) for item in points]

    def entry(self, item: Any) -> Any:
        """Return the entry of a point: the original's number, alone or with a price or dict."""
        position = self.positions.get(id(item))
        if position is None:
            return [None, item]
        original = self.originals[position]
        rating = item.get('rating')
        if (
            item.keys() != PARTS
            or not has_fingerprint(item['vol'], original.vol)
            or not has_fingerprint(item['groupby'], original.groupby)
            or not has_fingerprint(item['metadata'], original.metadata)
            or not isinstance(rating, dict)
            or rating.keys() != {'price'}
        ):
            return [position, item]
        if rating['price'] is original.price:
            return position
        text = number_text(rating['price'])
        return [position, item if text is None else text]

    def render_value(self, value: object) -> dict[str, Any]:
        if isinstance(value, decimal.Decimal):
            return {self.tag: ['d', str(value)]}
        if isinstance(value, datetime.datetime):
            return {self.tag: ['t', value.isoformat()]}
        raise InvalidFrame(f'data holds {type(value).__name__}, which is no JSON value')


def number_text(value: object) -> str | None:
    """Return the text of a number, None if it is none."""
    if isinstance(value, (decimal.Decimal, str)):
        return str(value)
    if isinstance(value, float):
        return float.__repr__(value)
    return str(int(value)) if isinstance(value, int) else None


def describe(exc: BaseException) -> list[str]:
    """Return kind and message of an error, the kind with the line of the script."""
    kind = 'no frame' if isinstance(exc, InvalidFrame) else type(exc).__name__
    line = getattr(exc, 'lineno', None) if isinstance(exc, SyntaxError) else None
    traceback = exc.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == FILE_NAME:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    try:
        detail = str(exc)[:DETAIL_LENGTH_MAX]
    except BaseException:  # The text of a script's error may be computed by the script's code, too.
        detail = ''
    return [kind if line is None else f'{kind} in line {line}', detail]


if __name__ == '__main__':
    os._exit(main())
