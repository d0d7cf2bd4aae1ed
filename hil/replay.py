"""A recorded machine as an emulated one: serves the replies of a capture folder on real sockets, byte for byte.

Each port speaks what was recorded there: the cgminer API (one reply, then the server closes), the framed API of
WhatsMiner v3, or HTTP. What was not recorded is refused the way such a firmware refuses it. A machine that asked for a
login asks for it again; one that took joined commands takes them. Nothing listens outside 127/8.

`python -m hil.replay FOLDER... --host 127.60.0.1` serves each folder at an address of its own, counting up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self

from collectors.captures import Capture, CaptureError, Reply, load, read_capture, settled
from collectors.miners.http import digest_response
from collectors.miners.make import HTTP_PORT, Credential, Via
from fleet.ports import PollError
from hil.loopback import addresses, tcp_listener

LOGIN = Credential("root", "let-me-in")
"""What opens a replayed machine unless the caller says otherwise."""

NONCE = "replayed-nonce"
TOKEN = "REDACTED"  # noqa: S105  what redaction left of the token that a machine gave out
MAX_REQUEST_BYTES = 64 * 1024
IDLE_S = 10.0
NO_PORTS: Mapping[int, int] = MappingProxyType({})


class Request(NamedTuple):
    """One HTTP request; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class ReplayedMachine:
    """One capture on sockets: `async with ReplayedMachine(capture, host)`.

    `ports` puts others in the place of recorded ones, 0 = any free one; `at` tells which it became. `asked` lists the
    questions that came in, for tests that judge a client's manners. `login` opens it.
    """

    def __init__(
        self, capture: Capture, host: str, ports: Mapping[int, int] = NO_PORTS, login: Credential = LOGIN
    ) -> None:
        self.capture = settled(capture)
        self.host = host
        self.at: dict[int, int] = {}
        self.asked: list[str] = []
        self._ports = ports
        self._login = login
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> Self:
        try:
            for port, speaks in self._spoken().items():
                sock = tcp_listener(self.host, self._ports.get(port, port))
                self.at[port] = sock.getsockname()[1]
                self._servers.append(await asyncio.start_server(_bounded(speaks), sock=sock, limit=MAX_REQUEST_BYTES))
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _spoken(self) -> dict[int, Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]]:
        """Port -> who answers there."""
        talks = {Via.HTTP: self._talk_http, Via.FRAMED: self._talk_framed, Via.RPC: self._talk_rpc}
        usual = {Via.HTTP: HTTP_PORT, Via.FRAMED: 4433, Via.RPC: 4028}
        return {
            reply.port or usual[via]: talk
            for via, talk in talks.items()
            for reply in self.capture.replies
            if reply.via is via
        }

    # --- the cgminer API

    async def _talk_rpc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _json_request(reader)
        command = str(request.pop("command", ""))
        parameter = request.pop("parameter", None)
        self.asked.append(command if parameter is None else f"{command} {parameter}")
        if "+" in command and self.capture.joins:
            parts = (f'"{name}":[{self._rpc(name, is_joined=True).decode("latin-1")}]' for name in command.split("+"))
            answer = ("{" + ",".join(parts) + ',"id":1}').encode("latin-1")
        else:
            answer = self._rpc(command, parameter, tuple(request.items()))
        writer.write(answer + b"\0")

    def _rpc(
        self, command: str, parameter: object = None, extra: tuple[Any, ...] = (), *, is_joined: bool = False
    ) -> bytes:
        known = [r for r in self.capture.replies if r.via is Via.RPC and r.what == command]
        wanted = None if parameter in (None, "") else str(parameter)
        fits = [r for r in known if r.parameter == wanted and r.extra in (extra, ())]
        # firmware does not know keys that are newer than it, and answers as if they were not there
        reply = next((r for r in fits if r.extra == extra), fits[0] if fits else None)
        if reply is None or (is_joined and isinstance(_status(reply), str)):
            return self._refusal(command, is_joined=is_joined)
        return reply.raw.rstrip(b"\0\r\n")

    def _refusal(self, command: str, *, is_joined: bool = False) -> bytes:
        """Code 14 in the shape that this firmware gives a STATUS, with the name that it gives itself."""
        statuses = [status for reply in self.capture.replies if (status := _status(reply)) is not None]
        listed = next((s for s in statuses if isinstance(s, dict)), {})
        fields = {"When": 0, "Code": 14, "Msg": "invalid cmd", "Description": listed.get("Description", "")}
        is_flat = command.startswith(("get_", "status")) and any(isinstance(s, str) for s in statuses)
        if is_flat and not is_joined:
            return json.dumps({"STATUS": "E", **fields}).encode()
        return json.dumps({"STATUS": [{"STATUS": "E", **fields}], "id": 1}).encode()

    # --- JSON behind a length

    async def _talk_framed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("<I", await reader.readexactly(4))
        if size > MAX_REQUEST_BYTES:
            return
        request = json.loads(await reader.readexactly(size))
        command, parameter = str(request.get("cmd")), request.get("param")
        self.asked.append(command if parameter is None else f"{command} {parameter}")
        reply = next(
            (r for r in self.capture.replies if r.via is Via.FRAMED and (r.what, r.parameter) == (command, parameter)),
            None,
        )
        refusal = {"code": -1, "when": 0, "msg": "invalid command", "desc": command}
        answer = json.dumps(refusal).encode() if reply is None else reply.raw
        writer.write(struct.pack("<I", len(answer)) + answer)

    # --- pages

    async def _talk_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _http_request(reader)
        self.asked.append("no HTTP" if request is None else f"{request.method} {request.target}")
        writer.write(_response(400, b"400 Bad Request") if request is None else self._page(request))

    def _page(self, request: Request) -> bytes:
        gate = self.capture.gate
        if gate is not None and gate.kind == "token" and request.target == gate.path and request.method == "POST":
            is_right = self._login.password.encode() in request.body
            return _response(200, gate.answer.encode()) if is_right else _response(401, b"{}")
        reply = self._reply_to(request)
        if reply is None:
            is_guarded = request.target == "/" and gate is not None and gate.kind == "digest"
            return self._challenge() if is_guarded else _response(404, b"404 Not Found")
        if reply.needs_login and not self._is_let_in(request):
            return self._challenge()
        if reply.raw.startswith(b"HTTP/1."):
            return _recorded_response(reply.raw)
        return _response(200, reply.raw)

    def _reply_to(self, request: Request) -> Reply | None:
        pages = [r for r in self.capture.replies if r.via is Via.HTTP and r.method == request.method]
        path = request.target.partition("?")[0]
        at_path = [r for r in pages if r.what == request.target] or [r for r in pages if r.what == path]
        if request.method != "POST":
            return at_path[0] if at_path else None
        said = request.body.decode("utf-8", "replace")
        same = next((r for r in at_path if r.body == said), None)
        return same or (_answer_to_query(at_path, said) if at_path else None)

    def _is_let_in(self, request: Request) -> bool:
        gate = self.capture.gate
        if gate is None:
            return True  # nobody recorded how it asks for a login
        if gate.kind == "token":
            return any(TOKEN in value for value in request.headers.values())
        said = dict(_FIELD.findall(request.headers.get("authorization", "")))
        proof = digest_response(
            "MD5",
            self._login,
            gate.realm,
            NONCE,
            request.method,
            request.target,
            "auth",
            int(said.get("nc", "0"), 16),
            said.get("cnonce", "").strip('"'),
        )
        return bool(proof == said.get("response", "").strip('"'))

    def _challenge(self) -> bytes:
        gate = self.capture.gate
        if gate is None or gate.kind != "digest":
            return _response(401, b"{}")
        demand = f'WWW-Authenticate: Digest realm="{gate.realm}", nonce="{NONCE}", qop="auth"'
        return _response(401, b"401 Unauthorized", demand)


class ReplayedMachines:
    """Several captures, each at an address of its own; open only between `open` and `aclose`.

    One that answers on a port which this user may not open is left out as a whole: half a machine would be another one.
    """

    def __init__(self, captures: Sequence[Capture], hosts: Sequence[str]) -> None:
        self._machines = [ReplayedMachine(capture, host) for capture, host in zip(captures, hosts, strict=True)]
        self._running = contextlib.AsyncExitStack()
        self.served: list[ReplayedMachine] = []
        self.left_out: list[str] = []
        """Names of the folders."""

    async def open(self) -> None:
        """Errors: OSError for an address in use."""
        for machine in self._machines:
            try:
                self.served.append(await self._running.enter_async_context(machine))
            except PermissionError:
                self.left_out.append(machine.capture.folder.name)

    async def aclose(self) -> None:
        await self._running.aclose()
        self.served.clear()

    @property
    def hosts(self) -> list[str]:
        return [machine.host for machine in self.served]

    @property
    def pools(self) -> list[str]:
        """Where the served machines said they work, once each."""
        return sorted({pool for machine in self.served if (pool := _pool_of(machine.capture)) is not None})


def _pool_of(capture: Capture) -> str | None:
    try:
        return read_capture(capture).pool_host
    except PollError:
        return None


_FIELD = re.compile(r'(\w+)=("[^"]*"|[^\s,]+)')
_WORDS = re.compile(r"\w+")


def _answer_to_query(replies: Sequence[Reply], query: str) -> Reply:
    """What the recorded answers say together to another GraphQL query: the fields that it names, and no other."""
    wanted = {*_WORDS.findall(query), "data"}
    merged: Any = {}
    for reply in replies:
        with contextlib.suppress(ValueError):
            merged = _merged(merged, json.loads(reply.raw))
    return replace(replies[0], raw=json.dumps(_pruned(merged, wanted)).encode())


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {key: _merged(one[key], value) if key in one else value for key, value in other.items()}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [_merged(a, b) for a, b in zip(one, other, strict=True)]
    return other if one is None else one


def _pruned(value: Any, wanted: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(item, wanted) for key, item in value.items() if key in wanted}
    return [_pruned(item, wanted) for item in value] if isinstance(value, list) else value


def _status(reply: Reply) -> Any:
    """STATUS of a reply of the cgminer API: the object of its list, or the bare letter; None where there is none."""
    try:
        value = json.loads(reply.raw)
    except ValueError:
        return None
    status = value.get("STATUS") if isinstance(value, dict) else None
    return status[0] if isinstance(status, list) and status else status


def _bounded(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """One exchange, then the connection closes, whatever the client did."""

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(IDLE_S):
                await talk(reader, writer)
                await writer.drain()
        writer.close()

    return exchange


async def _json_request(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The request, at the first moment that it is whole: clients do not end it with anything."""
    received = b""
    while len(received) <= MAX_REQUEST_BYTES and (chunk := await reader.read(4096)):
        received += chunk
        with contextlib.suppress(ValueError):
            request = json.loads(received.strip(b"\0 \r\n"))
            return request if isinstance(request, dict) else {}
    return {"command": received.decode("utf-8", "replace").strip()}


async def _http_request(reader: asyncio.StreamReader) -> Request | None:
    """The request; None for what begins like none."""
    begin = await reader.readexactly(1)
    if not begin.isalpha():
        return None
    head = (begin + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, _, rest = first.partition(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not rest.startswith("/"):
        return None
    size = int(headers.get("content-length", "0"))
    body = await reader.readexactly(size) if 0 < size <= MAX_REQUEST_BYTES else b""
    return Request(method, rest.partition(" ")[0], headers, body)


def _response(status: int, body: bytes, *headers: str) -> bytes:
    kind = "application/json" if body[:1] in (b"{", b"[") else "text/plain"
    lines = (f"HTTP/1.1 {status} x", f"Content-Type: {kind}", *headers, f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1") + body


def _recorded_response(raw: bytes) -> bytes:
    """A page that was recorded with its head; the framing is ours, for the body has none any more."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    framing = ("content-length", "transfer-encoding", "connection", "content-encoding")
    kept = [line for line in lines if line.partition(":")[0].strip().lower() not in framing]
    parts = (first, *kept, f"Content-Length: {len(body)}", "Connection: close", "", "")
    return "\r\n".join(parts).encode("latin-1") + body


# ---------------------------------------------------------------------------------------------------------------------
# python -m hil.replay


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hil.replay", description="Recorded machines on 127/8.")
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="a folder with the replies of a machine"
    )
    parser.add_argument("--host", default="127.60.0.1", help="address of the first; the others follow")
    parser.add_argument(
        "--port", action="append", default=[], metavar="4028=14028", help="another port for a usual one"
    )
    parser.add_argument("--user", default=LOGIN.user, help="login that opens the machines that want one")
    parser.add_argument("--password", default=LOGIN.password)
    args = parser.parse_args(argv)
    try:
        captures = [load(folder) for folder in args.folders]
        ports = {int(usual): int(other) for usual, _, other in (pair.partition("=") for pair in args.port)}
        hosts = addresses(args.host, len(captures))
    except (CaptureError, ValueError) as error:
        sys.stderr.write(f"hil.replay: {error}\n")
        return 2
    machines = [
        ReplayedMachine(capture, host, ports, Credential(args.user, args.password))
        for capture, host in zip(captures, hosts, strict=True)
    ]
    try:
        asyncio.run(_serve(machines))
    except OSError as error:
        sys.stderr.write(f"hil.replay: cannot start: {error}\n")
        return 1
    return 0


async def _serve(machines: Iterable[ReplayedMachine]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with contextlib.AsyncExitStack() as running:
        for machine in machines:
            await running.enter_async_context(machine)
            told = {"host": machine.host, "ports": machine.at, "folder": str(machine.capture.folder)}
            print(json.dumps({"ready": True, **told}), flush=True)
        await stopped.wait()


if __name__ == "__main__":
    sys.exit(main())
