"""PDUs with 48 outlets each on 127/8, every one an APC rPDU2 of the virtual farm, to measure clients.

    python -m benchmarks.still_pdus 127.93.0.1*1000

Each PDU has UDP port 1161 at its own address, a serial of its own, and the same 48 machines on its outlets as all the
others: what they draw is no matter here. Their clock goes on, for a clock that stands still looks like a fault. Orders
come as lines on standard input, each answered by a JSON line: `counts` (requests since the last time). It ends with its
input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hil.loopback import addresses, raise_descriptor_limit
from hil.pdus import Face, Rpdu2
from hil.physics import Orders, assemble, settle
from hil.scene import Scene
from hil.snmp_agent import SnmpAgent

PORT = 1161
OUTLETS = 48
COMMUNITY = "public"
AMBIENT_C = 25.0
TICK_S = 5.0


class StillPdus:
    """PDUs in a process of their own: `with StillPdus("127.93.0.1", 1000) as pdus`."""

    def __init__(self, first: str, count: int) -> None:
        self.hosts = addresses(first, count)
        self._place = f"{first}*{count}"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        root = Path(__file__).resolve().parent.parent
        command = [sys.executable, "-m", "benchmarks.still_pdus", self._place]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate()

    def requests(self) -> int:
        """Requests since the last time. Errors: EOFError when the PDUs have ended."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("counts\n")
        self._process.stdin.flush()
        return int(self._read()["requests"])

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the PDUs have ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


async def serve(first: str, count: int) -> None:
    """`count` PDUs from this address on, until standard input ends."""
    build, orders = assemble(OUTLETS), Orders.all_on(OUTLETS)
    scene = Scene(build, orders, settle(build, orders, AMBIENT_C), time.time())
    sockets = tuple((row,) for row in range(OUTLETS))
    agents = [
        SnmpAgent(Rpdu2(scene, Face(f"pdu-{i:05d}", f"HIL{i:09d}", sockets)), host, PORT, COMMUNITY)
        for i, host in enumerate(addresses(first, count))
    ]
    for agent in agents:
        await agent.open()
    ticking = asyncio.create_task(_tick(scene))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _reply({"pdus": len(agents)})
    while (await reader.readline()).strip() == b"counts":
        _reply({"requests": sum(agent.requests for agent in agents)})
        for agent in agents:
            agent.requests = 0
    ticking.cancel()


async def _tick(scene: Scene) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        scene.tick(TICK_S, time.time(), AMBIENT_C)


def _reply(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.still_pdus", description=__doc__.splitlines()[0])
    parser.add_argument("place", metavar="FIRST_ADDRESS*COUNT")
    first, _, count = parser.parse_args().place.partition("*")
    raise_descriptor_limit()
    uvloop.run(serve(first, int(count or 1)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
