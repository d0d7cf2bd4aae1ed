"""A machine on 127/8 that answers port 4028 from a script: bytes for a command, or one of the ways to misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

CAPTURES = Path(__file__).resolve().parent.parent / "captures" / "miners"


def captured(folder: str, name: str) -> dict[str, object]:
    """One recorded reply."""
    reply: dict[str, object] = json.loads((CAPTURES / folder / f"{name}.json").read_text())
    return reply


def wire(reply: object, end: bytes = b"\0") -> bytes:
    """A reply as machines send it: compact, and ended by a NUL unless told otherwise."""
    return json.dumps(reply).encode() + end


class Hang:
    """Accept, read, never answer."""


class Reset:
    """Read, then break the connection with RST."""


@dataclass
class Dribble:
    """Send byte by byte, then leave the connection open."""

    data: bytes


@dataclass
class Flood:
    """Send the same bytes for ever."""

    data: bytes


@dataclass
class KeepOpen:
    """Send, and never close."""

    data: bytes


Answer = bytes | Hang | Reset | Dribble | Flood | KeepOpen


@dataclass
class ScriptedMiner:
    host: str
    port: int
    answers: dict[str, Answer]
    asked: list[str] = field(default_factory=list)
    open_connections: int = 0
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        self.all_closed.clear()
        try:
            request = await reader.read(4096)
            if request:
                command = str(json.loads(request)["command"])
                self.asked.append(command)
                await give(self.answers.get(command, self.answers.get("*", b"")), reader, writer)
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()
            self.open_connections -= 1
            if not self.open_connections:
                self.all_closed.set()


async def give(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One answer, or one way to misbehave; the caller closes."""
    match answer:
        case bytes():
            writer.write(answer)
            await writer.drain()
        case Hang():
            await reader.read()  # returns when the other side gives up
        case Reset():
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        case Dribble(data):
            for i in range(len(data)):
                writer.write(data[i : i + 1])
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()
        case Flood(data):
            while True:
                writer.write(data)
                await writer.drain()
        case KeepOpen(data):
            writer.write(data)
            await writer.drain()
            await reader.read()


@asynccontextmanager
async def scripted_miner(
    answers: Mapping[str, Answer], host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[ScriptedMiner]:
    miner = ScriptedMiner(host, port, dict(answers))
    server = await asyncio.start_server(miner.handle, host, port)
    miner.port = server.sockets[0].getsockname()[1]
    try:
        yield miner
    finally:
        server.close()


def refuse(code: int, message: str, description: str = "cgminer 1.0.0") -> bytes:
    """An E status."""
    return wire(
        {"STATUS": [{"STATUS": "E", "When": 1, "Code": code, "Msg": message, "Description": description}], "id": 1}
    )
