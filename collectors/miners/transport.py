"""One request, one reply, one connection, within one deadline: the cgminer API on the event loop's low-level Protocol.

Streams cost three times the CPU of a Protocol, and a poll is mostly connections. Every way out closes the socket by
abort, so a hung machine holds a descriptor no longer than its deadline. Deadlines are instants of the loop's clock.
"""

from __future__ import annotations

import asyncio
import errno
import os
import weakref
from collections.abc import Callable
from typing import Protocol, Self, cast

from collectors.miners.cgminer import MAX_REPLY_BYTES, Receiver, Reply
from fleet.ports import PollError
from fleet.readings import FaultKind

CONNECT_S = 2.0


class Gathers(Protocol):
    """What takes the bytes of one reply: `feed` is True when it has all it wants, and raises PollError for too much."""

    def feed(self, chunk: bytes) -> bool: ...


class _Exchange(asyncio.Protocol):
    """Sends once, then collects until the receiver is satisfied, the peer ends or the line breaks."""

    __slots__ = ("_done", "_receiver", "_request")

    def __init__(self, request: bytes, receiver: Gathers, done: asyncio.Future[None]) -> None:
        self._request = request
        self._receiver = receiver
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)  # uvloop's is one in all but its bases

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
    loop = asyncio.get_running_loop()
    with _Deadline(loop, min(deadline_at, loop.time() + connect_s)):
        transport = await _connect(asyncio.Protocol, host, port)
        transport.abort()


async def collect(
    receiver: Gathers, host: str, port: int, request: bytes, deadline_at: float, *, connect_s: float = CONNECT_S
) -> None:
    """Send one request and feed what comes back to `receiver`, until it is satisfied or the stream ends.

    Errors: PollError of `exchange` except those of decoding, and what `receiver.feed` raises.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    with _Deadline(loop, min(deadline_at, loop.time() + connect_s)) as deadline:
        transport = await _connect(lambda: _Exchange(request, receiver, done), host, port)
        try:
            deadline.postpone(deadline_at)
            await done
        finally:
            transport.abort()


async def _connect(protocol: Callable[[], asyncio.Protocol], host: str, port: int) -> asyncio.Transport:
    try:
        transport, _ = await asyncio.get_running_loop().create_connection(protocol, host, port)
    except ConnectionRefusedError:
        raise PollError(FaultKind.REFUSED, f"port {port} refused the connection") from None
    except ConnectionResetError:
        raise PollError(FaultKind.MALFORMED, "connection reset") from None
    except OSError as error:
        raise PollError(FaultKind.UNREACHABLE, _reason(error)) from None
    return transport


def _reason(error: OSError) -> str:
    """Words for a failed connect. asyncio sums several addresses up in one error without a number."""
    known = errno.errorcode.get(error.errno or 0)
    return os.strerror(error.errno) if known and error.errno else "cannot connect"


# --- deadlines -------------------------------------------------------------------------------------------------------

WATCH_S = 0.05
"""How late a deadline may be seen. A timer of its own for each costs a tenth of a whole look."""


class _Deadline:
    """Ends the task that entered it with PollError, UNREACHABLE at first, TIMEOUT once postponed."""

    __slots__ = ("_at", "_cancelling", "_has_come", "_task", "_was_postponed", "_watch")

    def __init__(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._at = at
        self._task = task
        self._cancelling = task.cancelling()
        self._has_come = self._was_postponed = False
        self._watch = _watch_of(loop)

    def __enter__(self) -> Self:
        self._watch.add(self)
        return self

    def postpone(self, at: float) -> None:
        self._at = at
        self._was_postponed = True

    def is_due(self, now: float) -> bool:
        return self._at <= now and not self._has_come

    def come(self) -> None:
        self._has_come = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._watch.remove(self)
        if not self._has_come:
            return
        # As asyncio.timeout does it: a cancellation that somebody else asked for as well stays one.
        if self._task.uncancel() <= self._cancelling and kind in (asyncio.CancelledError, None):
            if self._was_postponed:
                raise PollError(FaultKind.TIMEOUT, "connected, then silent past the deadline") from None
            raise PollError(FaultKind.UNREACHABLE, "no answer at connect") from None


class _Watch:
    """The deadlines of one event loop, looked at together."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._open: set[_Deadline] = set()
        self._is_looking = False

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._loop() is loop

    def add(self, deadline: _Deadline) -> None:
        self._open.add(deadline)
        if not self._is_looking:
            self._look_later()

    def remove(self, deadline: _Deadline) -> None:
        self._open.discard(deadline)

    def _look_later(self) -> None:
        loop = self._loop()
        self._is_looking = loop is not None and bool(self._open)
        if loop is not None and self._is_looking:
            loop.call_later(WATCH_S, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for deadline in [deadline for deadline in self._open if deadline.is_due(now)]:
            deadline.come()
        self._look_later()


_watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch] = weakref.WeakKeyDictionary()
_latest: list[_Watch] = []


def _watch_of(loop: asyncio.AbstractEventLoop) -> _Watch:
    """The watch of a loop. A process has one loop at a time, and asking a weak dictionary costs ten times as much."""
    if _latest and _latest[0].is_of(loop):
        return _latest[0]
    _latest[:] = [_watches.get(loop) or _watches.setdefault(loop, _Watch(loop))]
    return _latest[0]
