"""Runs scripts in a process of its own, which may be killed at any time and is started anew."""

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
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.db.pyscripts import MODULE, Script
from cloudkitty.rating.pyscripts import child, exchange

LENGTH = struct.Struct('>I')
TOKEN_LENGTH = 16
START_TIMEOUT_S = 60
END_TIMEOUT_S = 5
CHUNK_BYTES = 1 << 20
# What a script leaves in the modules it imports goes with the process.
RUNS_MAX = 10_000
# Failures that may come from what earlier runs left behind: tried again in a new process.
LEFT_BEHIND = ('MemoryError', 'end', 'answer')
# Failures that cost the process, or the whole time.
FATAL = ('time', 'end', 'output', 'answer')
# Numeric libraries start threads, which scripts may not.
ENVIRONMENT = {'PATH': '/usr/bin:/bin', 'LANG': 'C.UTF-8', 'TZ': 'UTC',
               'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}


class Limits(NamedTuple):
    """What a run of a script may use.

    :ivar time_s: seconds for one script on one frame.
    :ivar memory_bytes: address space of the process.
    :ivar output_bytes: of the answer, and of a file the script writes.
    :ivar user: who runs the process if we are root; '' for root.
    :ivar preload: modules to import once.
    """

    time_s: float
    memory_bytes: int
    output_bytes: int
    user: str = ''
    preload: tuple[str, ...] = ()


class Host:
    """The process of this worker; started when it is needed, so not before a fork.

    Threads may share a host: one run goes on at a time.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self.tag = secrets.token_hex(8)
        self.starts = 0

    def run(self, script: Script, sent: exchange.Sent) -> Any:
        """Return the usage that *script* makes of a frame, as exchange.apply takes it.

        :raises ScriptFailed: the script makes none; its fact `kind` tells why.
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

    def _ready(self):
        if self._process is not None and not self._process.is_usable():
            self._stop()
        if self._process is None:
            self._process = _Process(self._limits)
            self.starts += 1
        return self._process

    def _stop(self):
        if self._process is not None:
            self._process.end()
            self._process = None

    def _run(self, process, script, sent):
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
        # The line of the script may follow the name of the error.
        if kind.partition(' ')[0] == 'MemoryError':
            kind = 'MemoryError'
        if kind in LEFT_BEHIND:
            self._stop()
        raise errors.ScriptFailed(kind=kind, detail=detail)


class _Process:
    """One process: guard and runner, see child.py.

    :raises ModuleLoadError: it cannot be started.
    """

    def __init__(self, limits: Limits):
        self.runs = 0
        self._limits = limits
        self._known: set[str] = set()
        self._popen = _start(limits)
        self._requests = self._popen.stdin.fileno()
        self._responses = self._popen.stdout.fileno()
        os.set_blocking(self._requests, False)
        os.set_blocking(self._responses, False)
        self._runner = None
        self.end = weakref.finalize(self, _end, self._popen, [])
        try:
            hello = json.loads(self._receive(b'', time.monotonic() + START_TIMEOUT_S))
            self._runner = os.pidfd_open(hello['pid'])
        except (errors.ScriptFailed, OSError) as exc:
            told = self._last_words()
            self.end()
            raise errors.ModuleLoadError(
                module=MODULE, reason=f'the process for scripts does not start: {told or exc}') \
                from exc
        self.end.detach()
        self.end = weakref.finalize(self, _end, self._popen, [self._runner])
        self._popen.stderr.close()

    def is_usable(self) -> bool:
        """Say whether it may run another script: it is not too old, and its guard is there."""
        return self.runs < RUNS_MAX and self._popen.poll() is None

    def _last_words(self):
        os.set_blocking(self._popen.stderr.fileno(), False)
        return (self._popen.stderr.read() or b'').decode(errors='replace').strip()[-300:]

    def ask(self, script: Script, sent: exchange.Sent, tag: str) -> bytes:
        """Return the answer to one request.

        :raises ScriptFailed: there is none; the process must be ended.
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

    def _send(self, message, deadline):
        waiting = memoryview(message)
        while waiting:
            try:
                waiting = waiting[os.write(self._requests, waiting[:CHUNK_BYTES]):]
            except BlockingIOError:
                self._wait(self._requests, select.POLLOUT, deadline)
            except BrokenPipeError as exc:
                raise self._ended() from exc

    def _receive(self, token, deadline):
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
                expected += LENGTH.unpack(content[:LENGTH.size])[0]
                if expected > self._limits.output_bytes:
                    raise errors.ScriptFailed(
                        kind='output', detail=f'{expected} bytes are more than allowed')
        body = bytes(content[LENGTH.size:])
        if len(content) != expected or not body.startswith(token):
            raise errors.ScriptFailed(kind='answer', detail='it is not understood')
        return body[len(token):]

    def _wait(self, number, event, deadline):
        poll = select.poll()
        poll.register(number, event)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise errors.ScriptFailed(
                kind='time', detail=f'it was not done after {self._limits.time_s:g} s')

    def _ended(self):
        try:
            status = self._popen.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = 'unknown'
        return errors.ScriptFailed(kind='end', detail=f'its process ended, status {status}')


def _start(limits):
    arguments = limits._asdict() | {'account': _account(limits.user)}
    try:
        return subprocess.Popen(
            [_interpreter(), '-I', '-B', '-X', 'utf8', child.__file__, json.dumps(arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            env=ENVIRONMENT, cwd='/', start_new_session=True)
    except OSError as exc:
        raise errors.ModuleLoadError(
            module=MODULE, reason=f'the process for scripts does not start: {exc}') from exc


def _account(user):
    """Return the numbers of user and group to change to, None to stay what we are."""
    if not user or os.geteuid():
        return None
    try:
        account = pwd.getpwnam(user)
    except KeyError as exc:
        raise errors.ModuleLoadError(
            module=MODULE, reason=f'[rating_pyscripts]user: there is no user {user!r}') from exc
    return account.pw_uid, account.pw_gid


def _interpreter():
    """Return the path of Python, also inside a server that embeds it."""
    if os.path.basename(sys.executable or '').startswith('python'):
        return sys.executable
    return os.path.join(sys.prefix, 'bin', 'python3')


def _end(popen, runners):
    """End guard and runner for sure, and forget them."""
    for runner in runners:
        try:
            signal.pidfd_send_signal(runner, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(runner)
    for stream in (popen.stdin, popen.stdout, popen.stderr):
        stream.close()
    try:
        popen.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
