"""Runs scripts in a child process, which may be killed at any time and is restarted."""

import json
import os
import pwd
import secrets
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

from cloudkitty import errors
from cloudkitty.rating.pyscripts import child, exchange
from cloudkitty.rating.pyscripts.store import MODULE, Script

LENGTH = struct.Struct('>I')
TOKEN_LENGTH = 16
START_TIMEOUT_S = 60
END_TIMEOUT_S = 5
STATUS_TIMEOUT_S = 0.5
CHUNK_BYTES = 1 << 20
# Restarting the process discards changes that scripts made to imported modules.
RUNS_MAX = 10_000
# Failures that an earlier run may have caused: retried in a new process.
LEFT_BEHIND = ('MemoryError', 'end', 'answer')
# Numeric libraries start threads, which scripts must not.
ENVIRONMENT = {
    'PATH': '/usr/bin:/bin',
    'LANG': 'C.UTF-8',
    'TZ': 'UTC',
    'OMP_NUM_THREADS': '1',
    'OPENBLAS_NUM_THREADS': '1',
    'MKL_NUM_THREADS': '1',
}


class Limits(NamedTuple):
    """Resource limits of one run of a script.

    :ivar time_s: seconds for one script on one frame.
    :ivar memory_bytes: address space of the process.
    :ivar output_bytes: size of the answer, and of a file that the script writes.
    :ivar user: user of the process if the worker runs as root; '' for root.
    :ivar preload: modules to import once.
    """

    time_s: float
    memory_bytes: int
    output_bytes: int
    user: str = ''
    preload: tuple[str, ...] = ()


class Host:
    """The child process of this worker; started on first use, so never before a fork.

    Thread-safe: one script runs at a time.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self.tag = secrets.token_hex(8)

    def run(self, script: Script, sent: exchange.Sent) -> Any:
        """Run *script* on a frame; return the resulting usage as exchange.apply() takes it.

        :raises ScriptFailed: the script failed; the fact `kind` of the error is the reason.
        :raises ModuleLoadError: the process cannot be started.
        """
        with self._lock:
            process = self._ready()
            is_fresh = process.runs == 0
            try:
                return self._run(process, script, sent)
            except errors.ScriptFailed as exc:
                if is_fresh or exc.facts['kind'] not in LEFT_BEHIND:
                    raise
            return self._run(self._ready(), script, sent)

    def stop(self) -> None:
        """End the process; the next run starts another one."""
        with self._lock:
            self._stop()

    def _ready(self) -> '_Process':
        if self._process is not None and not self._process.is_usable():
            self._stop()
        if self._process is None:
            self._process = _Process(self._limits)
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def _run(self, process: '_Process', script: Script, sent: exchange.Sent) -> Any:
        try:
            answer = exchange.decode(process.ask(script, sent, self.tag), self.tag)
        except errors.InvalidInput as exc:
            self._stop()
            raise errors.ScriptFailed(kind='answer', detail=exc) from exc
        except errors.ScriptFailed:
            self._stop()
            raise
        failure = exchange.failure_of(answer)
        if failure is None:
            return answer.get('usage')
        kind, detail = failure
        # The name of the error may be followed by the line of the script.
        if kind.partition(' ')[0] == 'MemoryError':
            kind = 'MemoryError'
        if kind in LEFT_BEHIND:
            self._stop()
        raise errors.ScriptFailed(kind=kind, detail=detail)


class _Process:
    """One process: guard and runner, see child.py.

    :raises ModuleLoadError: it cannot be started.
    """

    def __init__(self, limits: Limits) -> None:
        self.runs = 0
        self._limits = limits
        self._known: set[str] = set()
        self._popen = _start(limits)
        requests, responses, self._errors = _pipes(self._popen)
        self._requests = requests.fileno()
        self._responses = responses.fileno()
        os.set_blocking(self._requests, False)
        os.set_blocking(self._responses, False)
        self._runner: int | None = None
        self.end: weakref.finalize[Any, Any] = weakref.finalize(self, _end, self._popen, [])
        try:
            hello = json.loads(self._receive(b'', time.monotonic() + START_TIMEOUT_S))
            self._runner = os.pidfd_open(hello['pid'])
        except (errors.ScriptFailed, OSError) as exc:
            told = self._last_words()
            self.end()
            raise errors.ModuleLoadError(
                module=MODULE, reason=f'the process for scripts does not start: {told or exc}'
            ) from exc
        self.end.detach()
        self.end = weakref.finalize(self, _end, self._popen, [self._runner])
        self._errors.close()

    def is_usable(self) -> bool:
        """Return whether it may run another script: it is not too old, and its guard is alive."""
        return self.runs < RUNS_MAX and self._popen.poll() is None

    def _last_words(self) -> str:
        os.set_blocking(self._errors.fileno(), False)
        return (self._errors.read() or b'').decode(errors='replace').strip()[-300:]

    def ask(self, script: Script, sent: exchange.Sent, tag: str) -> bytes:
        """Return the answer to one request.

        :raises ScriptFailed: there is none; the process must be killed.
        """
        self.runs += 1
        token = secrets.token_hex(TOKEN_LENGTH // 2)
        key = f'{script.script_id} {script.checksum}'
        request = {'token': token, 'key': key, 'tag': tag, 'is_tagged': sent.is_tagged}
        if key not in self._known:
            request['source'] = script.data
            self._known.add(key)
        message = json.dumps(request).encode() + b'\n' + sent.content
        deadline = time.monotonic() + self._limits.time_s
        self._send(LENGTH.pack(len(message)) + message, deadline)
        return self._receive(token.encode(), deadline)

    def _send(self, message: bytes, deadline: float) -> None:
        waiting = memoryview(message)
        while waiting:
            try:
                waiting = waiting[os.write(self._requests, waiting[:CHUNK_BYTES]) :]
            except BlockingIOError:
                self._wait(self._requests, select.POLLOUT, deadline)
            except BrokenPipeError as exc:
                raise self._ended() from exc

    def _receive(self, token: bytes, deadline: float) -> bytes:
        content = bytearray()
        expected = LENGTH.size
        has_length = False
        while len(content) < expected:
            self._wait(self._responses, select.POLLIN, deadline)
            piece = os.read(self._responses, CHUNK_BYTES)
            if not piece:
                raise self._ended()
            content += piece
            if not has_length and len(content) >= LENGTH.size:
                has_length = True
                expected += LENGTH.unpack(content[: LENGTH.size])[0]
                if expected > self._limits.output_bytes:
                    raise errors.ScriptFailed(
                        kind='output',
                        detail=f'{expected} bytes exceed [rating_pyscripts]output_limit',
                    )
        body = bytes(content[LENGTH.size :])
        if len(content) != expected or not body.startswith(token):
            raise errors.ScriptFailed(kind='answer', detail='the answer is not a valid message')
        return body[len(token) :]

    def _wait(self, number: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(number, event)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise errors.ScriptFailed(
                kind='time', detail=f'it did not finish within {self._limits.time_s:g} s'
            )

    def _ended(self) -> errors.ScriptFailed:
        try:
            # A script may have replaced itself with another program: it is killed without waiting.
            status: int | str = self._popen.wait(STATUS_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = 'unknown'
        return errors.ScriptFailed(kind='end', detail=f'its process ended, status {status}')


def _start(limits: Limits) -> subprocess.Popen[bytes]:
    arguments = limits._asdict() | {'account': _account(limits.user)}
    try:
        return subprocess.Popen(
            [_interpreter(), '-I', '-B', '-X', 'utf8', child.__file__, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=ENVIRONMENT,
            cwd='/',
            start_new_session=True,
        )
    except OSError as exc:
        raise errors.ModuleLoadError(
            module=MODULE, reason=f'the process for scripts does not start: {exc}'
        ) from exc


def _pipes(popen: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    """Return standard input, output and error of the started process."""
    assert popen.stdin and popen.stdout and popen.stderr
    return popen.stdin, popen.stdout, popen.stderr


def _account(user: str) -> tuple[int, int] | None:
    """Return the uid and gid to change to, None to keep the current ones."""
    if not user or os.geteuid():
        return None
    try:
        account = pwd.getpwnam(user)
    except KeyError as exc:
        raise errors.ModuleLoadError(
            module=MODULE, reason=f'[rating_pyscripts]user: there is no user {user!r}'
        ) from exc
    return account.pw_uid, account.pw_gid


def _interpreter() -> str:
    """Return the path of the Python interpreter, even inside a server that embeds it."""
    if os.path.basename(sys.executable or '').startswith('python'):
        return sys.executable
    return os.path.join(sys.prefix, 'bin', 'python3')


def _end(popen: subprocess.Popen[bytes], runners: Sequence[int]) -> None:
    """Kill guard and runner and wait for them."""
    for runner in runners:
        try:
            signal.pidfd_send_signal(runner, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(runner)
    for stream in _pipes(popen):
        stream.close()
    try:
        popen.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
