"""An SNMP agent for tests, written from RFC 1157 and RFC 3416 and sharing no code with what it tests.

`UdpAgent` hands every request to a behaviour, which gives the datagrams to send back: honest, hostile or none.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

Oid = tuple[int, ...]
GET, GET_NEXT, RESPONSE, GET_BULK = 0xA0, 0xA1, 0xA2, 0xA5
INTEGER, OCTETS, OBJECT_ID, TICKS = 0x02, 0x04, 0x06, 0x43
NO_SUCH_INSTANCE, END_OF_MIB = b"\x81\x00", b"\x82\x00"
TOO_BIG, NO_SUCH_NAME, GEN_ERR, NO_ACCESS = 1, 2, 5, 6
V1, V2C = 0, 1


@dataclass(frozen=True)
class Request:
    community: bytes
    kind: int
    number: bytes  # request-id, as sent
    non_repeaters: int
    repetitions: int
    oids: tuple[Oid, ...]
    version: int = V2C


Behaviour = Callable[[Request], Iterable[bytes]]


def tlv(tag: int, body: bytes) -> bytes:
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    if len(body) > 0xFFFF:
        return bytes((tag, 0x83)) + len(body).to_bytes(3, "big") + body
    return bytes((tag, 0x82)) + len(body).to_bytes(2, "big") + body


def integer(value: int, tag: int = INTEGER) -> bytes:
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def object_id(oid: Oid) -> bytes:
    body = bytes((oid[0] * 40 + oid[1],))
    for part in oid[2:]:
        groups = [part & 0x7F]
        while part := part >> 7:
            groups.insert(0, part & 0x7F | 0x80)
        body += bytes(groups)
    return tlv(OBJECT_ID, body)


def value(plain: int | bytes | Oid) -> bytes:
    if isinstance(plain, int):
        return integer(plain)
    return tlv(OCTETS, plain) if isinstance(plain, bytes) else object_id(plain)


def answer_pdu(
    request: Request, rows: Iterable[tuple[Oid, bytes]], error: int = 0, position: int = 0, tag: int = RESPONSE
) -> bytes:
    bindings = b"".join(tlv(0x30, object_id(oid) + encoded) for oid, encoded in rows)
    return tlv(tag, request.number + integer(error) + integer(position) + tlv(0x30, bindings))


def response(request: Request, rows: Iterable[tuple[Oid, bytes]], error: int = 0, position: int = 0) -> bytes:
    """A whole message of the version that was asked; rows are names with encoded values."""
    pdu = answer_pdu(request, rows, error, position)
    return tlv(0x30, integer(request.version) + tlv(OCTETS, request.community) + pdu)


def parse(datagram: bytes) -> Request:
    _, message, _ = take(datagram)
    _, version, rest = take(message)
    _, community, rest = take(rest)
    return parse_pdu(rest, community, version[0])


def parse_pdu(data: bytes, community: bytes = b"", version: int = V2C) -> Request:
    kind, pdu, _ = take(data)
    _, number, rest = take(pdu)
    _, first, rest = take(rest)
    _, second, rest = take(rest)
    _, bindings, _ = take(rest)
    oids = []
    while bindings:
        _, binding, bindings = take(bindings)
        _, name, _ = take(binding)
        oids.append(_parse_oid(name))
    ints = [int.from_bytes(part, "big", signed=True) for part in (first, second)]
    return Request(community, kind, tlv(INTEGER, number), ints[0], ints[1], tuple(oids), version)


def take(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and body of the first element, and what follows it."""
    size, start = data[1], 2
    if size & 0x80:
        start = 2 + (size & 0x7F)
        size = int.from_bytes(data[2:start], "big")
    return data[0], data[start : start + size], data[start + size :]


def _parse_oid(body: bytes) -> Oid:
    parts, part = [], 0
    for byte in body:
        part = part << 7 | byte & 0x7F
        if not byte & 0x80:
            parts.append(part)
            part = 0
    return (parts[0] // 40, parts[0] % 40, *parts[1:])


class Honest:
    """Serves a table of plain values; `objects` may be changed between requests."""

    def __init__(self, objects: Mapping[Oid, int | bytes | Oid]) -> None:
        self.objects = dict(objects)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Iterable[bytes]:
        self.requests.append(request)
        rows = self.rows(request)
        if request.version == V1:  # which has no words for "not here" but this one
            for position, (_, encoded) in enumerate(rows, start=1):
                if encoded in (NO_SUCH_INSTANCE, END_OF_MIB):
                    echo = [(oid, b"\x05\x00") for oid in request.oids]
                    return [response(request, echo, NO_SUCH_NAME, position)]
        return [response(request, rows)]

    def rows(self, request: Request) -> list[tuple[Oid, bytes]]:
        if request.kind == GET:
            return [(o, value(self.objects[o]) if o in self.objects else NO_SUCH_INSTANCE) for o in request.oids]
        repetitions = request.repetitions if request.kind == GET_BULK else 1
        order, rows, last = sorted(self.objects), [], request.oids[0]
        for _ in range(repetitions):
            at = bisect_right(order, last)
            if at == len(order):
                rows.append((last, END_OF_MIB))
                break
            last = order[at]
            rows.append((last, value(self.objects[last])))
        return rows


class UdpAgent(asyncio.DatagramProtocol):
    """Listens on a free port of 127.0.0.1 while the context is open."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.port = 0
        self.askers: list[tuple[str, int]] = []

    async def __aenter__(self) -> UdpAgent:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.askers.append(addr)
        for answer in self.answers(data):
            self.send(answer, addr)

    def answers(self, data: bytes) -> Iterable[bytes]:
        return self.behaviour(parse(data))

    def send(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, addr)


def renumbered(request: Request) -> Request:
    """The same request with another request-id."""
    number = int.from_bytes(request.number[2:], "big")
    return replace(request, number=integer(number ^ 0x55))
