"""Reading an answer within a time and up to a size.

requests would wait for ever for a server that sends a byte now and then.
"""

import time
from typing import Any

CHUNK_SIZE_BYTES = 256 * 2**10


class AnswerTooLarge(Exception):
    """There is more than was to be read."""


class AnswerTooSlow(Exception):
    """The time was over before the end had come."""


def read(raw: Any, *, size_max: int, timeout_s: float | None) -> bytes:
    """Return the rest of an answer, unpacked.

    :param raw: urllib3's response.
    :param size_max: bytes.
    :param timeout_s: seconds from now on; None or 0: any.
    :raises AnswerTooLarge, AnswerTooSlow: with a text to show; *raw* is not at its end.
    """
    body = bytearray()
    deadline = time.monotonic() + timeout_s if timeout_s else None
    # read1 returns what has come; read() would wait for a full chunk, however slow it comes.
    while chunk := raw.read1(CHUNK_SIZE_BYTES, decode_content=True):
        body += chunk
        if len(body) > size_max:
            raise AnswerTooLarge(f'the answer has more than {size_max} bytes')
        if deadline and time.monotonic() > deadline:
            raise AnswerTooSlow(f'the answer took more than {timeout_s} s')
    return bytes(body)
