"""A machine on 127/8 that answers HTTP from a script: raw bytes for a path, or one of the ways to misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from scripted_miner import Answer, give

Script = Mapping[str, Answer] | Callable[["Asked"], Answer]


@dataclass(frozen=True)
class Asked:
    """One request as it came: the first line, the headers with their names in lower case, the body."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class ScriptedPages:
    host: str
    port: int
    script: Script
    asked: list[Asked] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await _request(reader)
            self.asked.append(asked)
            answer = self.script(asked) if callable(self.script) else self.script.get(asked.target, page(b"", 404))
            await give(answer, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def page(body: bytes, status: int = 200, *headers: str) -> bytes:
    """A response as an honest server writes it."""
    head = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


@asynccontextmanager
async def scripted_pages(script: Script, host: str = "127.0.0.1") -> AsyncIterator[ScriptedPages]:
    pages = ScriptedPages(host, 0, script)
    server = await asyncio.start_server(pages.handle, host, 0)
    pages.port = server.sockets[0].getsockname()[1]
    try:
        yield pages
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
    return Asked(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))
