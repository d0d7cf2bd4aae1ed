"""PDUs of the virtual farm: a small SNMP v1/v2c responder of our own, and the object trees it serves.

The responder is a function from datagram to datagram over a `Tree`: sorted OIDs and a value per OID, encoded when
asked, so that live numbers cost nothing while nobody looks. `Rpdu2` is an APC rPDU2 whose outlets feed the scene's
machines; `Recording` is any .snmprec walk. A datagram that cannot be read, or a wrong community, gets silence.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, cast

from hil.faults import GARBAGE, SLOW_S, Misbehaviour
from hil.loopback import udp_socket
from hil.scene import Scene

Oid = tuple[int, ...]

INTEGER, OCTETS, NULL, OBJECT_ID, SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
IP_ADDRESS, COUNTER32, GAUGE32, TIME_TICKS, OPAQUE, COUNTER64 = 0x40, 0x41, 0x42, 0x43, 0x44, 0x46
NO_SUCH_OBJECT, NO_SUCH_INSTANCE, END_OF_MIB = b"\x80\x00", b"\x81\x00", b"\x82\x00"
GET, GET_NEXT, RESPONSE, SET, GET_BULK = 0xA0, 0xA1, 0xA2, 0xA3, 0xA5
TOO_BIG, NO_SUCH_NAME, READ_ONLY, NO_ACCESS = 1, 2, 4, 6
V1, V2C = 0, 1
MAX_DATAGRAM_BYTES = 1472
"""What fits into one Ethernet frame; real agents cut or refuse there too."""


class BerError(ValueError):
    """These bytes are not the BER we speak."""


# ---------------------------------------------------------------------------------------------------------------------
# BER


def encode(tag: int, body: bytes) -> bytes:
    n = len(body)
    if n < 0x80:
        return bytes((tag, n)) + body
    size = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def encode_integer(value: int, tag: int = INTEGER) -> bytes:
    """Shortest two's complement; an unsigned type above its sign bit gets the leading zero that BER wants."""
    magnitude = value if value >= 0 else ~value
    return encode(tag, value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True))


@lru_cache(maxsize=65536)
def encode_oid(oid: Oid) -> bytes:
    if len(oid) < 2:
        oid = (*oid, *(0,) * (2 - len(oid)))
    body = bytearray()
    for arc in (oid[0] * 40 + oid[1], *oid[2:]):
        chunk = [arc & 0x7F]
        while arc := arc >> 7:
            chunk.append(0x80 | arc & 0x7F)
        body.extend(reversed(chunk))
    return encode(OBJECT_ID, bytes(body))


def encode_text(text: str) -> bytes:
    return encode(OCTETS, text.encode("latin-1", "replace"))


def decode(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Tag, body and the position behind them. Errors: BerError for anything that does not fit into `data`."""
    try:
        tag, n = data[at], data[at + 1]
        at += 2
        if n & 0x80:
            size = n & 0x7F
            if not 0 < size <= 4:
                raise BerError("length of length")
            n = int.from_bytes(data[at : at + size], "big")
            at += size
    except IndexError:
        raise BerError("truncated") from None
    if at + n > len(data):
        raise BerError("truncated")
    return tag, data[at : at + n], at + n


def decode_integer(data: bytes, at: int) -> tuple[int, int]:
    tag, body, end = decode(data, at)
    if tag != INTEGER or not body:
        raise BerError("integer expected")
    return int.from_bytes(body, "big", signed=True), end


def decode_oid(body: bytes) -> Oid:
    arcs: list[int] = []
    arc = 0
    for byte in body:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    if not arcs or body[-1] & 0x80:
        raise BerError("object id")
    first = min(arcs[0] // 40, 2)
    return (first, arcs[0] - 40 * first, *arcs[1:])


def parse_oid(text: str) -> Oid:
    return tuple(int(arc) for arc in text.strip(".").split("."))


# ---------------------------------------------------------------------------------------------------------------------
# Trees


class Tree(Protocol):
    """What an agent serves: sorted OIDs, and the encoded value (tag, length, body) of the i-th of them now."""

    @property
    def oids(self) -> Sequence[Oid]: ...

    def value(self, i: int) -> bytes: ...


class Recording:
    """The objects of a .snmprec walk, as they were recorded."""

    def __init__(self, rows: Iterable[tuple[Oid, bytes]]) -> None:
        table = dict(rows)
        self.oids: Sequence[Oid] = sorted(table)
        self._values = [table[oid] for oid in self.oids]

    def value(self, i: int) -> bytes:
        return self._values[i]


def read_snmprec(text: str) -> Recording:
    """A recording from `OID|tag|value` lines.

    Tags are BER numbers with `x` (hexadecimal) or `e` (escapes) behind them; lines with a `:module` are settings of
    another program and are left out, as are lines that cannot be read.
    """
    rows: list[tuple[Oid, bytes]] = []
    for line in text.splitlines():
        oid, bar, rest = line.partition("|")
        tag, second, value = rest.partition("|")
        if not bar or not second or ":" in tag:
            continue
        try:
            rows.append((parse_oid(oid), _recorded_value(tag, value)))
        except ValueError:
            continue
    return Recording(rows)


def _recorded_value(tag: str, value: str) -> bytes:
    number = int(tag.rstrip("xe"))
    if tag.endswith("x"):
        raw = bytes.fromhex(value)
    elif tag.endswith("e"):
        raw = value.encode("latin-1", "replace").decode("unicode_escape").encode("latin-1", "replace")
    else:
        raw = value.encode("latin-1", "replace")
    match number:
        case 2 | 65 | 66 | 67 | 70:
            return encode_integer(int(raw), number)
        case 6:
            return encode_oid(parse_oid(raw.decode()))
        case 64 if not tag.endswith("x"):
            return encode(IP_ADDRESS, bytes(int(part) for part in raw.split(b".")))
        case _:
            return encode(number, raw)


RPDU2 = parse_oid("1.3.6.1.4.1.318.1.1.26")
RPDU2_OBJECT_ID = parse_oid("1.3.6.1.4.1.318.1.3.4.6")
SUPPLY_V = 415 / 3**0.5
"""Line to neutral of a 415 V feed, what a large site gives its machines."""
POWER_FACTOR = 0.98


@dataclass(frozen=True)
class Face:
    """One PDU: its place, and which row of the scene hangs on each outlet (None = free)."""

    name: str
    serial: str
    outlets: tuple[int | None, ...]


class Rpdu2:
    """An APC rPDU2 with metered and switched outlets: unit power in 10 W steps, outlet power in watts.

    Energy is in 0.1 kWh, as the real one counts it; the unit's own meter is the sum of its outlets'.
    """

    def __init__(self, scene: Scene, face: Face) -> None:
        self.scene = scene
        self.face = face
        self._cells = _rpdu2_cells(len(face.outlets))
        self.oids: Sequence[Oid] = _rpdu2_oids(len(face.outlets))

    def value(self, i: int) -> bytes:
        _, read, outlet = self._cells[i]
        return read(self, outlet)

    def row(self, outlet: int) -> int | None:
        return self.face.outlets[outlet - 1]

    def outlet_w(self, outlet: int) -> float:
        row = self.row(outlet)
        return 0.0 if row is None else self.scene.view.wall_w[row]

    def outlet_j(self, outlet: int) -> float:
        row = self.row(outlet)
        return 0.0 if row is None else self.scene.view.energy_j[row]

    def is_on(self, outlet: int) -> bool:
        row = self.row(outlet)
        return row is None or bool(self.scene.orders.outlet_on[row])

    def unit_w(self) -> float:
        wall_w = self.scene.view.wall_w
        return sum(wall_w[row] for row in self.face.outlets if row is not None)

    def unit_j(self) -> float:
        energy_j = self.scene.view.energy_j
        return sum(energy_j[row] for row in self.face.outlets if row is not None)


Cell = tuple[Oid, Callable[[Rpdu2, int], bytes], int]


def _fixed(encoded: bytes) -> Callable[[Rpdu2, int], bytes]:
    return lambda pdu, outlet: encoded


def _number(read: Callable[[Rpdu2, int], float]) -> Callable[[Rpdu2, int], bytes]:
    return lambda pdu, outlet: encode_integer(round(read(pdu, outlet)))


def _text(read: Callable[[Rpdu2, int], str]) -> Callable[[Rpdu2, int], bytes]:
    return lambda pdu, outlet: encode_text(read(pdu, outlet))


def _outlet_name(pdu: Rpdu2, outlet: int) -> str:
    row = pdu.row(outlet)
    return f"Outlet {outlet}" if row is None else f"m{row + 1:05d}"


def _load_state(pdu: Rpdu2, outlet: int) -> float:
    return 1 if pdu.unit_w() < 100.0 else 2  # low, normal


def _amperes_tenths(watts: float, volts: float = SUPPLY_V) -> float:
    return 10.0 * watts / (volts * POWER_FACTOR)


@lru_cache(maxsize=64)
def _rpdu2_cells(outlets: int) -> tuple[Cell, ...]:
    """The layout of an rPDU2, the same for every unit with that many outlets, sorted by OID."""
    cells: list[Cell] = []

    def add(oid: str, read: Callable[[Rpdu2, int], bytes], outlet: int = 0, base: Oid = RPDU2) -> None:
        cells.append(((*base, *parse_oid(oid)), read, outlet))

    system = parse_oid("1.3.6.1.2.1.1")
    model = f"AP88{outlets:02d}HIL"
    banner = f"APC Web/SNMP Management Card (MB:v4.1.0 PF:v6.4.0 PN:apc_hw05_aos_640.bin MN:{model})"
    add("1.0", _fixed(encode_text(banner)), base=system)
    add("2.0", _fixed(encode_oid(RPDU2_OBJECT_ID)), base=system)
    add(
        "3.0",
        lambda pdu, _: encode_integer(int((pdu.scene.view.now_s - pdu.scene.started_s) * 100) & 0xFFFFFFFF, TIME_TICKS),
        base=system,
    )
    add("5.0", _text(lambda pdu, _: pdu.face.name), base=system)

    # Identity and properties
    add("2.1.1.1", _fixed(encode_integer(1)))
    add("2.1.2.1", _fixed(encode_integer(1)))
    add("2.1.3.1", _text(lambda pdu, _: pdu.face.name))
    add("2.1.6.1", _fixed(encode_text("v6.4.0")))
    add("2.1.8.1", _fixed(encode_text(model)))
    add("2.1.9.1", _text(lambda pdu, _: pdu.face.serial))
    rating_kw10 = 40 * outlets  # 4 kW for each outlet, so that no honest load is over the rating
    phase_a = math.ceil(rating_kw10 * 100.0 / 3 / SUPPLY_V)
    plate = {1: 1, 4: outlets, 5: outlets, 6: outlets, 7: 3, 8: 0, 9: phase_a, 13: rating_kw10}
    for column, value in plate.items():
        add(f"4.2.1.{column}.1", _fixed(encode_integer(value)))

    # Device
    add("4.3.1.1.1", _fixed(encode_integer(1)))
    add("4.3.1.2.1", _fixed(encode_integer(1)))
    add("4.3.1.3.1", _text(lambda pdu, _: pdu.face.name))
    add("4.3.1.4.1", _number(_load_state))
    add("4.3.1.5.1", _number(lambda pdu, _: pdu.unit_w() / 10.0))
    add("4.3.1.9.1", _number(lambda pdu, _: pdu.unit_j() / 3.6e5))
    add("4.3.1.10.1", _fixed(encode_text("01/02/2024 03:04:05")))
    add("4.3.1.16.1", _number(lambda pdu, _: pdu.unit_w() / POWER_FACTOR / 10.0))
    add("4.3.1.17.1", _fixed(encode_integer(round(POWER_FACTOR * 100))))

    # Phases: outlet k hangs on phase k mod 3
    for phase in (1, 2, 3):

        def phase_w(pdu: Rpdu2, index: int) -> float:
            return sum(pdu.outlet_w(outlet) for outlet in range(index, len(pdu.face.outlets) + 1, 3))

        def phase_a10(pdu: Rpdu2, index: int) -> float:
            return _amperes_tenths(phase_w(pdu, index))

        def phase_w10(pdu: Rpdu2, index: int) -> float:
            return phase_w(pdu, index) / 10.0

        def phase_va10(pdu: Rpdu2, index: int) -> float:
            return phase_w(pdu, index) / POWER_FACTOR / 10.0

        add(f"6.3.1.1.{phase}", _fixed(encode_integer(phase)))
        add(f"6.3.1.2.{phase}", _fixed(encode_integer(1)))
        add(f"6.3.1.3.{phase}", _fixed(encode_integer(phase)))
        add(f"6.3.1.4.{phase}", _number(_load_state))
        add(f"6.3.1.5.{phase}", _number(phase_a10), phase)
        add(f"6.3.1.6.{phase}", _fixed(encode_integer(round(SUPPLY_V))))
        add(f"6.3.1.7.{phase}", _number(phase_w10), phase)
        add(f"6.3.1.8.{phase}", _number(phase_va10), phase)
        add(f"6.3.1.9.{phase}", _fixed(encode_integer(round(POWER_FACTOR * 100))))

    # Outlets: switched, then metered
    for outlet in range(1, outlets + 1):
        index = _fixed(encode_integer(outlet))
        one = _fixed(encode_integer(1))
        add(f"9.2.3.1.1.{outlet}", index)
        add(f"9.2.3.1.2.{outlet}", one)
        add(f"9.2.3.1.3.{outlet}", _text(_outlet_name), outlet)
        add(f"9.2.3.1.4.{outlet}", index)
        add(f"9.2.3.1.5.{outlet}", _number(lambda pdu, k: 2 if pdu.is_on(k) else 1), outlet)
        add(f"9.4.3.1.1.{outlet}", index)
        add(f"9.4.3.1.2.{outlet}", one)
        add(f"9.4.3.1.3.{outlet}", _text(_outlet_name), outlet)
        add(f"9.4.3.1.4.{outlet}", index)
        add(f"9.4.3.1.6.{outlet}", _number(lambda pdu, k: _amperes_tenths(pdu.outlet_w(k))), outlet)
        add(f"9.4.3.1.7.{outlet}", _number(Rpdu2.outlet_w), outlet)
        add(f"9.4.3.1.11.{outlet}", _number(lambda pdu, k: pdu.outlet_j(k) / 3.6e5), outlet)

    # One temperature and humidity probe in the aisle
    add("10.2.2.1.1.1", _fixed(encode_integer(1)))
    add("10.2.2.1.2.1", _fixed(encode_integer(1)))
    add("10.2.2.1.3.1", _fixed(encode_text("aisle")))
    add("10.2.2.1.4.1", _fixed(encode_integer(1)))
    add("10.2.2.1.5.1", _fixed(encode_integer(2)))
    add("10.2.2.1.6.1", _fixed(encode_integer(2)))
    add("10.2.2.1.8.1", _number(lambda pdu, _: pdu.scene.view.state.ambient_c * 10.0))
    add("10.2.2.1.10.1", _fixed(encode_integer(41)))
    return tuple(sorted(cells, key=lambda cell: cell[0]))


@lru_cache(maxsize=64)
def _rpdu2_oids(outlets: int) -> tuple[Oid, ...]:
    return tuple(oid for oid, _, _ in _rpdu2_cells(outlets))


# ---------------------------------------------------------------------------------------------------------------------
# The responder


def respond(tree: Tree, community: bytes, datagram: bytes) -> bytes | None:
    """The answer to one datagram, or None where a real agent keeps silent (wrong community, unreadable bytes)."""
    try:
        return _respond(tree, community, datagram)
    except BerError:
        return None


def _respond(tree: Tree, community: bytes, datagram: bytes) -> bytes | None:
    tag, message, _ = decode(datagram, 0)
    if tag != SEQUENCE:
        raise BerError("message")
    version, at = decode_integer(message, 0)
    _, asked_community, at = decode(message, at)
    if version not in (V1, V2C) or asked_community != community:
        return None
    kind, pdu, _ = decode(message, at)
    request_id, at = decode_integer(pdu, 0)
    first, at = decode_integer(pdu, at)
    second, at = decode_integer(pdu, at)
    _, bindings, _ = decode(pdu, at)
    oids = _asked(bindings)

    def reply(rows: Sequence[bytes], error: int = 0, index: int = 0) -> bytes:
        body = encode_integer(request_id) + encode_integer(error) + encode_integer(index)
        body += encode(SEQUENCE, b"".join(rows))
        return encode(SEQUENCE, encode_integer(version) + encode(OCTETS, asked_community) + encode(RESPONSE, body))

    def refuse(error: int, index: int) -> bytes:
        return reply([_binding(oid, encode(NULL, b"")) for oid in oids], error, index)

    if kind in (GET, GET_NEXT):
        look = _look if kind == GET else _look_behind
        rows = []
        for index, oid in enumerate(oids, start=1):
            found, value = look(tree, oid)
            if version == V1 and (value[0] >= 0x80 or value[0] == COUNTER64):
                return refuse(NO_SUCH_NAME, index)
            rows.append(_binding(found, value))
        whole = reply(rows)
        return whole if len(whole) <= MAX_DATAGRAM_BYTES else reply([], TOO_BIG, 0)
    if kind == GET_BULK and version == V2C:
        # Room for the envelope and the longest lengths BER may need.
        room = MAX_DATAGRAM_BYTES - len(asked_community) - 40
        return reply(list(_bulk(tree, oids, max(first, 0), max(second, 0), room)))
    if kind == SET:
        return refuse(READ_ONLY if version == V1 else NO_ACCESS, 1)
    return None


def _asked(bindings: bytes) -> list[Oid]:
    oids: list[Oid] = []
    at = 0
    while at < len(bindings):
        tag, binding, at = decode(bindings, at)
        inner, name, _ = decode(binding, 0)
        if tag != SEQUENCE or inner != OBJECT_ID:
            raise BerError("binding")
        oids.append(decode_oid(name))
    return oids


def _binding(oid: Oid, value: bytes) -> bytes:
    return encode(SEQUENCE, encode_oid(oid) + value)


def _look(tree: Tree, oid: Oid) -> tuple[Oid, bytes]:
    i = bisect_left(tree.oids, oid)
    if i < len(tree.oids) and tree.oids[i] == oid:
        return oid, tree.value(i)
    # An instance is missing where the column has others; otherwise the object itself is.
    is_known = i < len(tree.oids) and tree.oids[i][: len(oid) - 1] == oid[:-1]
    is_known = is_known or (i > 0 and tree.oids[i - 1][: len(oid) - 1] == oid[:-1])
    return oid, NO_SUCH_INSTANCE if is_known else NO_SUCH_OBJECT


def _look_behind(tree: Tree, oid: Oid) -> tuple[Oid, bytes]:
    i = bisect_right(tree.oids, oid)
    return (tree.oids[i], tree.value(i)) if i < len(tree.oids) else (oid, END_OF_MIB)


def _bulk(tree: Tree, oids: Sequence[Oid], single: int, repetitions: int, room: int) -> Iterable[bytes]:
    """Bindings of a GETBULK, as many whole ones as the room takes."""
    for oid in oids[:single]:
        row = _binding(*_look_behind(tree, oid))
        room -= len(row)
        if room < 0:
            return
        yield row
    cursors = list(oids[single:])
    for _ in range(repetitions if cursors else 0):
        is_over = True
        for k, oid in enumerate(cursors):
            cursors[k], value = _look_behind(tree, oid)
            is_over = is_over and value == END_OF_MIB
            row = _binding(cursors[k], value)
            room -= len(row)
            if room < 0:
                return
            yield row
        if is_over:
            return


class SnmpAgent(asyncio.DatagramProtocol):
    """One PDU's UDP port. `fault` may be set at any time; connectionless faults fold into answering or not."""

    def __init__(self, tree: Tree, host: str, port: int, community: str = "public") -> None:
        self.tree = tree
        self.host = host
        self.port = port
        self.fault = Misbehaviour.NONE
        self.requests = 0
        self._community = community.encode()
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        sock = udp_socket(self.host, self.port)
        self.port = int(sock.getsockname()[1])
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, exc: Exception) -> None:
        """The asker has gone; a PDU does not care."""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.requests += 1
        match self.fault:
            case Misbehaviour.HANG | Misbehaviour.REFUSE | Misbehaviour.SILENT | Misbehaviour.DRIBBLE:
                return
            case Misbehaviour.MALFORMED | Misbehaviour.OVERSIZE:
                self._send(GARBAGE, addr)
                return
        answer = respond(self.tree, self._community, data)
        if answer is None:
            return
        if self.fault is Misbehaviour.SLOW:
            asyncio.get_running_loop().call_later(SLOW_S, self._send, answer, addr)
        else:
            self._send(answer, addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data, addr)
