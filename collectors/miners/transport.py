"""One request, one reply, one connection, within one deadline: the cgminer API on the event loop's low-level Protocol.

Streams cost three times the CPU of a Protocol, and a poll is mostly connections. Every way out closes the socket by
abort, so a hung machine holds a descriptor no longer than its deadline. Deadlines are instants of the loop's clock.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Protocol

from collectors.miners.cgminer import MAX_REPLY_BYTES, Receiver, Reply
from fleet.ports import PollError
from fleet.readings import FaultKind

CONNECT_S = 2.0


class Gathers(Protocol):
    """What takes the bytes of one reply: `feed` is True when it has all it wants, and raises PollError for too much."""

    def feed(self, chunk: bytes) -> bool: ...


class _Exchange(asyncio.Protocol):
    """Collects until the receiver is satisfied, the peer ends or the line breaks."""

    def __init__(self, receiver: Gathers, done: asyncio.Future[None]) -> None:
        self._receiver = receiver
        self._done = done

    def data_received(self, data: bytes) -> None:
        if self._done.done():
            return
        try:
            if self._receiver.feed(data):
                self._done.set_result(None)
        except PollError as error:
            self._done.set_exception(error)

    def eof_received(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done.done():
            return
        if exc is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(PollError(FaultKind.MALFORMED, "connection reset"))


async def exchange(
    host: str,
    port: int,
    request: bytes,
    deadline_at: float,
    *,
    connect_s: float = CONNECT_S,
    max_bytes: int = MAX_REPLY_BYTES,
) -> Reply:
    """The decoded reply to one request.

    Errors: PollError REFUSED (host up, API not), UNREACHABLE (no connection), TIMEOUT (connected, then silent),
            OVERSIZE, MALFORMED (reset, empty or unreadable), and those of `cgminer.decode`.
    """
    receiver = Receiver(max_bytes)
    await collect(receiver, host, port, request, deadline_at, connect_s=connect_s)
    return receiver.finish()


async def exchange_bytes(
    host: str,
    port: int,
    request: bytes,
    deadline_at: float,
    *,
    connect_s: float = CONNECT_S,
    max_bytes: int = MAX_REPLY_BYTES,
) -> bytes:
    """The same, undecoded: up to the end of the reply, without its terminator. May be empty."""
    receiver = Receiver(max_bytes)
    await collect(receiver, host, port, request, deadline_at, connect_s=connect_s)
    return receiver.payload


async def probe(host: str, port: int, deadline_at: float, *, connect_s: float = CONNECT_S) -> None:
    """Connect and close. PollError REFUSED or UNREACHABLE where that is not possible."""
    transport = await _connect(asyncio.Protocol, host, port, deadline_at, connect_s)
    transport.abort()


async def collect(
    receiver: Gathers, host: str, port: int, request: bytes, deadline_at: float, *, connect_s: float = CONNECT_S
) -> None:
    """Send one request and feed what comes back to `receiver`, until it is satisfied or the stream ends.

    Errors: PollError of `exchange` except those of decoding, and what `receiver.feed` raises.
    """
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    transport = await _connect(lambda: _Exchange(receiver, done), host, port, deadline_at, connect_s)
    try:
        transport.write(request)
        async with asyncio.timeout_at(deadline_at):
            await done
    except TimeoutError:
        raise PollError(FaultKind.TIMEOUT, "connected, then silent past the deadline") from None
    finally:
        transport.abort()


async def _connect(
    protocol: Callable[[], asyncio.Protocol], host: str, port: int, deadline_at: float, connect_s: float
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(min(deadline_at, loop.time() + connect_s)):
            transport, _ = await loop.create_connection(protocol, host, port)
    except ConnectionRefusedError:
        raise PollError(FaultKind.REFUSED, f"port {port} refused the connection") from None
    except TimeoutError:
        raise PollError(FaultKind.UNREACHABLE, "no answer at connect") from None
    except ConnectionResetError:
        raise PollError(FaultKind.MALFORMED, "connection reset") from None
    except OSError as error:
        raise PollError(FaultKind.UNREACHABLE, _reason(error)) from None
    return transport


def _reason(error: OSError) -> str:
    """Words for a failed connect. asyncio sums several addresses up in one error without a number."""
    known = errno.errorcode.get(error.errno or 0)
    return os.strerror(error.errno) if known and error.errno else "cannot connect"
