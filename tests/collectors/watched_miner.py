"""Captured miners in a network of their own, where every address leads to them and every packet is written down.

    unshare -n python watched_miner.py ENGINE LOOKS [USER PASSWORD]

Meant to run inside a fresh network namespace (as root). There all addresses of the world are made local to the
loopback device, each captured machine has an address with every port that a miner may have, a packet socket notes who
is dialled, and the engine runs in a process of its own, so native code is watched as closely as ours. Prints one JSON
object: `addresses` by machine, `dialled` (protocol, address, port), `heard` and `readings` by machine.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = ROOT / "tests" / "captures" / "miners"

NETWORK = "10.66.0."  # of the addresses that the operator named; it exists nowhere else
STRANGER = "10.99.0.1"  # where a machine would send its reader
RPC_PORTS = (4028, 4029, 8889, 8359)
HTTP_PORTS = (80, 443, 8080, 5000)
FRAMED_PORTS = (4433,)
OTHER_PORTS = (21, 22, 23, 50051, 14235, 8888, 2222)
AT_ONCE = 6
DEADLINE_S = 20.0

_REALMS = {"antminer": "antMiner Configuration", "elphapex": "Daoge Configuration"}
# First pages by which the libraries know a machine; the captures hold none.
_LANDINGS = {
    "bitaxe": "<title>AxeOS</title>",
    "braiins-25.07": "<title>Braiins OS</title>",
    "epic": "<title>Miner Web Dashboard</title>",
    "proto": "<title>Proto OS</title>",
    "auradine": "<title>Miner UI</title>",
}


@dataclass
class Miner:
    """The answers of one captured machine, and what it heard."""

    rpc: dict[str, bytes] = field(default_factory=dict)
    framed: dict[tuple[str, str], bytes] = field(default_factory=dict)
    http: dict[str, bytes] = field(default_factory=dict)
    http_ports: set[int] = field(default_factory=set)
    joins: bool = False
    realm: str | None = None
    redirects: frozenset[str] = frozenset()  # pages that send their reader to a stranger
    refusal: dict[str, Any] = field(default_factory=dict)
    heard: list[dict[str, Any]] = field(default_factory=list)

    def answer_rpc(self, command: str) -> bytes:
        if command in self.rpc:
            return self.rpc[command] + b"\0"
        if "+" not in command or not self.joins:
            return json.dumps(self.refusal).encode() + b"\0"
        names = command.split("+")
        parts = {name: [json.loads(self.rpc[name]) if name in self.rpc else self.refusal] for name in names}
        return json.dumps(parts | {"id": 1}).encode() + b"\0"

    def answer_http(self, path: str, has_login: bool) -> bytes:
        if path in self.redirects:
            return _page(302, headers=f"Location: http://{STRANGER}/secret\r\n")
        if self.realm and not has_login:
            challenge = f'WWW-Authenticate: Digest realm="{self.realm}", nonce="0123456789abcdef", qop="auth"\r\n'
            return _page(401, headers=challenge)
        said = self.http.get(path)
        return _page(404) if said is None else _page(200, said)


def _page(status: int, body: bytes = b"", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def _refusal(description: str) -> dict[str, Any]:
    status = {"STATUS": "E", "When": 1, "Code": 14, "Msg": "Invalid command", "Description": description}
    return {"STATUS": [status], "id": 1}


def captured_miner(folder: Path) -> Miner:
    """The machine that a folder of captured replies describes."""
    capture = tomllib.loads((folder / "capture.toml").read_text())
    description = "btminer" if folder.name.startswith("whatsminer") else "cgminer"
    miner = Miner(joins=capture.get("joins", False), refusal=_refusal(description))
    for reply in capture["reply"]:
        said = (folder / reply["file"]).read_bytes()
        match reply["via"]:
            case "rpc":
                miner.rpc[reply["what"]] = said
            case "framed":
                miner.framed[reply["what"], reply.get("parameter", "")] = said
            case "http":
                miner.http[reply["what"]] = said
                miner.http_ports.add(reply["port"])
    for make, page in _LANDINGS.items():
        if folder.name.startswith(make):
            miner.http["/"] = page.encode()
    miner.realm = next((realm for make, realm in _REALMS.items() if folder.name.startswith(make)), None)
    return miner


def refusing_whatsminer() -> Miner:
    """A WhatsMiner v2 that says who it is and answers E to everything else, as one with a cut access list does."""
    rows = [{"DEVDETAILS": i, "ID": i, "Name": "SM", "Driver": "bitmicro", "Model": "M50S_VH50"} for i in range(3)]
    status = [{"STATUS": "S", "When": 1, "Code": 69, "Msg": "Device Details", "Description": "cgminer 4.9.2"}]
    version = {"api_ver": "2.0.5", "fw_ver": "20230803.11.REL", "platform": "H616", "chip": "K19"}
    return Miner(
        rpc={
            "devdetails": json.dumps({"STATUS": status, "DEVDETAILS": rows, "id": 1}).encode(),
            "get_version": json.dumps({"STATUS": "S", "When": 1, "Code": 131, "Msg": version}).encode(),
        },
        refusal={"STATUS": "E", "When": 1, "Code": 14, "Msg": "invalid cmd", "Description": "btminer"},
    )


def farm() -> dict[str, Miner]:
    """Every captured machine, and three with ill will."""
    miners = {path.parent.name: captured_miner(path.parent) for path in sorted(CAPTURES.glob("*/capture.toml"))}
    miners["whatsminer that refuses"] = refusing_whatsminer()
    for name, capture in (("epic that redirects", "epic-powerplay-1.5"), ("axeos that redirects", "bitaxe-axeos-2.4")):
        miners[name] = captured_miner(CAPTURES / capture)
        miners[name].redirects = frozenset({"/summary", "/network", "/temps", "/api/system/info"})
    return miners


# --- the ports of all machines -------------------------------------------------------------------------------------

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class World:
    """All machines by their address; whoever dials another address meets the stranger, who notes it too."""

    def __init__(self, miners: Mapping[str, Miner]) -> None:
        self.by_address = {address: miners[name] for name, address in addresses(miners).items()}
        self.stranger = Miner()

    async def listen(self) -> None:
        handlers: dict[int, Callable[[Miner, int, Streams], Awaitable[None]]] = {}
        handlers |= dict.fromkeys(OTHER_PORTS, on_other) | dict.fromkeys(RPC_PORTS, on_rpc)
        handlers |= dict.fromkeys(HTTP_PORTS, on_http) | dict.fromkeys(FRAMED_PORTS, on_framed)
        for port, handler in handlers.items():
            await asyncio.start_server(self._serving(handler), "0.0.0.0", port)

    def _serving(self, handler: Callable[[Miner, int, Streams], Awaitable[None]]) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            address, port = writer.get_extra_info("sockname")
            try:
                await handler(self.by_address.get(address, self.stranger), port, (reader, writer))
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                writer.close()

        return serve


def addresses(miners: Mapping[str, Miner]) -> dict[str, str]:
    return {name: f"{NETWORK}{number}" for number, name in enumerate(miners, start=1)}


async def on_rpc(miner: Miner, port: int, streams: Streams) -> None:
    if port in miner.http_ports:  # ePIC serves pages on the port of the cgminer API
        return await on_http(miner, port, streams)
    reader, writer = streams
    if not miner.rpc or port != RPC_PORTS[0]:
        return None  # as good as closed
    request = await reader.read(65536)
    if request:
        asked = _json(request)
        miner.heard.append({"port": port, "rpc": asked.get("command"), "parameter": asked.get("parameter")})
        writer.write(miner.answer_rpc(str(asked.get("command"))))
    return None


async def on_http(miner: Miner, port: int, streams: Streams) -> None:
    reader, writer = streams
    start = await reader.readexactly(1)
    if start == b"{":
        writer.write(_page(400))
        return
    head = (start + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = line.split(" ", 2)
    login = headers.get("authorization") or headers.get("cookie") or headers.get("token")
    miner.heard.append({"port": port, "http": method, "path": path, "login": login, "body": body.decode("latin-1")})
    writer.write(miner.answer_http(path, login is not None))


async def on_framed(miner: Miner, port: int, streams: Streams) -> None:
    reader, writer = streams
    if not miner.framed:
        return
    while True:
        (length,) = struct.unpack("<I", await reader.readexactly(4))
        asked = _json(await reader.readexactly(min(length, 65536)))
        command, parameter = str(asked.get("cmd")), asked.get("param")
        miner.heard.append({"port": port, "framed": command, "parameter": parameter})
        said = miner.framed.get((command, str(parameter or ""))) or miner.framed.get((command, ""))
        said = said or b'{"code":-1,"msg":"invalid command"}'
        writer.write(struct.pack("<I", len(said)) + said)


async def on_other(miner: Miner, port: int, streams: Streams) -> None:
    reader, writer = streams
    if port in (22, 2222):
        writer.write(b"SSH-2.0-dropbear_2019.78\r\n")
    miner.heard.append({"port": port, "raw": (await reader.read(200)).decode("latin-1")})


def _json(request: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(request.strip(b"\0\r\n "))
    except ValueError:
        return {"command": request.decode("latin-1")}
    return value if isinstance(value, dict) else {}


# --- the watch -----------------------------------------------------------------------------------------------------


def enter_world() -> None:
    """Make every address a local one, so that whoever is dialled is us and is noted."""
    for words in ("link set lo up", "route add local default dev lo", "-6 route add local default dev lo"):
        subprocess.run(["ip", *words.split()], check=True)


class Watch:
    """Every TCP connection attempt and every packet of another kind in this namespace, from the packets themselves."""

    def __init__(self) -> None:
        self.dialled: set[tuple[str, str, int]] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self.note)

    def note(self) -> None:
        while True:
            try:
                packet = self._socket.recv(128)
            except BlockingIOError:
                return
            version, rest = packet[0] >> 4, packet[(packet[0] & 15) * 4 :]
            if version == 6:
                self.dialled.add(("ipv6", socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0))
                continue
            address, port = socket.inet_ntoa(packet[16:20]), int.from_bytes(rest[2:4], "big")
            if packet[9] == socket.IPPROTO_UDP:
                self.dialled.add(("udp", address, port))
            elif packet[9] != socket.IPPROTO_TCP:
                self.dialled.add((f"ip protocol {packet[9]}", address, 0))
            elif rest[13] & 0x12 == 0x02:  # SYN without ACK
                self.dialled.add(("tcp", address, port))


# --- the engine, in its own process --------------------------------------------------------------------------------


async def looks(engine: str, count: int, login: list[str]) -> dict[str, list[dict[str, Any]]]:
    """What `count` looks of an engine at each machine end in."""
    sys.path.insert(0, str(ROOT))
    from collectors.catalogue import open_device
    from fleet.ports import PollError
    from fleet.readings import MinerReading

    options = dict(zip(("user", "password"), login, strict=False)) or None
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    turn = asyncio.Semaphore(AT_ONCE)

    async def look_at(name: str, host: str) -> None:
        async with turn:
            miner = open_device(engine, host, 4028, DEADLINE_S, options)
            for _ in range(count):
                try:
                    reading = await miner.read()
                    assert isinstance(reading, MinerReading)
                    found[name].append({"make": reading.make, "hashrate_hs": reading.hashrate_hs})
                except PollError as error:
                    found[name].append({"fault": error.kind.value, "detail": error.detail})
            await miner.aclose()

    await asyncio.gather(*(look_at(name, host) for name, host in addresses(farm()).items()))
    return found


async def watch(*words: str) -> dict[str, Any]:
    enter_world()
    miners = farm()
    world, seen = World(miners), Watch()
    await world.listen()
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--looks", *words, stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    await asyncio.sleep(0.2)  # the last packets
    seen.note()
    heard = {name: miner.heard for name, miner in miners.items()} | {"a stranger": world.stranger.heard}
    readings = json.loads(said)
    return {"addresses": addresses(miners), "dialled": sorted(seen.dialled), "heard": heard, "readings": readings}


def main(argv: list[str]) -> None:
    if argv[0] == "--looks":
        _, engine, count, *login = argv
        print(json.dumps(asyncio.run(looks(engine, int(count), login))))
    else:
        print(json.dumps(asyncio.run(watch(*argv))))


if __name__ == "__main__":
    main(sys.argv[1:])
