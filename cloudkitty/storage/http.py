"""HTTP client of stores: bounded answers, timeouts, few retries."""

import base64
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import requests
import urllib3
from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.clients import answers, urls
from cloudkitty.core.bounds import read_integer, read_sample

LOG = logging.getLogger(__name__)

T = TypeVar('T')
ATTEMPTS_MAX = 4
# Before the first answer the URL may be wrong, and somebody waits for that message.
FIRST_ATTEMPTS_MAX = 2
BACKOFF_S = 0.5
CONNECT_TIMEOUT_S = 5
# A server may ask for any pause.
PAUSE_MAX_S = 60
BUSY_STATUS = 429
# Those of a proxy whose server is down.
DOWN_STATUSES = (502, 503, 504)
REDIRECTS_MAX = 3
ANSWER_SIZE_MAX = 512 * 2**20
LINE_SIZE_MAX = 64 * 2**20
TEXT_MAX = 300
LOGIN_STATUSES = (401, 403)


class Unavailable(errors.SourceError):
    """The server takes no request at the moment; a later one may succeed.

    :ivar pause_s: the pause that the server asks for; None if it asks for none.
    """

    def __init__(self, reason: str, pause_s: int | None = None) -> None:
        super().__init__(reason=reason)
        self.pause_s = pause_s


class Server:
    """A server at a base URL, which gets each request once: see ask_any() and PatientServer.

    :param group: section of its options, for messages.
    :param url: base URL; it may hold user and password.
    :param certificate: path of the client certificate, or paths of certificate and key.
    :raises ConfigurationError: the URL cannot be used.
    """

    def __init__(
        self,
        group: str,
        url: str | None,
        *,
        timeout_s: float,
        cafile: str | None = None,
        is_insecure: bool = False,
        certificate: str | tuple[str, str] | None = None,
        login: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not urls.is_address(url):
            raise errors.ConfigurationError(
                reason=f'[{group}]: {urls.hide_login(url or "")!r} is not a URL of http or https '
                'without ? and #'
            )
        self._url = (url or '').rstrip('/')
        self.name = urls.hide_login(self._url)
        self._group = group
        self._timeout_s = timeout_s or None
        self._connect_timeout_s = min(timeout_s or CONNECT_TIMEOUT_S, CONNECT_TIMEOUT_S)
        self._has_answered = False
        self._verify = cafile or not is_insecure
        if is_insecure and not cafile:
            LOG.warning('[%s]insecure: the certificate of the server is not checked.', group)
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._session = requests.Session()
        self._session.max_redirects = REDIRECTS_MAX
        self._session.cert = certificate
        self._session.headers.update({'User-Agent': 'cloudkitty', **(headers or {})})
        if login:
            self._session.auth = _Basic(*login)

    def ask(self, method: str, path: str, **arguments: Any) -> Any:
        """Return the parsed answer to a request; numbers with a point or exponent are Decimal.

        :param arguments: those of requests.request().
        :raises SourceError: there is no answer, it is an error, or no JSON.
        """
        with self.open(method, path, **arguments) as response:
            return self.parse(self._read(response))

    def lines(self, method: str, path: str, **arguments: Any) -> Iterator[bytes]:
        """Yield the lines of the answer to a request, which may be of any length.

        :raises SourceError: see ask(); also if the answer breaks off.
        """
        with self.open(method, path, **arguments) as response:
            rest = b''
            for chunk in self._chunks(response):
                *whole, rest = (rest + chunk).split(b'\n')
                yield from whole
                if len(rest) > LINE_SIZE_MAX:
                    raise self.error(f'a line of the answer has more than {LINE_SIZE_MAX} bytes')
            if rest:
                yield rest

    def parse(self, text: bytes) -> Any:
        """Return the value of a JSON text; a number such as NaN as well.

        :raises SourceError: it is no JSON, or has a number of too many digits.
        """
        try:
            return json.loads(
                text, parse_float=read_sample, parse_int=read_integer, parse_constant=str
            )
        except errors.InvalidInput as exc:
            raise self.error(str(exc)) from exc
        except (ValueError, RecursionError) as exc:
            raise self.error(f'the answer is no JSON: {shorten(text)!r}') from exc

    def error(self, reason: str) -> errors.SourceError:
        """Return the error for an answer that is not as it should be."""
        return errors.SourceError(reason=f'{self.name}: {reason}')

    @contextlib.contextmanager
    def open(self, method: str, path: str, **arguments: Any) -> Iterator[requests.Response]:
        """Yield a successful response with its body unread.

        :raises Unavailable: the server cannot be reached, or says so.
        :raises SourceError: there is no response, or it is an error.
        """
        with self._answer(method, path, arguments) as response:
            try:
                yield response
            except (requests.RequestException, urllib3.exceptions.HTTPError) as exc:
                raise self.error(f'the answer breaks off: {_cause(exc)}') from exc

    def _answer(self, method: str, path: str, arguments: Mapping[str, Any]) -> requests.Response:
        try:
            response = self._session.request(
                method,
                f'{self._url}/{path}',
                stream=True,
                verify=self._verify,
                timeout=(self._connect_timeout_s, self._timeout_s),
                **arguments,
            )
        except requests.exceptions.SSLError as exc:
            raise self.error(_cause(exc)) from exc
        except requests.ConnectionError as exc:
            raise Unavailable(str(self.error(_cause(exc)))) from exc
        except (requests.RequestException, OSError) as exc:
            raise self.error(_cause(exc)) from exc
        self._has_answered |= response.status_code not in DOWN_STATUSES
        if response.status_code >= 300:
            with response:
                raise self._refused(response)
        return response

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        yield from response.iter_content(answers.CHUNK_SIZE_BYTES)

    def _read(self, response: requests.Response) -> bytes:
        try:
            return answers.read(response.raw, size_max=ANSWER_SIZE_MAX, timeout_s=self._timeout_s)
        except (answers.AnswerTooLarge, answers.AnswerTooSlow) as exc:
            raise self.error(str(exc)) from exc

    def _refused(self, response: requests.Response) -> errors.SourceError:
        hint = ''
        if response.status_code in LOGIN_STATUSES:
            hint = f' (check the login in [{self._group}])'
        with contextlib.suppress(requests.RequestException, urllib3.exceptions.HTTPError):
            hint += f': {shorten(response.raw.read(4 * TEXT_MAX, decode_content=True))}'
        refused = self.error(f'HTTP status {response.status_code}{hint}')
        if response.status_code in (BUSY_STATUS, *DOWN_STATUSES):
            return Unavailable(str(refused), _asked_pause(response))
        return refused


class PatientServer(Server):
    """A server that gets a request again, after a pause, while it is unavailable."""

    def _answer(self, method: str, path: str, arguments: Mapping[str, Any]) -> requests.Response:
        answer = super()._answer
        return ask_any(
            [self],
            lambda server: answer(method, path, arguments),
            lambda: ATTEMPTS_MAX if self._has_answered else FIRST_ATTEMPTS_MAX,
        )


class _Basic(requests.auth.AuthBase):
    """Sends user and password, whatever characters they have, and none of ~/.netrc."""

    def __init__(self, user: str, password: str) -> None:
        text = f'{user}:{password}'.encode()
        self._header = f'Basic {base64.b64encode(text).decode()}'

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers['Authorization'] = self._header
        return request


def ask_any(
    servers: Sequence[Server],
    ask: Callable[[Server], T],
    attempts_max: Callable[[], int] = lambda: ATTEMPTS_MAX,
) -> T:
    """Return what *ask* returns for the first of *servers* that answers.

    The next server is asked at once. Only after all of them comes a pause; then those that are
    unavailable are asked again.

    :param attempts_max: how often a server is asked at most.
    :raises SourceError: no server answers; the error of the last one.
    """
    remaining = list(servers)
    failure = errors.SourceError(reason='there is no server to ask')
    attempt = 0
    while remaining:
        attempt += 1
        pauses = []
        for server in remaining.copy():
            try:
                return ask(server)
            except Unavailable as exc:
                failure = exc
                pauses.append(BACKOFF_S * 2**attempt if exc.pause_s is None else exc.pause_s)
            except errors.SourceError as exc:
                failure = exc
                remaining.remove(server)
        if attempt >= attempts_max():
            break
        if remaining:
            time.sleep(min(pauses))
    raise failure


def shorten(text: bytes | str) -> str:
    """Return *text* of a server as one short line."""
    if isinstance(text, bytes):
        text = text.decode(errors='replace')
    return ' '.join(text.split())[:TEXT_MAX]


def tls_options(cafile: str = 'cafile') -> list[cfg.Opt]:
    """Return the options about TLS that the sections of all stores have."""
    return [
        cfg.BoolOpt(
            'insecure',
            default=False,
            help='Whether to accept any certificate of the server; the CA file wins.',
        ),
        cfg.StrOpt(
            cafile, help='File of CA certificates to check the certificate of the server with.'
        ),
    ]


def _asked_pause(response: requests.Response) -> int | None:
    asked = response.headers.get('Retry-After', '')
    return min(int(asked), PAUSE_MAX_S) if asked.isdecimal() else None


def _cause(exc: Exception) -> str:
    if isinstance(exc, requests.Timeout):
        return 'no answer in time'
    inner = exc.args[0] if exc.args else exc
    inner = getattr(inner, 'reason', None) or inner
    return urls.hide_login(f'{type(exc).__name__}: {shorten(str(inner))}')
