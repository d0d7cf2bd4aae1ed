"""A door for native code: an HTTP proxy on loopback that lets pass what the fence allows, by our own transport.

A library of compiled code cannot be patched, but it takes its proxy from the environment. Ours knows which hosts are
being looked at, refuses every other request with 403, asks the machine itself (bounded, no redirect followed) and
hands the answer back. Only who knows its password may use it, and it listens only while the process lives.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from collectors.miners import http
from collectors.miners.fence import Visit, may_pass
from collectors.miners.make import HTTP_PORT
from fleet.ports import PollError

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
USER = "door"

_OURS = frozenset(
    {"host", "connection", "content-length", "accept-encoding", "proxy-authorization", "proxy-connection"}
)
_FRAMING = frozenset({"connection", "content-length", "content-encoding", "transfer-encoding", "keep-alive"})


class Door:
    """One per event loop. `url` is what the library's environment shall name as its proxy, once it is open."""

    def __init__(self) -> None:
        self._visits: dict[str, Visit] = {}
        self._password = secrets.token_urlsafe(24)
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Listen on a free port of loopback; its URL."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_HEAD_BYTES)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://{USER}:{self._password}@127.0.0.1:{port}"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    @contextmanager
    def visited(self, visit: Visit) -> Iterator[None]:
        """Let reads of this host pass for the while."""
        self._visits[visit.host] = visit
        try:
            yield
        finally:
            del self._visits[visit.host]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await self._answer(reader))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # what is no request of HTTP gets no answer
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        """Errors: ValueError and those of the stream for what cannot be read as a request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, url, _ = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if length > MAX_BODY_BYTES:
            return _reply(413)
        body = await reader.readexactly(length)
        place = urlsplit(url)  # of CONNECT it has no host: nobody can look into TLS, so there is none
        target = (place.path or "/") + (f"?{place.query}" if place.query else "")
        visit = self._visits.get(place.hostname or "")
        if not self._is_known(headers.get("proxy-authorization", "")):
            return _reply(407)
        if visit is None or not may_pass(method, visit.host, target, headers.keys(), body, visit):
            return _reply(403)
        try:
            response = await http.request(
                visit.host,
                place.port or HTTP_PORT,
                method,
                target,
                visit.deadline_at,
                headers=tuple((name, value) for name, value in headers.items() if name not in _OURS),
                body=body if length else None,
            )
        except PollError:
            return _reply(502)
        kept = ((name, value) for name, value in response.headers if name not in _FRAMING)
        return _reply(response.status, tuple(kept), response.body)

    def _is_known(self, authorization: str) -> bool:
        expected = "Basic " + base64.b64encode(f"{USER}:{self._password}".encode()).decode()
        return secrets.compare_digest(authorization.encode(), expected.encode())


def _reply(status: int, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> bytes:
    ours = (("content-length", str(len(body))), ("connection", "close"))
    lines = [f"HTTP/1.1 {status} ", *(f"{name}: {value}" for name, value in (*headers, *ours)), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
