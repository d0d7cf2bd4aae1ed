"""Nothing is left behind by hostile agents: descriptors and tasks are the same after many rounds as after few, and
when the clients are closed none of their objects is there.

`python tests/collectors/test_collectors_snmp_leaks.py ENGINE WARM_UP ROUNDS` prints the figures of a longer run.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest
from udp_agent import GEN_ERR, TOO_BIG, Honest, Oid, Request, UdpAgent, integer, renumbered, response, tlv
from usm_agent import UsmAgent

from collectors.pdus.engines import available, open_client
from collectors.pdus.snmp import Credential, EngineName, Pace, WalkLimits
from fleet.ports import PollError

COLUMN: Oid = (1, 3, 6, 1, 4, 1, 318, 1)
WAIT_S = 0.002
"""Long enough for most answers of an agent in this process; how many come in time does not matter."""

HONEST = Honest({(*COLUMN, k): k for k in range(1, 30)})


class Moody:
    """Does something else at every request: one of all that a hostile agent can do."""

    def __init__(self) -> None:
        self.turn = 0

    def __call__(self, request: Request) -> Iterable[bytes]:
        self.turn += 1
        whole = next(iter(HONEST(request)))
        HONEST.requests.clear()
        match self.turn % 12:
            case 0:
                return []
            case 1:
                return [whole[:-3]]
            case 2:
                return [b"\xff" * 900, b""]
            case 3:
                return [response(renumbered(request), [(oid, integer(7)) for oid in request.oids])]
            case 4:
                return [response(request, [], TOO_BIG)]
            case 5:
                return [response(request, [(COLUMN, integer(1)), (COLUMN, integer(1))])]
            case 6:
                return [response(request, [((*COLUMN, self.turn), tlv(2, b""))])]
            case 7:
                return [response(request, [(oid, tlv(4, b"x" * 9000)) for oid in request.oids])]
            case 8:
                return [response(request, [], GEN_ERR, 99)]
            case 9:
                return [whole] * 5
            case _:
                return [whole]


class Left(NamedTuple):
    kib: int
    descriptors: int
    tasks: int


def left() -> Left:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Left(4 * pages, len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks()))


async def rounds(engine: EngineName, warm_up: int, count: int) -> tuple[Left, Left]:
    """What is there after a few rounds and after all of them; every tenth round opens and closes a client."""
    user = Credential(version="3", user="reader", auth_key="authpass1", priv_key="privpass1")
    few: Left | None = None
    async with UdpAgent(Moody()) as agent, UsmAgent(Moody()) as guarded:
        stays = open_client("127.0.0.1", agent.port, Credential("public"), engine, timeout_s=WAIT_S, retries=0)
        knows = open_client("127.0.0.1", guarded.port, user, engine, timeout_s=WAIT_S, retries=0)
        for turn in range(count + warm_up):
            if turn == warm_up:
                few = left()
            comes = open_client("127.0.0.1", agent.port, Credential("public"), engine, timeout_s=WAIT_S, retries=0)
            for snmp in (stays, knows) if turn % 10 else (stays, knows, comes):
                snmp.set_pace(Pace(varbinds=8, repetitions=8))
                try:
                    await (snmp.get(tuple(HONEST.objects)) if turn % 2 else snmp.walk(COLUMN, WalkLimits(rows=20)))
                except PollError:
                    pass
            await comes.aclose()
            agent.askers.clear()
            guarded.askers.clear()
            guarded.reports.clear()
        many = left()
        await stays.aclose()
        await knows.aclose()
    assert few is not None
    return few, many


def ours() -> Counter[str]:
    """How many there are of what a client holds."""
    gc.collect()
    held = ("_Request", "_Session", "_Wire", "_User", "SnmpEngine", "SnmpV2cClientSocket", "SnmpV3ClientSocket")
    return Counter(name for thing in gc.get_objects() if (name := type(thing).__name__) in held)


@pytest.mark.parametrize("engine", available())
async def test_hostile_agents_leave_nothing_behind(engine: EngineName) -> None:
    before = ours()
    few, many = await rounds(engine, 20, 40)
    assert (many.descriptors, many.tasks) == (few.descriptors, few.tasks)
    await asyncio.sleep(0)
    assert ours() <= before


if __name__ == "__main__":
    _, name, first, then = sys.argv
    before, after = asyncio.run(rounds(name, int(first), int(then)))  # type: ignore[arg-type]
    print(f"{name}: after {first} rounds {before}, after {then} more {after}")
