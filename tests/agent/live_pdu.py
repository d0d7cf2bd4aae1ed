"""A walk on an emulated PDU in a thread of its own, for commands that bring their own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from hil.pdus import load_snmprec
from hil.responder import Tree
from hil.snmp_agent import SnmpAgent

BLOCK = 60 + os.getpid() % 40


@contextlib.contextmanager
def serving(walk: Path | Tree, place: int, community: str = "public") -> Iterator[str]:
    """Address and port of a PDU with this walk, at a loopback address of this process."""
    tree = load_snmprec(walk) if isinstance(walk, Path) else walk
    agent = SnmpAgent(tree, f"127.{BLOCK}.66.{place}", 0, community)
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def run() -> None:
        try:
            await agent.open()
            ready.set()
            await stop.wait()
        finally:
            ready.set()
            agent.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(10)
        assert agent.port
        yield f"{agent.host}:{agent.port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
