"""A farm that stands still: thousands of machines on 127/8 whose replies are bytes made beforehand, to measure clients.

    python -m benchmarks.still_farm antminer=127.90.0.1*200 luxos=127.91.0.1*200 [--pages]

Each machine has port 4028 at its own address (with `--pages` also port 80) and answers like its make: WhatsMiner and
LuxOS take joined commands, stock Antminer and Avalon refuse them. Only the MAC differs between neighbours. Orders come
as lines on standard input, each answered by a JSON line: `counts` (connections and requests since the last time),
`record ADDRESS`, `recorded`. It ends with its input.

Antminer and WhatsMiner say what `hil.replies` makes of an emulated scene, LuxOS and Avalon what was recorded in
tests/captures/miners, as compact JSON. What was not recorded is refused with code 14.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self, cast

import orjson
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hil.loopback import addresses, raise_descriptor_limit, tcp_listener
from hil.physics import Orders, assemble, settle
from hil.replies import JOINABLE, machine_mac, render
from hil.scene import Scene

CAPTURES = Path(__file__).resolve().parent.parent / "tests" / "captures" / "miners"
PAGES_PORT = 80
API_PORT = 4028
AT_S = 1_800_000_000.0
UPTIME_S = 7200.0
MAC = b"C6:08:28:00:00:00"

EMULATED = {"antminer": "Antminer S19j Pro", "whatsminer": "WhatsMiner M50"}
RECORDED = {"luxos": "luxos-2025.4", "avalon": "avalon-q-stock"}
MAKES = (*EMULATED, *RECORDED)

# What tells one machine from its neighbours; a serial number becomes one that holds the MAC.
_MACS = (b"62:f7:5e:b7:10:46", b"AA:BB:CC:DD:EE:FF")
_SERIALS = (b"JYZZB0UBDJABF06RB", b"01234567890123456789012345678901", b"HIL00000")

# What the recording of LuxOS lacks: its boards have four sensors each, its pools are in groups, nothing is wrong.
_LUXOS_MORE = {
    "temps": {
        "STATUS": [{"STATUS": "S", "When": 1, "Code": 332, "Msg": "Temperature values", "Description": "LUXminer"}],
        "TEMPS": [
            {"ID": i, "BottomLeft": 39.0, "BottomRight": 42.0, "TopLeft": 38.5, "TopRight": 41.5} for i in range(3)
        ],
        "id": 1,
    },
    "groups": {
        "STATUS": [{"STATUS": "S", "When": 1, "Code": 307, "Msg": "2 Group(s)", "Description": "LUXminer"}],
        "GROUPS": [{"GROUP": i, "Name": f"group {i}", "Quota": 1} for i in range(2)],
        "id": 1,
    },
    "events": {
        "STATUS": [{"STATUS": "S", "When": 1, "Code": 357, "Msg": "Miner Events", "Description": "LUXminer"}],
        "EVENTS": [],
        "id": 1,
    },
}


class StillFarm:
    """A farm in a process of its own: `with StillFarm("luxos=127.91.0.1*200") as farm`."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        root = Path(__file__).resolve().parent.parent
        command = [sys.executable, "-m", "benchmarks.still_farm", *self._arguments]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()

    def order(self, *words: str) -> dict[str, Any]:
        """Errors: EOFError when the farm has ended."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the farm has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


# --- replies -------------------------------------------------------------------------------------------------------


@dataclass
class Said:
    """What the machines of one make answer: bytes by command, with one MAC in them all, and pages by path."""

    replies: dict[str, bytes]
    joinable: frozenset[str]
    refusal: bytes
    pages: Mapping[str, bytes] = field(default_factory=dict)
    _joined: dict[str, bytes] = field(default_factory=dict)

    def answer(self, command: str) -> bytes:
        reply = self.replies.get(command)
        if reply is None and "+" in command and self.joinable:
            reply = self._joined.get(command) or self._join(command)
        return reply or self.refusal

    def _join(self, command: str) -> bytes:
        parts = (
            b'"%s":[%s]'
            % (name.encode(), self.replies.get(name, self.refusal) if name in self.joinable else self.refusal)
            for name in command.split("+")
        )
        joined = self._joined[command] = b"{" + b",".join(parts) + b',"id":1}'
        return joined


@cache
def said_by(make: str) -> Said:
    """Errors: KeyError for a make that nobody has emulated or recorded."""
    return _emulated(make) if make in EMULATED else _recorded(make)


def _emulated(make: str) -> Said:
    build = assemble(1, {EMULATED[make]: 1.0}, 1, 0.0, 0.0)
    orders = Orders.all_on(1)
    scene = Scene(build, orders, settle(build, orders, 25.0, 1), AT_S, 1)
    scene.tick(UPTIME_S, AT_S, 25.0)
    commands = (
        "version", "summary", "stats", "pools", "devs", "edevs", "devdetails", "status", "get_version", "get_psu",
        "get_miner_info", "get_error_code",
    )  # fmt: skip
    refusal = render(scene, 0, "no such command").encode()
    replies = {command: render(scene, 0, command).encode() for command in commands}
    known = {command: _distinct(reply) for command, reply in replies.items() if b'"Code": 14' not in reply}
    assert machine_mac(0).encode() == MAC
    joinable = frozenset(JOINABLE) if make == "whatsminer" else frozenset()
    return Said(known, joinable, refusal, _antminer_pages(known) if make == "antminer" else {})


def _recorded(make: str) -> Said:
    replies: dict[str, bytes] = {}
    for path in (CAPTURES / RECORDED[make]).glob("*.json"):
        replies[path.stem] = _distinct(orjson.dumps(orjson.loads(path.read_bytes())))
    if make == "luxos":
        replies |= {command: orjson.dumps(reply) for command, reply in _LUXOS_MORE.items()}
    status = {"STATUS": "E", "When": 1, "Code": 14, "Msg": "Invalid command", "Description": make}
    joinable = frozenset(replies) if make == "luxos" else frozenset()
    return Said(replies, joinable, orjson.dumps({"STATUS": [status], "id": 1}))


def _distinct(reply: bytes) -> bytes:
    """The reply with the one MAC that `answer` puts every machine's own in place of."""
    for mac in _MACS:
        reply = reply.replace(mac, MAC)
    for serial in _SERIALS:
        reply = reply.replace(b'"' + serial + b'"', b'"HIL' + MAC + b'"')
    return reply


def _antminer_pages(replies: Mapping[str, bytes]) -> dict[str, bytes]:
    """The pages behind the digest login, in the shapes of 2022 firmware, with the numbers of the API."""
    identity, rows = orjson.loads(replies["version"])["VERSION"][0], orjson.loads(replies["stats"])["STATS"]
    stats: dict[str, Any] = rows[0] | rows[1]
    boards = [slot for slot in range(1, 4) if stats.get(f"chain_acn{slot}")]
    rates = {"rate_5s": stats["GHS 5s"], "rate_30m": stats["rate_30m"], "rate_avg": stats["GHS av"]}
    rates |= {"rate_ideal": stats["total_rateideal"], "rate_unit": "GH/s", "elapsed": stats["Elapsed"]}
    head = {
        "STATUS": {"STATUS": "S", "when": int(AT_S), "Msg": "stats", "api_version": "1.0.0"},
        "INFO": {
            "miner_version": identity["Miner"], "CompileTime": identity["CompileTime"], "type": identity["Type"],
        },
    }  # fmt: skip

    def degrees(key: str) -> list[int]:
        return [int(word) for word in stats[key].split("-")]

    chain = [
        {
            "index": slot - 1, "freq_avg": stats[f"freq{slot}"], "rate_ideal": stats["total_rateideal"] / len(boards),
            "rate_real": float(stats[f"chain_rate{slot}"]), "asic_num": stats[f"chain_acn{slot}"],
            "asic": stats[f"chain_acs{slot}"], "temp_pic": degrees(f"temp_pic{slot}"),
            "temp_pcb": degrees(f"temp_pcb{slot}"), "temp_chip": degrees(f"temp_chip{slot}"),
            "hw": stats[f"chain_hw{slot}"], "eeprom_loaded": True, "sn": f"HIL0000000000000{slot}", "hwp": 0.0001,
        }
        for slot in boards
    ]  # fmt: skip
    checks = [{"type": kind, "status": "s", "code": 0, "msg": ""} for kind in ("rate", "network", "fans", "temp")]
    pool = {
        "index": 0, "url": "stratum+tcp://pool.example:3333", "user": "farm.1", "status": "Alive", "priority": 0,
        "accepted": 8312, "rejected": 31, "stale": 0, "discarded": 100, "diff": "65.5K", "diff1": 65536, "diffa": 1.0,
        "diffr": 0.0, "diffs": 0.0, "lsdiff": 65536, "lstime": "0:00:03", "getworks": 3000,
    }  # fmt: skip
    documents: dict[str, Any] = {
        "miner_type": {"miner_type": stats["Type"], "subtype": "AMLCtrl_BHB42XXX"},
        "get_system_info": {
            "minertype": stats["Type"], "nettype": "DHCP", "netdevice": "eth0", "macaddr": MAC.decode(),
            "hostname": "Antminer", "ipaddress": "127.0.0.1", "netmask": "255.0.0.0", "gateway": "", "dnsservers": "",
            "system_mode": "GNU/Linux", "system_kernel_version": "Linux 4.6.0", "Algorithm": "sha256d",
            "system_filesystem_version": "Tue Dec  6 16:12:30 CST 2022", "firmware_type": "Release",
        },
        "stats": head | {"STATS": [rates | {
            "chain_num": len(boards), "fan_num": stats["fan_num"], "hwp_total": 0.0001, "miner-mode": 0,
            "fan": [stats[f"fan{i}"] for i in range(1, 5)], "freq-level": 100, "chain": chain,
        }]},
        "summary": head | {"SUMMARY": [rates | {"hw_all": 10, "bestshare": 1, "status": checks}]},
        "pools": head | {"POOLS": [pool]},
        "get_network_info": {"nettype": "DHCP", "macaddr": MAC.decode(), "conf_hostname": "Antminer"},
        "get_miner_conf": {
            "pools": [{"url": "stratum+tcp://pool.example:3333", "user": "farm.1", "pass": "x"}], "api-listen": True,
            "bitmain-fan-ctrl": False, "bitmain-fan-pwm": "100", "miner-mode": 0, "freq-level": "100",
        },
        "get_blink_status": {"blink": False},
        "warning": head | {"WARNING": []},
    }  # fmt: skip
    return {f"/cgi-bin/{name}.cgi": orjson.dumps(document) for name, document in documents.items()}


# --- sockets -------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came in, and word by word from the one machine that is recorded."""

    connections: int = 0
    requests: int = 0
    recorded_at: str = ""
    recorded: list[str] = field(default_factory=list)


class Machine:
    """One emulated machine: its address, the MAC that follows from it, and what all of its make say."""

    __slots__ = ("address", "mac", "said", "tally")

    def __init__(self, address: str, said: Said, tally: Tally) -> None:
        self.address = address
        self.mac = machine_mac(int(IPv4Address(address)) & 0xFFFFFF).encode()
        self.said = said
        self.tally = tally


class _Api(asyncio.Protocol):
    """One connection to port 4028: one request, one reply, closed."""

    __slots__ = ("_machine", "_received", "_transport")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._machine.tally.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            command = str(orjson.loads(self._received)["command"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return  # not whole yet
        machine = self._machine
        machine.tally.requests += 1
        if machine.address == machine.tally.recorded_at:
            machine.tally.recorded.append(self._received.decode())
        self._transport.write(machine.said.answer(command).replace(MAC, machine.mac) + b"\0")
        self._transport.close()


class _Pages(asyncio.Protocol):
    """One connection to port 80: as many requests as the client likes, each behind a digest challenge."""

    __slots__ = ("_machine", "_received", "_transport")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._machine.tally.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._machine.tally.requests += 1
            self._transport.write(self._answer(head))

    def _answer(self, head: bytes) -> bytes:
        if b"\nauthorization:" not in head.lower():
            challenge = b'WWW-Authenticate: Digest realm="antMiner Configuration", nonce="00", qop="auth"\r\n'
            return b"HTTP/1.1 401 Unauthorized\r\n" + challenge + b"Content-Length: 0\r\n\r\n"
        page = self._machine.said.pages.get(head.split(b" ", 2)[1].decode("latin-1"))
        if page is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        page = page.replace(MAC, self._machine.mac)
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page)


async def serve(places: Sequence[str], has_pages: bool) -> None:
    """Machines of `MAKE=FIRST_ADDRESS*COUNT`, until standard input ends."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    for place in places:
        make, _, rest = place.partition("=")
        first, _, count = rest.partition("*")
        for address in addresses(first, int(count)):
            machine = Machine(address, said_by(make), tally)
            await loop.create_server(lambda m=machine: _Api(m), sock=tcp_listener(address, API_PORT, backlog=16))  # type: ignore[misc]
            if has_pages and machine.said.pages:
                await loop.create_server(lambda m=machine: _Pages(m), sock=tcp_listener(address, PAGES_PORT))  # type: ignore[misc]
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _reply({"machines": "ready"})
    while line := (await reader.readline()).decode().split():
        match line:
            case ["counts"]:
                _reply({"connections": tally.connections, "requests": tally.requests})
                tally.connections = tally.requests = 0
            case ["record", address]:
                tally.recorded_at, tally.recorded = address, []
                _reply({})
            case ["recorded"]:
                _reply({"requests": tally.recorded})


def _reply(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.still_farm", description=__doc__.splitlines()[0])
    parser.add_argument("places", nargs="+", metavar="MAKE=FIRST_ADDRESS*COUNT", help=f"makes: {', '.join(MAKES)}")
    parser.add_argument("--pages", action="store_true", help="Antminers also serve their pages on port 80 (needs root)")
    options = parser.parse_args(argv)
    raise_descriptor_limit()
    uvloop.run(serve(options.places, options.pages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
