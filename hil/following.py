"""A recorded PDU whose meters see the machines of the farm: every number that its profile reads is told anew.

The profile says which object holds what; here it is used the other way round, from watts to raw numbers. What the
recording calls "not available" stays so, and so does everything that no profile reads.

Machines hang on sockets, and a socket is an outlet where the family has outlets. Phases take the sockets of their unit
in turn; inlets, banks and groups take them in blocks, unless the outlets themselves say on what they hang. So the rows
of one kind add up to the unit, as meters do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.pdus.device import FullRead, replay
from collectors.pdus.layout import Cell, Line, Said
from collectors.pdus.profile import Column, Source
from collectors.pdus.snmp import SYS_UPTIME, TICKS_PER_S, Value
from fleet.ports import PollError
from fleet.readings import PduRow, RowKind
from hil.ber import COUNTER32, COUNTER64, GAUGE32, INTEGER, OCTETS, TIME_TICKS, Oid, encode, encode_integer
from hil.pdus import POWER_FACTOR, SUPPLY_V, Face, Recording
from hil.scene import Scene

NUMBERS = ("power_w", "apparent_power_va", "power_factor", "current_a", "voltage_v", "energy_j")
SPOILT = ("power_w", "apparent_power_va", "current_a")
LARGEST: Mapping[int, int] = {
    INTEGER: 2**31 - 1,
    COUNTER32: 2**32 - 1,
    GAUGE32: 2**32 - 1,
    TIME_TICKS: 2**32 - 1,
    COUNTER64: 2**64 - 1,
}

RowId = tuple[RowKind, str]
Sockets = Sequence[int]


@dataclass(frozen=True)
class Live:
    """One number of one object: which machines it sees, and how it is written there.

    `per_unit`: steps of a scale that the device tells, in one of what `source.scale` gives. `position`: of the bit or
    the item that is this number's, from 1.
    """

    quantity: str
    source: Source
    rows: tuple[int, ...]
    volts: float = SUPPLY_V
    per_unit: float = 1.0
    position: int = 0

    def told(self, scene: Scene) -> float:
        """The truth, in the unit of the quantity; for a state 1 or 0."""
        match self.quantity:
            case "is_on":
                return float(not self.rows or any(scene.orders.outlet_on[row] for row in self.rows))
            case "energy_j":
                return sum(scene.view.energy_j[row] for row in self.rows)
            case "voltage_v":
                return self.volts
            case "power_factor":
                return POWER_FACTOR
        watts = sum(scene.view.wall_w[row] for row in self.rows)
        match self.quantity:
            case "apparent_power_va":
                return watts / POWER_FACTOR
            case "current_a":
                return watts / POWER_FACTOR / self.volts
            case _:
                return watts

    def written(self, before: Value, scene: Scene) -> Value:
        """The object with this number in it; `before` gives the form."""
        told, source = self.told(scene), self.source
        pick = source.pick if isinstance(source, Column) else None
        if isinstance(source, Column) and self.quantity == "is_on":
            code = (source.on if told else source.off)[0]
            return placed(pick, self.position, before, code if isinstance(code, int) else code.encode())
        exact = told * self.per_unit / source.scale
        if isinstance(before, bytes) and pick is None:
            decimals = len(before.strip(b" \0").partition(b".")[2])
            return f"{exact:.{decimals}f}".encode()
        raw = round(exact)
        return placed(pick, self.position, before, raw % int(source.wraps) if source.wraps else raw)


def placed(pick: str | None, position: int, before: Value, new: int | bytes) -> Value:
    """`new` in the place of an object that is its own: the whole, a bit, or an item between commas."""
    if pick == "bit" and isinstance(before, int) and isinstance(new, int):
        bit = 1 << (position - 1)
        return before | bit if new else before & ~bit
    if pick == "csv" and isinstance(before, bytes):
        items = before.split(b",")
        items[position - 1] = new if isinstance(new, bytes) else b"%d" % new
        return b",".join(items)
    return new


class Following:
    """`recording` with the scene's watts in it, by the profile that reads it.

    Errors: ValueError for a walk of no known family, and for a face with more sockets than the walk has outlets.
    """

    def __init__(self, recording: Recording, scene: Scene, face: Face) -> None:
        found = recording.found()
        try:
            full = replay(found)
        except PollError as error:
            raise ValueError(f"no profile reads this walk: {error.detail}") from None
        rows = rows_of(full)
        outlets = [row for row, _ in rows if row.kind is RowKind.OUTLET]
        if outlets and len(face.outlets) > len(outlets):
            raise ValueError(f"{len(face.outlets)} outlets are needed, and this walk has {len(outlets)}")
        self.oids = recording.oids
        self.scene = scene
        self.face = face
        self.profile = full.recognition.profile.id
        self.sockets = share_out([row for row, _ in rows], len(face.outlets))
        metered = {row.kind for row, _ in rows if row.power_w is not None}
        self._meter_kind = next((kind for kind in (RowKind.OUTLET, RowKind.BANK) if kind in metered), RowKind.UNIT)
        own: dict[Oid, bytes] = {}
        serial = next((oid for oid in full.recognition.profile.identity.serial if _is_text(found.get(oid))), None)
        if serial is not None:
            own[serial] = face.serial.encode()
        self.serial = b"" if serial is None else own[serial]
        for row, said in rows:
            if row.kind is RowKind.OUTLET and (name := face.own_name(outlets.index(row) + 1)) is not None:
                _rename(own, said, name.encode(), found)
        live = self._live_cells(full, rows)
        position = {oid: i for i, oid in enumerate(self.oids)}
        self._live = {position[oid]: (found[oid], told) for oid, told in live.items()}
        self._encoded = [
            encode(OCTETS, own[oid]) if oid in own else recording.value(i) for i, oid in enumerate(self.oids)
        ]
        self._uptime = position.get(SYS_UPTIME, -1)
        self.victims = frozenset(position[oid] for oid in _first_of_each(rows) if isinstance(found[oid], int))

    def value(self, i: int) -> bytes:
        recorded = self._encoded[i]
        if i in self._live:
            raw, told = self._live[i]
            for live in told:
                raw = live.written(raw, self.scene)
            return _encoded_as(recorded[0], raw)
        if i == self._uptime:
            return encode_integer(self._uptime_ticks(), TIME_TICKS)
        return recorded

    def meter(self, socket: int) -> str:
        """What measures a socket (from 0), as an inventory names it: an outlet, a bank, or the whole unit."""
        for (kind, id), sockets in self.sockets.items():
            if kind is self._meter_kind is not RowKind.UNIT and socket in sockets:
                return id if kind is RowKind.OUTLET else f"{kind} {id}"
        return "unit"

    def _uptime_ticks(self) -> int:
        return int((self.scene.view.now_s - self.scene.started_s) * TICKS_PER_S) & LARGEST[TIME_TICKS]

    def _machines(self, sockets: Sockets) -> tuple[int, ...]:
        return tuple(row for socket in sockets for row in self.face.outlets[socket])

    def _live_cells(self, full: FullRead, rows: Sequence[tuple[PduRow, Sequence[Said]]]) -> dict[Oid, list[Live]]:
        """Every object that has numbers of the scene in it; those of totals only where no row has the same object."""
        live: dict[Oid, list[Live]] = {}
        volts = {row.unit: row.voltage_v for row, _ in reversed(rows) if row.voltage_v}
        for row, said in rows:
            machines = self._machines(self.sockets.get((row.kind, row.id), ()))
            row_volts = row.voltage_v or volts.get(row.unit, SUPPLY_V)
            for cell in (word.cell for word in said if _is_live(row, word)):
                by = _steps(cell, full.found)
                told = Live(cell.column.quantity, cell.column, machines, row_volts, by, cell.position)
                live.setdefault(cell.oid, []).append(told)
        everyone = self._machines(range(len(self.face.outlets)))
        total = full.recognition.profile.total
        for quantity, ways in (("power_w", total.power_w), ("energy_j", total.energy_j)):
            for source in (way.object for way in ways if way.object is not None):
                raw = full.found.get(source.oid.stem)
                if isinstance(raw, int) and raw >= 0 and raw not in source.null:
                    live.setdefault(source.oid.stem, [Live(quantity, source, everyone)])
        return live


def rows_of(full: FullRead) -> list[tuple[PduRow, Sequence[Said]]]:
    """Each row of the reading with what its cells say. A row that a rule has taken away is none."""
    read = full.layout.read(full.found).rows
    lines = _gathered((line, said) for line, counts, said in full.layout.trace(full.found) if counts)
    if len(read) == len(lines):
        return [(row, said) for row, (_, said) in zip(read, lines, strict=True)]
    known = {(row.kind, row.id): row for row in read}
    found: dict[RowId, tuple[PduRow, Sequence[Said]]] = {}
    for line, said in lines:
        kind, (unit, number) = line.table.kind, _called(line, said)
        keys = [(kind, id) for id in ((unit or number,) if kind is RowKind.UNIT else (f"{unit}.{number}", number))]
        key = next((key for key in keys if key in known and (line.table.completes or key not in found)), None)
        if key is not None:
            _, before = found.get(key, (None, ()))
            found[key] = (known[key], (*before, *said))
    return list(found.values())


def _gathered(lines: Iterable[tuple[Line, Sequence[Said]]]) -> list[tuple[Line, Sequence[Said]]]:
    """Lines that complete others, put behind what these say."""
    gathered: list[tuple[Line, Sequence[Said]]] = []
    first: dict[tuple[RowKind, str | None, str], int] = {}
    for line, said in lines:
        at = first.setdefault((line.table.kind, *_called(line, said)), len(gathered))
        if line.table.completes and at < len(gathered):
            gathered[at] = (gathered[at][0], (*gathered[at][1], *said))
        else:
            gathered.append((line, said))
    return gathered


def _called(line: Line, said: Sequence[Said]) -> tuple[str | None, str]:
    """Unit and number of a line, by its words or by its index."""
    words = {word.cell.column.quantity: str(word.value) for word in reversed(said) if word.value is not None}
    return words.get("unit") or line.unit, words.get("number") or line.index or "1"


def share_out(rows: Sequence[PduRow], sockets: int) -> dict[RowId, Sockets]:
    """Which of the sockets (from 0) each row sees."""
    outlets = [row for row in rows if row.kind is RowKind.OUTLET][:sockets]
    units = list(dict.fromkeys(row.unit for row in rows if row.unit is not None))
    shared: dict[RowId, Sockets] = {}
    everything = range(sockets)
    of_unit: dict[str | None, Sockets] = {None: everything}
    if {row.unit for row in outlets} - {None}:
        of_unit |= {unit: [k for k, row in enumerate(outlets) if row.unit == unit] for unit in units}
    else:
        of_unit |= dict(zip(units, _blocks(everything, len(units)), strict=True))
    for unit, mine in of_unit.items():
        inlets = [row for row in rows if row.kind is RowKind.INLET and row.unit == unit]
        behind = _blocks(mine, len(inlets))
        for kind in RowKind:
            alike = [row for row in rows if row.kind is kind and row.unit == unit]
            match kind:
                case RowKind.OUTLET:
                    parts: Sequence[Sockets] = [[k] for k, row in enumerate(outlets) if row.unit == unit]
                    alike = alike[: len(parts)]
                case RowKind.PHASE | RowKind.LINE:
                    parts = _by_word(alike, outlets, mine, "phase") or _turns(mine, behind, len(alike))
                case RowKind.BANK:
                    parts = _by_word(alike, outlets, mine, "bank") or _blocks(mine, len(alike))
                case RowKind.PROBE:
                    continue
                case _:
                    parts = _blocks(mine, len(alike))
            shared |= {(kind, row.id): part for row, part in zip(alike, parts, strict=True)}
    return shared


def _blocks(sockets: Sockets, parts: int) -> list[Sockets]:
    size = -(-len(sockets) // parts) if parts else 0
    return [sockets[k * size : (k + 1) * size] for k in range(parts)]


def _turns(sockets: Sockets, inlets: Sequence[Sockets], parts: int) -> list[Sockets]:
    """Every third socket for three phases, behind each inlet where there are several."""
    if len(inlets) > 1 and parts % len(inlets) == 0:
        each = parts // len(inlets)
        return [inlet[k::each] for inlet in inlets for k in range(each)]
    return [sockets[k::parts] for k in range(parts)]


def _by_word(rows: Sequence[PduRow], outlets: Sequence[PduRow], sockets: Sockets, word: str) -> list[Sockets] | None:
    """By what the outlets say they hang on; None unless each of them names one of the rows."""
    said = {k: getattr(outlets[k], word) for k in sockets} if outlets else {}
    names = [{row.id, row.id.rpartition(".")[2], row.name} for row in rows]
    if not said or not all(sum(text in known for known in names) == 1 for text in said.values()):
        return None
    return [[k for k, text in said.items() if text in known] for known in names]


def _is_live(row: PduRow, word: Said) -> bool:
    """Numbers of power, and what switches an outlet; a voltage only where the recorded one can carry no load."""
    quantity = word.cell.column.quantity
    if word.value is None or row.kind is RowKind.PROBE:
        return False
    if quantity == "is_on":
        return row.kind is RowKind.OUTLET
    return quantity in NUMBERS and not (quantity == "voltage_v" and word.value)


def _first_of_each(rows: Iterable[tuple[PduRow, Sequence[Said]]]) -> Iterable[Oid]:
    """The victims: for each kind of rows and each quantity of power its first cell."""
    first: dict[tuple[RowKind, str], Oid] = {}
    for row, said in rows:
        for word in said:
            if word.cell.column.quantity in SPOILT and _is_live(row, word):
                first.setdefault((row.kind, word.cell.column.quantity), word.cell.oid)
    return first.values()


def _rename(own: dict[Oid, bytes], said: Iterable[Said], name: bytes, found: Mapping[Oid, Value]) -> None:
    """Puts an outlet's name into each object that has one for it."""
    for cell in (word.cell for word in said if word.cell.column.quantity == "name"):
        after = placed(cell.column.pick, cell.position, own.get(cell.oid, found[cell.oid]), name)
        if isinstance(after, bytes):
            own[cell.oid] = after


def _steps(cell: Cell, found: Mapping[Oid, Value]) -> float:
    """Raw numbers in one of what the profile's scale gives, where the device tells a scale of its own."""
    by = found.get(cell.scale_oid) if cell.scale_oid is not None else None
    if cell.column.scale_by is None or not isinstance(by, int):
        return 1.0
    if cell.column.scale_by.rule == "digits":
        return float(10**by)
    return float(-by) if by < 0 else 1.0 / (by or 1)


def _encoded_as(tag: int, raw: Value) -> bytes:
    """A counter that is full begins anew, whatever its type."""
    if isinstance(raw, int):
        return encode_integer(raw & LARGEST[tag], tag)
    assert isinstance(raw, bytes)
    return encode(tag, raw)


def _is_text(value: Value | None) -> bool:
    return isinstance(value, bytes)
