"""Reads a response with a total timeout and a size limit.

The timeout of requests is per read, so a server that sends a byte now and then never times out.
"""

import time
from typing import Any

CHUNK_SIZE_BYTES = 256 * 2**10


class AnswerTooLarge(Exception):
    """The response is larger than the limit."""


class AnswerTooSlow(Exception):
    """The timeout expired before the end of the response."""


def read(raw: Any, *, size_max: int, timeout_s: float | None) -> bytes:
    """Return the rest of a response, decompressed.

    :param raw: urllib3's response.
    :param size_max: bytes.
    :param timeout_s: seconds from now on; None or 0: no limit.
    :raises AnswerTooLarge, AnswerTooSlow: with a text for people; *raw* was not read to its end.
    """
    body = bytearray()
    deadline = time.monotonic() + timeout_s if timeout_s else None
    # read1() returns what has arrived; read() would wait for a full chunk, however slow.
    while chunk := raw.read1(CHUNK_SIZE_BYTES, decode_content=True):
        body += chunk
        if len(body) > size_max:
            raise AnswerTooLarge(f'the answer has more than {size_max} bytes')
        if deadline and time.monotonic() > deadline:
            raise AnswerTooSlow(f'the answer took more than {timeout_s} s')
    return bytes(body)
