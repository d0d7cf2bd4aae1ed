"""The listener: `/metrics`, `/healthz`, `/readyz`, `/sd`, `/status.json`, `/fleet.json` and the status page, over HTTP
or HTTPS.

Strategy: nobody who reads us may slow the farm down. A page is made off the event loop, in pieces, so that a slow
reader costs one bounded buffer; scrapes are few at a time and each has an end; a client that says nothing, in TLS or
in HTTP, is dropped; connections are counted. A page that breaks half-way ends as a broken connection, because a reader
would take a short page for the whole truth. Certificate and users are read again when their files change; where they
guard the listener, readers on this machine have a second door, a socket file for its user alone (`open_beside`).
This is the only importer of aiohttp's server.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import logging
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from agent import webconfig
from agent.config import ConfigError
from agent.statuspage import status_html
from agent.webconfig import PasswordBook, WebConfig

MAX_SCRAPES = 4
SCRAPE_S = 60.0  # from the first to the last byte of a page
SILENCE_S = 10.0  # a connection that has not finished its first request by then is dropped
HANDSHAKE_S = 5.0
MAX_CONNECTIONS = 128
KEPT_BESIDE = 8  # connections more for the socket file: strangers who hold all the others do not shut the operator out
PIECE_BYTES = 256 * 1024
SWEEP_S = 2.0
PAGES_BESIDE = ("/status.json", "/fleet.json", "/readyz")
"""What the commands on this machine ask for; the socket file serves nothing else."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HARDENING = {
    "Server": "hashwatt",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

log = logging.getLogger("hashwatt.web")


@dataclass(frozen=True, slots=True)
class Pages:
    """What there is to read. `metrics` is called and iterated in a thread, `fleet` is called in one, the others on the
    event loop.

    `status` is JSON-ready; `fleet` is JSON, empty while there is none; `is_ready`: the first full round is done;
    `is_alive`: cycles go on.
    """

    site: str
    metrics: Callable[[], Iterator[bytes]]
    status: Callable[[], Mapping[str, object]]
    is_ready: Callable[[], bool]
    is_alive: Callable[[], bool] = lambda: True
    fleet: Callable[[], bytes] = bytes


class Listener:
    """An open listener; `port` is the one that the system chose where 0 was asked for."""

    def __init__(self, pages: Pages, settings: WebConfig) -> None:
        self.port = 0
        self._pages = pages
        self._settings = settings
        self._passwords = PasswordBook(settings.users)
        self._context: ssl.SSLContext | None = None
        self._stamps = _stamps(settings)
        self._scrapes = 0
        self._silent_until: dict[RequestHandler, float] = {}
        # one thread more than scrapes: a password check must not wait for a page
        self._threads = ThreadPoolExecutor(MAX_SCRAPES + 1, thread_name_prefix="web")
        self._judging = asyncio.Lock()
        self._beside: asyncio.Server | None = None
        self._runner = web.AppRunner(
            self._application(), access_log=None, keepalive_timeout=75.0, lingering_time=1.0, shutdown_timeout=1.0
        )

    @property
    def scheme(self) -> str:
        return "https" if self._settings.tls else "http"

    async def start(self, host: str, port: int) -> None:
        """Errors: ConfigError, where the address is in use or not ours, or a certificate cannot be used."""
        if self._settings.tls is not None:
            self._context = webconfig.server_context(self._settings.tls)
        await self._runner.setup()
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._connection,
                host,
                port,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_S if self._context else None,
                backlog=MAX_CONNECTIONS,
            )
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError("prometheus.listen", _bind_problem(f"{host}:{port}", error)) from None
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._sweep())

    async def open_beside(self, path: Path) -> None:
        """Listen on a socket file too, without TLS and password. The caller has the journal beside it to himself.

        An agent without it does all its work, so what fails is a line in the log.
        """
        try:
            door = _socket_file(path)
            loop = asyncio.get_running_loop()
            connection = partial(self._connection, KEPT_BESIDE)
            self._beside = await loop.create_unix_server(connection, sock=door, backlog=MAX_CONNECTIONS)
            self._beside_path = path
        except OSError as error:
            why = error.strerror or error
            log.warning("cannot listen on %s, so the commands here look for themselves: %s", path, why)

    async def aclose(self) -> None:
        self._sweeper.cancel()
        self._server.close()
        if self._beside is not None:
            self._beside.close()
            _remove(self._beside_path)
        await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=1024)
        application.router.add_get("/", self._status_page)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/sd", self._targets)
        application.router.add_get("/status.json", self._status_json)
        application.router.add_get("/fleet.json", self._fleet_json)
        application.on_response_prepare.append(self._set_headers)
        return application

    def _connection(self, kept: int = 0) -> asyncio.Protocol:
        """The protocol of one new connection, under watch until its first request is whole."""
        assert self._runner.server is not None
        if len(self._runner.server.connections) >= MAX_CONNECTIONS + kept:
            return _Refusal()
        handler = self._runner.server()
        self._silent_until[handler] = asyncio.get_running_loop().time() + SILENCE_S
        return handler

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = asyncio.get_running_loop().time()
            for handler, until in list(self._silent_until.items()):
                if now > until:
                    del self._silent_until[handler]
                    if handler.transport is not None:
                        handler.transport.abort()
            try:
                self._reread()
            except ConfigError as error:
                log.error("web-config not taken over, the old one stays: %s", error)

    def _reread(self) -> None:
        """Take over new users and a renewed certificate; a change between HTTP and HTTPS needs a restart."""
        stamps = _stamps(self._settings)
        if stamps == self._stamps or self._settings.source is None:
            return
        self._stamps = stamps
        fresh = webconfig.load(self._settings.source)
        if (fresh.tls is None) != (self._settings.tls is None):
            raise ConfigError("tls_server_config", "cannot come or go while the agent runs")
        if fresh.tls is not None and self._context is not None:
            webconfig.use_certificate(self._context, fresh.tls)
        self._settings, self._passwords = fresh, PasswordBook(fresh.users)
        self._stamps = _stamps(fresh)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What every request passes: the client's certificate, the password, and a plain last word."""
        self._silent_until.pop(request.protocol, None)
        if _is_beside(request):
            return await self._answer(request, handler) if request.path in PAGES_BESIDE else _text(404, "Not Found")
        tls = self._settings.tls
        if tls is not None and tls.client_sans:
            certificate = request.get_extra_info("peercert") or {}
            if not tls.client_sans & webconfig.client_names(certificate):
                return _text(403, "this client certificate is not on the list", close=True)
        if self._settings.users and not await self._is_welcome(request):
            return _text(401, "unauthorized", {"WWW-Authenticate": 'Basic realm="hashwatt"'})
        return await self._answer(request, handler)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _text(error.status, error.reason)
        except (ConnectionError, TimeoutError):
            raise
        except Exception:  # a page that cannot be made is one broken answer, never a broken agent
            log.exception("cannot answer %s", request.path)
            return _text(500, "this page cannot be made now; the log says why")

    async def _is_welcome(self, request: web.Request) -> bool:
        user, password = _credentials(request.headers.get("Authorization", ""))
        verdict = self._passwords.verdict(user, password)
        if verdict is None:
            # one at a time: guessing may cost one thread, not the gateway
            async with self._judging:
                check = self._passwords.check
                verdict = await asyncio.get_running_loop().run_in_executor(self._threads, check, user, password)
        return verdict

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        return await self._bounded(request, self._stream)

    async def _fleet_json(self, request: web.Request) -> web.StreamResponse:
        return await self._bounded(request, self._whole_fleet)

    async def _bounded(self, request: web.Request, answer: Handler) -> web.StreamResponse:
        """A large page: few of them at a time, and none for ever."""
        if self._scrapes >= MAX_SCRAPES:
            return _text(503, "too many scrapes at once", {"Retry-After": "5"})
        self._scrapes += 1
        try:
            async with asyncio.timeout(SCRAPE_S):
                return await answer(request)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            self._scrapes -= 1

    async def _whole_fleet(self, request: web.Request) -> web.StreamResponse:
        body = await asyncio.get_running_loop().run_in_executor(self._threads, self._pages.fleet)
        if not body:
            return _text(503, "no cycle has finished yet")
        response = web.Response(body=body, content_type="application/json", charset="utf-8")
        # sent here and not by the server, so that a reader who takes nothing is counted until he has an end
        await response.prepare(request)
        await response.write_eof()
        return response

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        is_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
        pieces = _pieces(self._pages.metrics, is_gzip)
        # the first piece before the head, so that a page that cannot be made is a 500
        piece = await loop.run_in_executor(self._threads, next, pieces, b"")
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        if is_gzip:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        await response.prepare(request)
        try:
            while piece:
                await response.write(piece)
                piece = await loop.run_in_executor(self._threads, next, pieces, b"")
        except ConnectionError:
            raise  # the reader left
        except Exception:  # a torn page must look torn
            log.exception("the metrics page broke half-way")
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("page given up") from None
        await response.write_eof()
        return response

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _text(200, "ok") if self._pages.is_alive() else _text(503, "no cycle has finished in time")

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _text(200, "ready") if self._pages.is_ready() else _text(503, "waiting for the first full round")

    async def _targets(self, request: web.Request) -> web.Response:
        """Ourselves as a target of Prometheus' http_sd, by the address that the question came to."""
        host, port = request.get_extra_info("sockname")[:2]
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return _json([{"targets": [target], "labels": {"site": self._pages.site, "__scheme__": self.scheme}}])

    async def _status_json(self, _request: web.Request) -> web.Response:
        return _json(self._pages.status())

    async def _status_page(self, _request: web.Request) -> web.Response:
        return web.Response(text=status_html(self._pages.status()), content_type="text/html", charset="utf-8")

    async def _set_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HARDENING)
        response.headers.update(self._settings.headers)


class _Refusal(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()  # uvloop's, of a socket file or under TLS, is none by its class


async def listen(host: str, port: int, pages: Pages, web_config: Path | None = None) -> Listener:
    """Open the listener. Errors: ConfigError in one line: port in use, bad web-config, unusable certificate."""
    listener = Listener(pages, webconfig.load(web_config) if web_config else WebConfig())
    await listener.start(host, port)
    return listener


def _socket_file(path: Path) -> socket.socket:
    """A bound socket that only our own user, and root, may connect to. Errors: OSError."""
    if path.is_socket():  # of an agent that has gone
        path.unlink()
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.bind(str(path))
        path.chmod(0o600)  # nobody can connect before it listens, so nobody came in before this
    except OSError:
        door.close()
        raise
    return door


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _is_beside(request: web.Request) -> bool:
    """Whether the question came through the socket file; False where the connection has gone."""
    connection = request.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX


def _pieces(page: Callable[[], Iterator[bytes]], is_gzip: bool) -> Iterator[bytes]:
    """The page in pieces of some 256 KiB, packed where the reader can unpack; never an empty piece."""
    # Level 1: nine times less CPU than level 9 for a page that is a fifth larger.
    pack = zlib.compressobj(1, wbits=31) if is_gzip else None
    held = bytearray()
    for block in page():
        held += pack.compress(block) if pack else block
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    if pack:
        held += pack.flush()
    if held:
        yield bytes(held)


def _credentials(header: str) -> tuple[str, str]:
    """User and password of an Authorization header; two empty texts where it has none."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return user, password


def _stamps(settings: WebConfig) -> tuple[tuple[int, int], ...]:
    """What tells that one of the files has changed."""
    stamps = []
    for path in settings.files():
        try:
            found = path.stat()
            stamps.append((found.st_mtime_ns, found.st_ino))
        except OSError:
            stamps.append((0, 0))
    return tuple(stamps)


def _bind_problem(listen: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{listen} is in use"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{listen} is no address of this machine"
    return f"cannot listen on {listen}: {error.strerror or error}"


def _json(document: Any) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json", charset="utf-8")


def _text(status: int, text: str, headers: Mapping[str, str] | None = None, *, close: bool = False) -> web.Response:
    response = web.Response(status=status, text=text + "\n", headers=headers)
    if close:
        response.force_close()
    return response
