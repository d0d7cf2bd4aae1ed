"""Hostile machines on real sockets of 127/8, and looks at them as the agent has them.

One machine listens on up to four ports (4028, 4433, 80, 8080) and answers as the healthy one does, but for the
questions that its case takes over: for those it says when, in what pieces and with what end the bytes come.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from collectors.miners.framed import frame
from collectors.miners.line import Line
from collectors.miners.make import Ask, Credential, Via
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading
from hostile.cases import Case
from hostile.machines import encoded, machine

LOGIN = Credential("root", "canary-password")
SHORT_S, PATIENT_S, LONG_S = 0.4, 1.2, 10.0
"""Deadline of looks that must run into it; of looks whose end must, though their beginning must not, on a busy computer
either; and of looks that must not."""

LATE_S = 0.25
"""How long after its deadline a look may still hold whoever waits for it."""


@dataclass(frozen=True)
class Sends:
    """What one question gets: `data`, all at once or in pieces of `chunk` bytes with a pause before each, for ever
    where `endless`; then the end of the stream, silence on an open connection, or a broken connection."""

    data: bytes = b""
    then: str = "fin"  # "fin", "hold", "rst"
    chunk: int = 0
    pause_s: float = 0.0
    endless: bool = False


HANG = Sends(then="hold")
RESET = Sends(then="rst")
NOTHING = Sends()


def page(body: bytes, status: int = 200, *headers: str) -> Sends:
    head = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}", *headers, "", ""]
    return Sends("\r\n".join(head).encode() + body)


Script = Mapping[str, Sends]
"""By the name of a question, a command ("summary+stats"), a path, or "rpc", "framed", "http" for all of a kind."""


@dataclass(frozen=True)
class WireCase:
    """`expect` says how the last look ends. `scripts` = one per look; `closed` ports refuse the connection;
    `key` None = the machine is to be identified; `asks_at_most` bounds the requests of all looks together."""

    expect: Case
    scripts: tuple[Script, ...]
    key: str | None
    deadline_s: float = LONG_S
    credential: Credential | None = None
    closed: frozenset[int] = frozenset()
    asks_at_most: int | None = None

    @property
    def name(self) -> str:
        return self.expect.name


# --- the machine -----------------------------------------------------------------------------------------------------


@dataclass
class HostileMachine:
    name: str
    script: Script
    host: str = "127.0.0.1"
    ports: dict[int, int] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)
    open_connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, usual: int) -> None:
        self.open_connections += 1
        try:
            await send(await self._answer(reader, usual), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open_connections -= 1

    async def _answer(self, reader: asyncio.StreamReader, usual: int) -> Sends:
        if usual == 4433:
            request = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "little"))
            self.requests.append(request)
            return self._framed(json.loads(request))
        start = await reader.read(65536)
        if not start:
            return NOTHING
        self.requests.append(start)
        if start.startswith((b"GET ", b"POST ")):
            head, _, body = start.partition(b"\r\n\r\n")
            return self._page(head.split(b" ")[1].decode(), body)
        return self._rpc(json.loads(start))

    def _rpc(self, request: dict[str, Any]) -> Sends:
        command = str(request["command"])
        if command in self.script:
            return self.script[command]
        if "rpc" in self.script:
            return self.script["rpc"]
        parts = command.split("+")
        if len(parts) > 1:
            known = all(part in self._replies for part in parts) and not any(part in self.script for part in parts)
            if not machine(self.name).joins or not known:
                return Sends(REFUSAL)
            return Sends(encoded({part: [self._replies[part]] for part in parts}) + b"\0")
        asked = self._ask(Via.RPC, lambda ask: ask.what == command and dict(ask.extra) == _extra(request))
        return self._of(asked, Sends(REFUSAL), b"", b"\0")

    def _framed(self, request: dict[str, Any]) -> Sends:
        if "framed" in self.script:
            return self.script["framed"]
        asked = self._ask(Via.FRAMED, lambda ask: (ask.what, ask.parameter) == (request["cmd"], request.get("param")))
        if asked is not None and asked.name not in self.script and asked.name in self._replies:
            return Sends(frame(encoded(self._replies[asked.name])))
        return self._of(asked, Sends(frame(b'{"code":-1,"msg":"invalid command"}')), b"", b"")

    def _page(self, path: str, body: bytes) -> Sends:
        if path in self.script:
            return self.script[path]
        if "http" in self.script:
            return self.script["http"]
        asked = self._ask(Via.HTTP, lambda ask: ask.what == path and (ask.body or b"") == body)
        if asked is not None and asked.name in self.script:
            return self.script[asked.name]
        if asked is None or asked.name not in self._replies:
            return page(b"", 404)
        return page(encoded(self._replies[asked.name]))

    @property
    def _replies(self) -> Mapping[str, Any]:
        return machine(self.name).replies

    def _ask(self, via: Via, is_it: Callable[[Ask], bool]) -> Ask | None:
        return next((ask for ask in machine(self.name).make.asks if ask.via is via and is_it(ask)), None)

    def _of(self, ask: Ask | None, else_: Sends, before: bytes, after: bytes) -> Sends:
        if ask is None:
            return else_
        if ask.name in self.script:
            return self.script[ask.name]
        return Sends(before + encoded(self._replies[ask.name]) + after) if ask.name in self._replies else else_


REFUSAL = b'{"STATUS":[{"STATUS":"E","When":1,"Code":14,"Msg":"Invalid command","Description":"x"}],"id":1}\0'


def _extra(request: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in ("command", "parameter")}


async def send(what: Sends, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    size = what.chunk or max(len(what.data), 1)
    while True:
        for i in range(0, len(what.data), size):
            if what.pause_s:
                await asyncio.sleep(what.pause_s)
            writer.write(what.data[i : i + size])
            await writer.drain()
            if what.chunk:
                await asyncio.sleep(0)
        if not what.endless:
            break
        await asyncio.sleep(0)
    if what.then == "hold":
        await reader.read()
    if what.then == "rst":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@asynccontextmanager
async def hostile_machine(case: WireCase) -> AsyncIterator[HostileMachine]:
    """The machine of a case on free ports of 127.0.0.1; what is closed is a port at which nobody listens."""
    made = HostileMachine(case.expect.machine, case.scripts[0])
    servers = []
    refusing: list[socket.socket] = []
    usual_ports = {ask.port for ask in machine(made.name).make.asks}
    for usual in (4028, 4433, 80, 8080):
        if usual in usual_ports - case.closed:
            server = await asyncio.start_server(
                lambda reader, writer, usual=usual: made.serve(reader, writer, usual), made.host, 0
            )
            servers.append(server)
            made.ports[usual] = server.sockets[0].getsockname()[1]
        else:
            bound = socket.socket()  # ours, and nobody listens: it refuses
            bound.bind((made.host, 0))
            refusing.append(bound)
            made.ports[usual] = bound.getsockname()[1]
    try:
        yield made
    finally:
        for closing in (*servers, *refusing):
            closing.close()


# --- looks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """How the last look of a case ended, how late the latest one was, and what the machine counted meanwhile."""

    outcome: MinerReading | PollError
    late_s: float
    requests: tuple[bytes, ...]
    open_connections: int


async def seen(case: WireCase) -> Seen:
    async with hostile_machine(case) as made:
        line = Line(made.host, ports=made.ports, credential=case.credential)
        miner = NativeMiner(line, case.deadline_s, key=case.key)
        loop = asyncio.get_running_loop()
        late_s = 0.0
        outcome: MinerReading | PollError = PollError(FaultKind.MALFORMED, "no look")
        for script in case.scripts:
            made.script = script
            began = loop.time()
            try:
                outcome = await miner.read()
            except PollError as error:
                outcome = error
            late_s = max(late_s, loop.time() - began - case.deadline_s)
        for _ in range(100):
            if not made.open_connections:
                break
            await asyncio.sleep(0.01)
        return Seen(outcome, late_s, tuple(made.requests), made.open_connections)
