"""A scan: which of many addresses answer as a miner, at a cost that does not hurt a network that is mining.

Every address gets one knock: a TCP connect to the port of the cgminer API, closed as soon as it is decided. Who
is silent costs that and nothing more. Who accepts or refuses is there, and goes on to be looked at, few at a time:
identification is CPU, and more at once only makes it late. Nothing is kept of the silent, so a /15 needs no more memory
than a /24, and all sockets, of knocks and of looks, stay inside one bound.

Knocks are bare sockets on the loop's readiness callbacks: all wait equally long, so the oldest is always the next to
run out, and one timer serves them all. The bound also sets the pace, because silence lasts a second. On a network
without router between, the kernel remembers an address without answer for 3 s and by default holds 1,024 neighbours;
past that it drops what we send without a word, and a machine would be missed. 320 at once stay below.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from collectors.miners.line import Line
from collectors.miners.make import RPC_PORT, Credential
from collectors.miners.native import NEEDS_PYASIC, NativeMiner
from fleet.ports import PollError
from fleet.readings import Fault, FaultKind, MinerReading

CONNECTIONS = 320
LOOKS = 32
KNOCK_S = 1.0
LOOK_S = 10.0

GRACE_S = 1.0
"""What a look gets beyond its own deadline before we end it."""

_IS_THERE = frozenset({0, errno.ECONNREFUSED, errno.ECONNRESET})


class Endpoint(NamedTuple):
    host: str
    port: int = RPC_PORT


@dataclass(frozen=True, slots=True)
class Finding:
    """What a host turned out to be. `make` None = no machine that we know; without a `reading`, `fault` says why."""

    make: str | None = None
    reading: MinerReading | None = None
    fault: Fault | None = None


class Found(NamedTuple):
    """One host that answered, and what it is."""

    endpoint: Endpoint
    finding: Finding


Look = Callable[[Endpoint, float], Awaitable[Finding]]
"""What an endpoint is, asked until an instant of the loop's clock."""


class Scan:
    """A scan under way: iterate for what is found, read the counters for how far it is."""

    def __init__(self, endpoints: Iterable[Endpoint], look: Look, connections: int = CONNECTIONS) -> None:
        """`connections` bounds the sockets of knocks and looks together. Errors: ValueError below 2."""
        if connections < 2:
            raise ValueError("a scan needs two connections: one to knock, one to look")
        self.scanned = 0  # addresses that have been decided, whatever came out
        self.answered = 0
        self.identified = 0
        self.unasked: Counter[str] = Counter()  # addresses that our own system did not let us ask, by its reason
        self.peak_connections = 0
        self._endpoints = endpoints
        self._look = look
        self._looks = min(LOOKS, connections // 2)
        self._knocks = connections - self._looks
        self._looking = 0
        self._waiting: dict[socket.socket, tuple[Endpoint, float]] = {}  # in the order in which they run out
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._there: asyncio.Queue[Endpoint | None] = asyncio.Queue()
        self._found: asyncio.Queue[Found | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[Found]:
        """Hosts that answered, as soon as they are known, in no order."""
        while (found := await self._found.get()) is not None:
            yield found

    async def run(self) -> None:
        """Knock at every endpoint and look at whoever answers; `scan` runs this beside the reader."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._looks):
                    group.create_task(self._look_at_who_is_there())
                await self._knock_at_all()
                for _ in range(self._looks):
                    self._there.put_nowait(None)
        finally:
            for sock in list(self._waiting):
                self._end(sock)
            if self._timer is not None:
                self._timer.cancel()
            self._found.put_nowait(None)

    # --- knocking

    async def _knock_at_all(self) -> None:
        """Where many answer, looking is slower than knocking: then knocks wait, and nothing piles up."""
        for endpoint in self._endpoints:
            while len(self._waiting) >= self._knocks or self._there.qsize() >= self._looks:
                await self._change()
            self._knock(endpoint)
        while self._waiting:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _knock(self, endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._refused_by_ourselves(error.errno)
            return
        code = sock.connect_ex((endpoint.host, endpoint.port))
        if code == errno.EINPROGRESS:
            self._waiting[sock] = endpoint, loop.time() + KNOCK_S
            self._count_connections()
            loop.add_writer(sock, self._is_decided, sock)
            if self._timer is None:
                self._timer = loop.call_later(KNOCK_S, self._run_out)
            return
        sock.close()
        if code in _IS_THERE or code == errno.EHOSTUNREACH:
            self._decide(endpoint, code)
        else:
            self._refused_by_ourselves(code)

    def _is_decided(self, sock: socket.socket) -> None:
        endpoint, _ = self._waiting[sock]
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._end(sock)
        self._decide(endpoint, code)

    def _run_out(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        while self._waiting:
            sock, (endpoint, ends_at) = next(iter(self._waiting.items()))
            if ends_at > now:
                self._timer = loop.call_at(ends_at, self._run_out)
                break
            self._end(sock)
            self._decide(endpoint, errno.ETIMEDOUT)

    def _end(self, sock: socket.socket) -> None:
        del self._waiting[sock]
        asyncio.get_running_loop().remove_writer(sock)
        sock.close()

    def _decide(self, endpoint: Endpoint, code: int) -> None:
        self.scanned += 1
        if code in _IS_THERE:
            self.answered += 1
            self._there.put_nowait(endpoint)
        self._changed.set()

    def _refused_by_ourselves(self, code: int | None) -> None:
        """No route, a firewall on the way out, no descriptor left: nothing has been sent, so nothing is known."""
        self.scanned += 1
        self.unasked[os.strerror(code or 0)] += 1

    def _count_connections(self) -> None:
        self.peak_connections = max(self.peak_connections, len(self._waiting) + self._looking)

    # --- looking

    async def _look_at_who_is_there(self) -> None:
        while (endpoint := await self._there.get()) is not None:
            self._changed.set()
            self._looking += 1
            self._count_connections()
            try:
                finding = await self._finding(endpoint)
            finally:
                self._looking -= 1
            self.identified += finding.make is not None
            self._found.put_nowait(Found(endpoint, finding))

    async def _finding(self, endpoint: Endpoint) -> Finding:
        """One look that always ends, whatever the host or our own driver does."""
        deadline_at = asyncio.get_running_loop().time() + LOOK_S
        try:
            async with asyncio.timeout_at(deadline_at + GRACE_S):
                return await self._look(endpoint, deadline_at)
        except TimeoutError:
            return Finding(fault=Fault(FaultKind.TIMEOUT, f"no end after {LOOK_S:g} s"))
        except Exception as error:  # noqa: BLE001 - one strange host must not end the scan of a site
            return Finding(fault=Fault(FaultKind.MALFORMED, f"driver failed: {type(error).__name__}"))


@asynccontextmanager
async def scan(endpoints: Iterable[Endpoint], look: Look, connections: int = CONNECTIONS) -> AsyncIterator[Scan]:
    """A running scan. Leaving the block ends it and closes every socket, also half way.

    Errors: ValueError as `Scan`; what an endless or broken `endpoints` raises, as ExceptionGroup.
    """
    running = Scan(endpoints, look, connections)
    task = asyncio.create_task(running.run())
    try:
        yield running
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Exception):  # a cancelled one is none
            raise ended


def native_look(credential: Credential | None = None) -> Look:
    """The look by our own drivers: who is it, and what does it say of itself. With the operator's login, if given."""

    async def look(endpoint: Endpoint, deadline_at: float) -> Finding:
        ports = {} if endpoint.port == RPC_PORT else {RPC_PORT: endpoint.port}
        miner = NativeMiner(Line(endpoint.host, ports, credential), deadline_at - asyncio.get_running_loop().time())
        try:
            reading = await miner.read()
        except PollError as error:
            make = miner.make.name if miner.make is not None else _word_of_library(error)
            return Finding(make, fault=error.as_fault())
        return Finding(reading.make, reading)

    return look


def _word_of_library(error: PollError) -> str | None:
    """The make that only a library reads, as the fault names it: `needs pyasic: goldshell`."""
    lead, _, word = error.detail.partition(": ")
    return word if lead == NEEDS_PYASIC and word != "unknown" else None
