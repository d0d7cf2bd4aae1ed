"""One exchange over real loopback sockets: every way in which a peer can fail has its kind, and leaves no socket."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from scripted_miner import Answer, Dribble, Flood, Hang, KeepOpen, Reset, scripted_miner

from collectors.miners.cgminer import Receiver, Reply, encode
from collectors.miners.transport import CONNECT_S, collect, exchange_bytes, probe
from fleet.ports import PollError
from fleet.readings import FaultKind

REPLY = b'{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"Elapsed":5}],"id":1}'
GENEROUS_S = 30.0

# Workers run on uvloop, whose transports share no class with those of asyncio.
on_both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
Run = Callable[[Coroutine[Any, Any, None]], None]


async def exchange(host: str, port: int, request: bytes, deadline_at: float, connect_s: float = CONNECT_S) -> Reply:
    """One question and its decoded reply, as a line carries it."""
    receiver = Receiver()
    await collect(receiver, host, port, request, deadline_at, connect_s=connect_s)
    return receiver.finish()


def now() -> float:
    return asyncio.get_running_loop().time()


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "answer",
    [REPLY, REPLY + b"\0", REPLY + b"\0\0", REPLY + b"\n", KeepOpen(REPLY), KeepOpen(REPLY + b"\0"), Dribble(REPLY)],
    ids=["fin", "nul", "two nul", "newline", "no fin", "nul, no fin", "byte by byte, no fin"],
)
@on_both_loops
def test_every_honest_ending_gives_the_reply(run: Run, answer: Answer) -> None:
    async def look() -> None:
        async with scripted_miner({"summary": answer}) as miner:
            reply = await exchange(miner.host, miner.port, encode("summary"), now() + GENEROUS_S)
            assert reply["SUMMARY"] == [{"Elapsed": 5}]
            await asyncio.wait_for(miner.all_closed.wait(), GENEROUS_S)

    run(look())


async def test_undecoded_bytes_end_where_the_reply_ends() -> None:
    async with scripted_miner({"summary": REPLY + b"\0junk"}) as miner:
        assert await exchange_bytes(miner.host, miner.port, encode("summary"), now() + GENEROUS_S) == REPLY


@pytest.mark.parametrize(
    ("answer", "wait_s", "kind"),
    [
        (Hang(), 0.2, FaultKind.TIMEOUT),
        (KeepOpen(REPLY[:-5]), 0.2, FaultKind.TIMEOUT),
        (Reset(), GENEROUS_S, FaultKind.MALFORMED),
        (b"", GENEROUS_S, FaultKind.MALFORMED),
        (REPLY[:20], GENEROUS_S, FaultKind.MALFORMED),
        (Flood(b'{"a":"' + b"x" * 65_536), GENEROUS_S, FaultKind.OVERSIZE),
        (Flood(b"[" * 4096), GENEROUS_S, FaultKind.MALFORMED),
        (b"Socket connect failed: Connection refused\n", GENEROUS_S, FaultKind.REFUSED),
    ],
    ids=["hang", "half, then silent", "reset", "empty", "cut", "endless", "endlessly deep", "api down"],
)
@on_both_loops
def test_every_failure_has_its_kind_and_closes(run: Run, answer: Answer, wait_s: float, kind: FaultKind) -> None:
    async def look() -> None:
        lost: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context))
        async with scripted_miner({"summary": answer}) as miner:
            with pytest.raises(PollError) as caught:
                await exchange(miner.host, miner.port, encode("summary"), now() + wait_s)
            assert caught.value.kind is kind
            assert isinstance(answer, Reset) == (caught.value.detail == "connection reset")
            await asyncio.wait_for(miner.all_closed.wait(), GENEROUS_S)
        assert lost == []  # nothing may be left to asyncio's own log

    run(look())


@on_both_loops
def test_nobody_listens_is_refused(run: Run, free_port: int) -> None:
    async def look() -> None:
        deadline_at = now() + GENEROUS_S
        for attempt in (
            exchange("127.0.0.1", free_port, b"{}", deadline_at),
            probe("127.0.0.1", free_port, deadline_at),
        ):
            with pytest.raises(PollError) as caught:
                await attempt
            assert caught.value.kind is FaultKind.REFUSED

    run(look())


@on_both_loops
def test_no_route_is_unreachable(run: Run) -> None:
    async def look() -> None:
        # the broadcast address is no TCP peer; the kernel says so at once, as it does for a missing route
        with pytest.raises(PollError) as caught:
            await exchange("255.255.255.255", 4028, b"{}", now() + GENEROUS_S)
        assert caught.value.kind is FaultKind.UNREACHABLE

    run(look())


async def test_silence_at_connect_is_unreachable() -> None:
    # a listener whose backlog is full drops the handshake, as a dead host does
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    host, port = listener.getsockname()
    fillers = []
    try:
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((host, port))
            fillers.append(filler)
        with pytest.raises(PollError) as caught:
            await exchange(host, port, b"{}", now() + GENEROUS_S, connect_s=0.2)
        assert caught.value.kind is FaultKind.UNREACHABLE
    finally:
        for sock in (*fillers, listener):
            sock.close()


async def test_a_deadline_that_is_over_is_a_fault_and_not_a_wait() -> None:
    async with scripted_miner({"summary": Hang()}) as miner:
        with pytest.raises(PollError):
            await asyncio.wait_for(exchange(miner.host, miner.port, encode("summary"), now() - 1.0), GENEROUS_S)


async def test_descriptors_are_flat_over_a_hundred_hung_looks() -> None:
    async with scripted_miner({"summary": Hang()}) as miner:

        async def hung() -> None:
            with pytest.raises(PollError):
                await exchange(miner.host, miner.port, encode("summary"), now() + 0.1)

        await hung()
        await asyncio.wait_for(miner.all_closed.wait(), GENEROUS_S)
        before = descriptors()
        for _ in range(4):
            await asyncio.gather(*(hung() for _ in range(25)))
        await asyncio.wait_for(miner.all_closed.wait(), GENEROUS_S)
        assert descriptors() <= before + 5


async def test_a_cancelled_look_closes_its_socket() -> None:
    async with scripted_miner({"summary": Hang()}) as miner:
        look = asyncio.create_task(exchange(miner.host, miner.port, encode("summary"), now() + GENEROUS_S))
        while not miner.asked:
            await asyncio.sleep(0.001)
        look.cancel()
        with pytest.raises(asyncio.CancelledError):
            await look
        await asyncio.wait_for(miner.all_closed.wait(), GENEROUS_S)
