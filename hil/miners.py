"""The machines' port 4028: one listener per machine, all in one process, answering from the scene.

One request, one reply, then the server closes, as cgminer does. Which machine listens follows from the scene: a
machine without power is silent at connect, a booting one refuses, and a fault of `Misbehaviour` overrides both while
the machine has power. `sync` brings the listeners in line after each tick; it only touches rows that changed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from hil.faults import DRIBBLE_S, GARBAGE, OVERSIZE_BYTES, SLOW_S, Misbehaviour
from hil.loopback import silent_listener, tcp_listener
from hil.replies import answer
from hil.scene import Scene

MAX_REQUEST_BYTES = 4096
_OVERSIZE_CHUNK = b"A" * 65536


@dataclass
class Traffic:
    """What the farm has seen of its clients, for tests that judge a client's manners."""

    connections: int = 0
    replies: int = 0
    open_per_row: dict[int, int] = field(default_factory=dict)
    peak_per_row: int = 0  # most connections that any one machine ever had at once

    def opened(self, row: int) -> None:
        self.connections += 1
        count = self.open_per_row.get(row, 0) + 1
        self.open_per_row[row] = count
        self.peak_per_row = max(self.peak_per_row, count)

    def closed(self, row: int) -> None:
        count = self.open_per_row.get(row, 0) - 1
        if count > 0:
            self.open_per_row[row] = count
        else:
            self.open_per_row.pop(row, None)

    @property
    def open(self) -> int:
        return sum(self.open_per_row.values())


class MinerServers:
    """The listeners of all machines. `faults[row]` may be set at any time and holds for the next connection."""

    def __init__(
        self,
        scene: Scene,
        endpoints: Sequence[tuple[str, int]],
        faults: list[Misbehaviour] | None = None,
        off: Misbehaviour = Misbehaviour.SILENT,
    ) -> None:
        self.scene = scene
        self.endpoints = tuple(endpoints)
        self.faults = faults if faults is not None else [Misbehaviour.NONE] * len(self.endpoints)
        self.traffic = Traffic()
        self._off = off
        self._shown = [Misbehaviour.REFUSE] * len(self.endpoints)
        self._listeners: dict[int, asyncio.Server] = {}
        self._silent: dict[int, socket.socket] = {}
        self._connections: set[_Connection] = set()

    async def sync(self) -> None:
        """Opens and closes listeners so that each machine is reachable exactly if it should be."""
        online = self.scene.view.state.is_online.tolist()
        powered = self.scene.orders.outlet_on.tolist()
        for row, shown in enumerate(self._shown):
            wanted = self._wanted(row, powered[row], online[row])
            if wanted is not shown:
                await self._show(row, wanted)

    def _wanted(self, row: int, is_powered: bool, is_online: bool) -> Misbehaviour:
        """One of SILENT, REFUSE, NONE (listens; what it then says is another matter)."""
        if not is_powered:
            return self._off
        if not is_online:
            return Misbehaviour.REFUSE  # the network of the control board is up long before the API
        fault = self.faults[row]
        return fault if fault in (Misbehaviour.SILENT, Misbehaviour.REFUSE) else Misbehaviour.NONE

    async def _show(self, row: int, wanted: Misbehaviour) -> None:
        if listener := self._listeners.pop(row, None):
            listener.close()
        if silent := self._silent.pop(row, None):
            silent.close()
        host, port = self.endpoints[row]
        if wanted is Misbehaviour.NONE:
            loop = asyncio.get_running_loop()
            sock = tcp_listener(host, port)
            self._listeners[row] = await loop.create_server(lambda: _Connection(self, row), sock=sock)
        else:
            if wanted is Misbehaviour.SILENT:
                self._silent[row] = silent_listener(host, port)
            # Sessions of a machine that lost power end too; a real one would leave them hanging, which HANG shows.
            for connection in [c for c in self._connections if c.row == row]:
                connection.abort()
        self._shown[row] = wanted

    async def aclose(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        for silent in self._silent.values():
            silent.close()
        for connection in list(self._connections):
            connection.abort()
        self._listeners.clear()
        self._silent.clear()
        self._shown = [Misbehaviour.REFUSE] * len(self.endpoints)


class _Connection(asyncio.Protocol):
    """One client at one machine."""

    __slots__ = ("_farm", "_left", "_received", "_reply", "_timer", "_transport", "row")

    def __init__(self, farm: MinerServers, row: int) -> None:
        self.row = row
        self._farm = farm
        self._received = b""
        self._reply = b""
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases
        self._farm._connections.add(self)
        self._farm.traffic.opened(self.row)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._farm._connections.discard(self)
        self._farm.traffic.closed(self.row)
        self._transport = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._reply or self._timer is not None or self._transport is None:
            return  # already answering; cgminer reads one request per connection
        self._received += data
        fault = self._farm.faults[self.row]
        if fault is Misbehaviour.HANG:
            return
        reply = answer(self._farm.scene, self.row, self._received)
        if reply is None:
            if len(self._received) > MAX_REQUEST_BYTES:
                self._transport.close()
            return
        self._reply = reply
        match fault:
            case Misbehaviour.SLOW:
                self._timer = asyncio.get_running_loop().call_later(SLOW_S, self._finish)
            case Misbehaviour.DRIBBLE:
                self._dribble(0)
            case Misbehaviour.MALFORMED:
                self._reply = GARBAGE
                self._finish()
            case Misbehaviour.OVERSIZE:
                self._left = OVERSIZE_BYTES
                self._transport.write(b'{"STATUS":[{"STATUS":"S","Msg":"')
                self.resume_writing()
            case _:
                self._finish()

    def _finish(self) -> None:
        if self._transport is None:
            return
        self._farm.traffic.replies += 1
        self._transport.write(self._reply)
        self._transport.close()

    def _dribble(self, sent: int) -> None:
        if self._transport is None:
            return
        self._transport.write(self._reply[sent : sent + 1])
        if sent + 1 < len(self._reply):
            self._timer = asyncio.get_running_loop().call_later(DRIBBLE_S, self._dribble, sent + 1)
        else:
            self._transport.close()

    def pause_writing(self) -> None:
        self._left = -abs(self._left)  # negative: paused with that much to go

    def resume_writing(self) -> None:
        self._left = abs(self._left)
        while self._left > 0 and self._transport is not None:
            self._left = max(self._left - len(_OVERSIZE_CHUNK), 0)
            self._transport.write(_OVERSIZE_CHUNK)
            if self._left == 0:
                self._transport.close()
