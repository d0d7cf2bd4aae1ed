"""JSON behind a length: how WhatsMiner API v3 (TCP 4433) frames requests and replies. One of each per connection.

Four bytes, little-endian, say how many bytes of JSON follow. The length is the word of a stranger, so it is judged
before anything is kept for it, and a reply is whole only when all of it has come.
"""

from __future__ import annotations

from collectors.miners.cgminer import MAX_REPLY_BYTES
from collectors.miners.transport import CONNECT_S, collect
from fleet.ports import PollError
from fleet.readings import FaultKind

LENGTH_BYTES = 4
MAX_PAYLOAD_BYTES = MAX_REPLY_BYTES


def frame(payload: bytes) -> bytes:
    """`payload` behind its length."""
    return len(payload).to_bytes(LENGTH_BYTES, "little") + payload


class Unframer:
    """Collects one framed reply, wherever the chunk borders fall; holds never more than it was promised.

    Errors: PollError from `feed`: MALFORMED for a length of 0, OVERSIZE for one past `max_bytes`; from `payload`:
            MALFORMED for a reply that ended before its length said so.
    """

    def __init__(self, max_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._end: int | None = None  # of the payload in the buffer; None until the length is whole

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes; True when the payload is whole and the rest of the stream does not matter."""
        if self._end is None:
            head, chunk = chunk[: LENGTH_BYTES - len(self._buffer)], chunk[LENGTH_BYTES - len(self._buffer) :]
            self._buffer += head
            if len(self._buffer) < LENGTH_BYTES:
                return False
            self._end = LENGTH_BYTES + self._checked(int.from_bytes(self._buffer, "little"))
        self._buffer += chunk[: self._end - len(self._buffer)]
        return len(self._buffer) == self._end

    @property
    def payload(self) -> bytes:
        """The JSON of a whole reply."""
        if self._end is None or len(self._buffer) < self._end:
            promised = "its length" if self._end is None else f"{self._end - LENGTH_BYTES} bytes"
            raise PollError(FaultKind.MALFORMED, f"reply ended before {promised} had come")
        return bytes(memoryview(self._buffer)[LENGTH_BYTES:])

    def _checked(self, length: int) -> int:
        if length == 0:
            raise PollError(FaultKind.MALFORMED, "a reply of length 0")
        if length > self._max_bytes:
            raise PollError(FaultKind.OVERSIZE, f"a reply of {length} bytes, longer than {self._max_bytes}")
        return length


async def exchange_framed(
    host: str,
    port: int,
    request: bytes,
    deadline_at: float,
    *,
    connect_s: float = CONNECT_S,
    max_bytes: int = MAX_PAYLOAD_BYTES,
) -> bytes:
    """The JSON that answers one JSON request; neither holds its length.

    Errors: PollError REFUSED, UNREACHABLE, TIMEOUT as in `transport.collect`, and those of `Unframer`.
    """
    unframer = Unframer(max_bytes)
    await collect(unframer, host, port, frame(request), deadline_at, connect_s=connect_s)
    return unframer.payload
