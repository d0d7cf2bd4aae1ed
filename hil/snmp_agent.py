"""A PDU of the virtual farm on its UDP port: the responder, a socket, and the fault that it has at the moment."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from hil.faults import Misbehaviour, PduFault
from hil.loopback import udp_socket
from hil.manners import MANNERS
from hil.responder import Tree, respond


class SnmpAgent(asyncio.DatagramProtocol):
    """One PDU's UDP port. `tree` and `fault` may be set at any time.

    Setting a fault begins it anew: a frozen PDU shows the values of that moment. Errors of setting it: OSError where
    the second address of "other_address" is taken.
    """

    def __init__(self, tree: Tree, host: str, port: int, community: str = "public") -> None:
        self.host = host
        self.port = port
        self.requests = 0
        self._community = community.encode()
        self._transport: asyncio.DatagramTransport | None = None
        self._elsewhere: socket.socket | None = None
        self._tree = tree
        self.fault = Misbehaviour.NONE

    @property
    def tree(self) -> Tree:
        """What the PDU has, whatever it makes of it."""
        return self._tree

    @tree.setter
    def tree(self, tree: Tree) -> None:
        self._tree = tree
        self._shown = self._manner.tree(tree)

    @property
    def fault(self) -> PduFault:
        return self._fault

    @fault.setter
    def fault(self, kind: PduFault) -> None:
        manner = MANNERS[kind]
        if manner.is_elsewhere and self._elsewhere is None:
            self._elsewhere = udp_socket(_neighbour(self.host), self.port)
        self._fault, self._manner, self._shown = kind, manner, manner.tree(self._tree)

    async def open(self) -> None:
        sock = udp_socket(self.host, self.port)
        self.port = int(sock.getsockname()[1])
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        if self._elsewhere is not None:
            self._elsewhere.close()
            self._elsewhere = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, exc: Exception) -> None:
        """The asker has gone; a PDU does not care."""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.requests += 1
        answer = respond(self._shown, self._community, data, self._manner)
        if answer is None:
            return
        for datagram in self._manner.send(answer):
            if self._manner.delay_s:
                asyncio.get_running_loop().call_later(self._manner.delay_s, self._send, datagram, addr)
            else:
                self._send(datagram, addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._manner.is_elsewhere and self._elsewhere is not None:
            self._elsewhere.sendto(data, addr)
        elif self._transport is not None:
            self._transport.sendto(data, addr)


def _neighbour(host: str) -> str:
    """Another loopback address; the farm's PDUs stand side by side in the last octet, so the third one is changed."""
    first, second, third, last = host.split(".")
    return f"{first}.{second}.{int(third) ^ 1}.{last}"
