"""Finds out who answers and reads it natively where we can; what needs the library is said, not done, here.

The decision is remembered after the first good reading. A machine that is not stock Antminer raises UNSUPPORTED with
`needs pyasic: <make>`, so that the agent hands the host to the worker that carries the heavy library.
"""

from __future__ import annotations

import asyncio

from collectors.miners import cgminer, makes
from collectors.miners.antminer import AntminerStock
from collectors.miners.transport import exchange, probe
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading

NEEDS_PYASIC = "needs pyasic"
CGMINER_PORT = 4028
WHATSMINER_V3_PORT = 4433


class AutoMiner:
    """One machine of a make that nobody told us. Silence costs one connect, a stranger one `version`."""

    def __init__(self, host: str, port: int, deadline_s: float) -> None:
        self._host = host
        self._port = port
        self._deadline_s = deadline_s
        self._known: AntminerStock | None = None

    async def read(self) -> MinerReading:
        """One look. Errors: PollError; UNSUPPORTED, detail `needs pyasic: ...`, where another worker must look."""
        deadline_at = asyncio.get_running_loop().time() + self._deadline_s
        if self._known is None:
            version = await self._ask_version(deadline_at)
            candidate = AntminerStock(self._host, self._port, self._deadline_s)
            reading = await candidate.read_until(deadline_at, version)
            self._known = candidate
            return reading
        try:
            return await self._known.read_until(deadline_at)
        except PollError as error:
            if error.kind in (FaultKind.IDENTITY, FaultKind.UNSUPPORTED):
                self._known = None  # another machine may have moved in: ask again who it is
            raise

    async def aclose(self) -> None:
        """Nothing is held between two looks."""

    async def _ask_version(self, deadline_at: float) -> cgminer.Reply:
        """The `version` reply of a stock Antminer; UNSUPPORTED for every other machine that shows itself."""
        try:
            reply = await exchange(self._host, self._port, cgminer.encode("version"), deadline_at)
        except PollError as error:
            if error.kind is FaultKind.UNSUPPORTED:  # ePIC serves HTTP on this port
                raise PollError(FaultKind.UNSUPPORTED, f"{NEEDS_PYASIC}: http on port {self._port}") from None
            if error.kind is FaultKind.REFUSED and self._port == CGMINER_PORT:
                await self._look_for_whatsminer_v3(deadline_at)
            raise
        maker = makes.classify(reply)
        if maker == makes.ANTMINER_STOCK:
            return reply
        if maker is None and cgminer.status(reply).is_denial:
            raise PollError(FaultKind.DENIED, "version: access denied")
        raise PollError(FaultKind.UNSUPPORTED, f"{NEEDS_PYASIC}: {maker or 'unknown'}")

    async def _look_for_whatsminer_v3(self, deadline_at: float) -> None:
        """WhatsMiner of late 2024 and after closed 4028 and listens on 4433; whoever is silent there stays refused."""
        try:
            await probe(self._host, WHATSMINER_V3_PORT, deadline_at)
        except PollError:
            return
        raise PollError(FaultKind.UNSUPPORTED, f"{NEEDS_PYASIC}: whatsminer v3")
