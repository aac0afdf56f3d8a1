"""HTTP client of stores: bounded answers, timeouts, few retries."""

import base64
import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests
import urllib3
from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.clients import answers, urls
from cloudkitty.core.bounds import read_integer, read_sample

LOG = logging.getLogger(__name__)

ATTEMPTS_MAX = 4
BACKOFF_S = 0.5
# A server may ask for any pause.
PAUSE_MAX_S = 60
RETRIED_STATUSES = (429, 502, 503, 504)
REDIRECTS_MAX = 3
ANSWER_SIZE_MAX = 512 * 2**20
LINE_SIZE_MAX = 64 * 2**20
TEXT_MAX = 300
LOGIN_STATUSES = (401, 403)


class Server:
    """A server at a base URL.

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
        """Yield a successful response with its body unread; refusals for now are retried.

        :raises SourceError: there is no response, or it is an error.
        """
        response = self._answer(method, path, arguments)
        with response:
            if response.status_code >= 300:
                raise self._refused(response)
            try:
                yield response
            except (requests.RequestException, urllib3.exceptions.HTTPError) as exc:
                raise self.error(f'the answer breaks off: {_cause(exc)}') from exc

    def _answer(self, method: str, path: str, arguments: Mapping[str, Any]) -> requests.Response:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            pause_s = BACKOFF_S * 2**attempt
            try:
                response = self._session.request(
                    method,
                    f'{self._url}/{path}',
                    stream=True,
                    verify=self._verify,
                    timeout=self._timeout_s,
                    **arguments,
                )
                if response.status_code not in RETRIED_STATUSES or attempt == ATTEMPTS_MAX:
                    return response
                pause_s = _asked_pause(response, pause_s)
                response.close()
            except requests.ConnectionError as exc:
                if attempt == ATTEMPTS_MAX or isinstance(exc, requests.exceptions.SSLError):
                    raise self.error(_cause(exc)) from exc
            except (requests.RequestException, OSError) as exc:
                raise self.error(_cause(exc)) from exc
            time.sleep(pause_s)
        raise AssertionError('the last attempt returns or raises')

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
        return self.error(f'HTTP status {response.status_code}{hint}')


class _Basic(requests.auth.AuthBase):
    """Sends user and password, whatever characters they have, and none of ~/.netrc."""

    def __init__(self, user: str, password: str) -> None:
        text = f'{user}:{password}'.encode()
        self._header = f'Basic {base64.b64encode(text).decode()}'

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers['Authorization'] = self._header
        return request


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


def _asked_pause(response: requests.Response, pause_s: float) -> float:
    asked = response.headers.get('Retry-After', '')
    return min(int(asked), PAUSE_MAX_S) if asked.isdecimal() else pause_s


def _cause(exc: Exception) -> str:
    if isinstance(exc, requests.Timeout):
        return 'no answer in time'
    inner = exc.args[0] if exc.args else exc
    inner = getattr(inner, 'reason', None) or inner
    return urls.hide_login(f'{type(exc).__name__}: {shorten(str(inner))}')
