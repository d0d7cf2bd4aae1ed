"""One request, one reply, one connection, within one deadline: the cgminer API on the event loop's low-level Protocol.

Streams cost three times the CPU of a Protocol, and a poll is mostly connections. Every way out closes the socket by
abort, so a hung machine holds a descriptor no longer than its deadline. Deadlines are instants of the loop's clock.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Protocol, Self, cast

from collectors.miners.cgminer import MAX_REPLY_BYTES, Receiver
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


async def exchange_bytes(
    host: str,
    port: int,
    request: bytes,
    deadline_at: float,
    *,
    connect_s: float = CONNECT_S,
    max_bytes: int = MAX_REPLY_BYTES,
) -> bytes:
    """The bytes of the reply to one request of the cgminer API, without its terminator. May be empty.

    Errors: those of `collect`.
    """
    receiver = Receiver(max_bytes)
    await collect(receiver, host, port, request, deadline_at, connect_s=connect_s)
    return receiver.payload


async def probe(host: str, port: int, deadline_at: float, *, connect_s: float = CONNECT_S) -> None:
    """Connect and close. PollError REFUSED or UNREACHABLE where that is not possible."""
    loop = asyncio.get_running_loop()
    with _Deadline(loop, min(deadline_at, loop.time() + connect_s)):
        try:
            transport, _ = await loop.create_connection(asyncio.Protocol, host, port)
        except OSError as error:
            raise _refusal(error, port) from None
        transport.abort()


async def collect(
    receiver: Gathers, host: str, port: int, request: bytes, deadline_at: float, *, connect_s: float = CONNECT_S
) -> None:
    """Send one request and feed what comes back to `receiver`, until it is satisfied or the stream ends.

    Errors: PollError REFUSED (host up, API not), UNREACHABLE (no connection), TIMEOUT (connected, then silent),
            MALFORMED (reset), and what `receiver.feed` raises.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    with _Deadline(loop, min(deadline_at, loop.time() + connect_s)) as deadline:
        try:
            transport, _ = await loop.create_connection(lambda: _Exchange(request, receiver, done), host, port)
        except OSError as error:
            raise _refusal(error, port) from None
        try:
            deadline.postpone(deadline_at)
            await done
        finally:
            transport.abort()


def _refusal(error: OSError, port: int) -> PollError:
    """What a connect that failed says about the host."""
    if isinstance(error, ConnectionRefusedError):
        return PollError(FaultKind.REFUSED, f"port {port} refused the connection")
    if isinstance(error, ConnectionResetError):
        return PollError(FaultKind.MALFORMED, "connection reset")
    return PollError(FaultKind.UNREACHABLE, _reason(error))


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
        task = asyncio.current_task(loop)
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
        self._watch.open.discard(self)
        if not self._has_come:
            return
        # As asyncio.timeout does it: a cancellation that somebody else asked for as well stays one.
        if self._task.uncancel() <= self._cancelling and kind in (asyncio.CancelledError, None):
            if self._was_postponed:
                raise PollError(FaultKind.TIMEOUT, "connected, then silent past the deadline") from None
            raise PollError(FaultKind.UNREACHABLE, "no answer at connect") from None


class _Watch:
    """The deadlines of one event loop, looked at together while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.open: set[_Deadline] = set()
        self._is_looking = False

    def add(self, deadline: _Deadline) -> None:
        self.open.add(deadline)
        if not self._is_looking:
            self._is_looking = True
            self.loop.call_later(WATCH_S, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        for deadline in [deadline for deadline in self.open if deadline.is_due(now)]:
            deadline.come()
        self._is_looking = bool(self.open)
        if self._is_looking:
            self.loop.call_later(WATCH_S, self._look)


_latest: list[_Watch] = []


def _watch_of(loop: asyncio.AbstractEventLoop) -> _Watch:
    """The watch of the loop that runs; a process has one at a time, so only the latest is kept."""
    if not _latest or _latest[0].loop is not loop:
        _latest[:] = [_Watch(loop)]
    return _latest[0]
