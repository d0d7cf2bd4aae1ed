"""What the PDUs of the virtual farm have to tell: trees of objects for `hil.responder`.

`Recording` is any .snmprec walk as it was; `Rpdu2` is an APC rPDU2 of our own whose outlets feed the scene's machines.
A `Face` says which machines hang where and what the outlets are called; meters are always right, for the truth is the
scene's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from collectors.pdus.snmp import Value
from hil.ber import (
    INTEGER,
    IP_ADDRESS,
    TIME_TICKS,
    Oid,
    decode,
    decode_oid,
    encode,
    encode_integer,
    encode_oid,
    encode_text,
    parse_oid,
)
from hil.scene import Scene

SYSTEM = parse_oid("1.3.6.1.2.1.1")
SUPPLY_V = 415 / 3**0.5
"""Line to neutral of a 415 V feed, what a large site gives its machines."""
POWER_FACTOR = 0.98


# ---------------------------------------------------------------------------------------------------------------------
# Recordings


class Recording:
    """The objects of a .snmprec walk, as they were recorded. Victims are the first integers of its columns."""

    def __init__(self, rows: Iterable[tuple[Oid, bytes]], serial: bytes = b"") -> None:
        table = dict(rows)
        self.oids: Sequence[Oid] = sorted(table)
        self.serial = serial
        self._values = [table[oid] for oid in self.oids]
        is_first = [i == 0 or oid[:-1] != self.oids[i - 1][:-1] for i, oid in enumerate(self.oids)]
        self.victims = frozenset(
            i
            for i, oid in enumerate(self.oids)
            if is_first[i] and self._values[i][0] == INTEGER and oid[: len(SYSTEM)] != SYSTEM
        )

    def value(self, i: int) -> bytes:
        return self._values[i]

    def found(self) -> dict[Oid, Value]:
        """The objects as a client reads them."""
        read = {oid: _plain(self._values[i]) for i, oid in enumerate(self.oids)}
        return {oid: value for oid, value in read.items() if value is not None}


def _plain(value: bytes) -> Value | None:
    tag, body, _ = decode(value, 0)
    match tag:
        case 0x02 | 0x41 | 0x42 | 0x43 | 0x46:  # INTEGER, Counter32, Gauge32, TimeTicks, Counter64
            return int.from_bytes(body, "big", signed=True)
        case 0x06:
            return decode_oid(body)
        case 0x05:
            return None
        case _:
            return body


def read_snmprec(text: str) -> Recording:
    """A recording from `OID|tag|value` lines.

    Tags are BER numbers with `x` (hexadecimal) or `e` (escapes) behind them; lines with a `:module` are settings of
    another program and are left out, as are lines that cannot be read.
    """
    rows: list[tuple[Oid, bytes]] = []
    for line in text.split("\n"):
        oid, bar, rest = line.rstrip("\r").partition("|")
        tag, second, value = rest.partition("|")
        if not bar or not second or ":" in tag:
            continue
        try:
            rows.append((parse_oid(oid), _recorded_value(tag, value)))
        except ValueError:
            continue
    return Recording(rows)


def load_snmprec(path: Path) -> Recording:
    """Errors: OSError; ValueError for a file that holds no object."""
    recording = read_snmprec(path.read_text("utf-8", "surrogateescape"))
    if not recording.oids:
        raise ValueError(f"{path} is no recorded walk")
    return recording


def _recorded_value(tag: str, value: str) -> bytes:
    number = int(tag.rstrip("xe"))
    raw = value.encode("utf-8", "surrogateescape")
    if tag.endswith("x"):
        raw = bytes.fromhex(value)
    elif tag.endswith("e"):
        raw = raw.decode("unicode_escape").encode("latin-1")
    match number:
        case 2 | 65 | 66 | 67 | 70:
            return encode_integer(int(raw), number)
        case 6:
            return encode_oid(parse_oid(raw.decode()))
        case 64 if tag == "64":
            return encode(IP_ADDRESS, bytes(int(part) for part in raw.split(b".")))
        case _:
            return encode(number, raw)


# ---------------------------------------------------------------------------------------------------------------------
# Faces


@dataclass(frozen=True)
class Face:
    """One PDU: its place, and which rows of the scene hang on each outlet (none = free).

    `outlet_names` is what somebody has called the outlets; one that has no name of its own is "Outlet 7".
    """

    name: str
    serial: str
    outlets: tuple[tuple[int, ...], ...]
    outlet_names: tuple[str | None, ...] = ()

    def own_name(self, outlet: int) -> str | None:
        """What somebody has called an outlet (from 1)."""
        return self.outlet_names[outlet - 1] if outlet <= len(self.outlet_names) else None

    def outlet_name(self, outlet: int) -> str:
        return self.own_name(outlet) or f"Outlet {outlet}"

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple(row for outlet in self.outlets for row in outlet)


# ---------------------------------------------------------------------------------------------------------------------
# Our own rPDU2

RPDU2 = parse_oid("1.3.6.1.4.1.318.1.1.26")
RPDU2_OBJECT_ID = parse_oid("1.3.6.1.4.1.318.1.3.4.6")
VICTIMS = frozenset((*RPDU2, *parse_oid(cell)) for cell in ("4.3.1.5.1", "6.3.1.5.1", "6.3.1.7.1", "9.4.3.1.7.1"))
"""Watts of the unit and of outlet 1, amperes and watts of phase 1."""


class Rpdu2:
    """An APC rPDU2 with metered and switched outlets: unit power in 10 W steps, outlet power in watts.

    Energy is in 0.1 kWh, as the real one counts it; the unit's own meter is the sum of its outlets'.
    """

    def __init__(self, scene: Scene, face: Face) -> None:
        self.scene = scene
        self.face = face
        self.serial = face.serial.encode()
        self._rows = face.rows
        self._cells = _rpdu2_cells(len(face.outlets))
        self.oids: Sequence[Oid] = _rpdu2_oids(len(face.outlets))

    @property
    def victims(self) -> frozenset[int]:
        return frozenset(i for i, oid in enumerate(self.oids) if oid in VICTIMS)

    def value(self, i: int) -> bytes:
        _, read, outlet = self._cells[i]
        return read(self, outlet)

    def outlet_w(self, outlet: int) -> float:
        return sum(map(self.scene.view.wall_w.__getitem__, self.face.outlets[outlet - 1]))

    def outlet_j(self, outlet: int) -> float:
        return sum(map(self.scene.view.energy_j.__getitem__, self.face.outlets[outlet - 1]))

    def is_on(self, outlet: int) -> bool:
        rows = self.face.outlets[outlet - 1]
        return not rows or any(self.scene.orders.outlet_on[row] for row in rows)

    def meter(self, socket: int) -> str:
        """What measures a socket (from 0), as an inventory names it."""
        return str(socket + 1)

    def unit_w(self) -> float:
        return sum(map(self.scene.view.wall_w.__getitem__, self._rows))

    def unit_j(self) -> float:
        return sum(map(self.scene.view.energy_j.__getitem__, self._rows))


Cell = tuple[Oid, Callable[[Rpdu2, int], bytes], int]


def _fixed(encoded: bytes) -> Callable[[Rpdu2, int], bytes]:
    return lambda pdu, outlet: encoded


def _number(read: Callable[[Rpdu2, int], float]) -> Callable[[Rpdu2, int], bytes]:
    return lambda pdu, outlet: encode_integer(round(read(pdu, outlet)))


def _text(read: Callable[[Rpdu2, int], str]) -> Callable[[Rpdu2, int], bytes]:
    return lambda pdu, outlet: encode_text(read(pdu, outlet))


def _outlet_name(pdu: Rpdu2, outlet: int) -> str:
    return pdu.face.outlet_name(outlet)


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

    model = f"AP88{outlets:02d}HIL"
    banner = f"APC Web/SNMP Management Card (MB:v4.1.0 PF:v7.0.2 PN:apc_hw05_aos_702.bin MN:{model})"
    add("1.0", _fixed(encode_text(banner)), base=SYSTEM)
    add("2.0", _fixed(encode_oid(RPDU2_OBJECT_ID)), base=SYSTEM)
    add(
        "3.0",
        lambda pdu, _: encode_integer(int((pdu.scene.view.now_s - pdu.scene.started_s) * 100) & 0xFFFFFFFF, TIME_TICKS),
        base=SYSTEM,
    )
    add("5.0", _text(lambda pdu, _: pdu.face.name), base=SYSTEM)

    # Identity and properties
    add("2.1.1.1", _fixed(encode_integer(1)))
    add("2.1.2.1", _fixed(encode_integer(1)))
    add("2.1.3.1", _text(lambda pdu, _: pdu.face.name))
    add("2.1.6.1", _fixed(encode_text("v7.0.2")))
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
