"""The cells of one device: a profile laid over what the device has, and how a reading comes out of them.

`survey` finds the rows once; from then on a reading is a walk through known cells. The rules for every profile:
- of several columns (or totals) for one quantity the first that gives a value wins, so a fallback is one entry more;
- rows of one kind may be summed to a total, rows of different kinds see the same load and are never added;
- a sum in which one part or one unit of the chain is missing is missing;
- text where a number is due, a sentinel, a negative number and a value out of bounds are missing with their reason,
  never clamped; an estimate never passes for a measurement.
Nothing that a device sends makes a reading fail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

from collectors.pdus.profile import (
    Address,
    Column,
    Condition,
    Estimate,
    IdentityField,
    Names,
    Profile,
    ProfileOid,
    ScaleBy,
    Source,
    Table,
    Total,
)
from collectors.pdus.rules import RULES
from collectors.pdus.snmp import SYS_DESCR, SYS_UPTIME, TICKS_PER_S, Oid, Value, printable
from fleet.readings import Counting, Gap, PduReading, PduRow, Quality, RowKind

WORDS = ("name", "phase", "bank", "energy_since")
MAX_ROWS = 4096
"""Of one device: a ring of 48 units with 80 outlets each."""
SHARED_ROWS, SHARED_SHAPES = 256, 64
"""Tables up to so many rows are remembered, so many of them. A farm has thousands of PDUs of a few kinds."""

MAX_NAME = 64
"""Characters of what an index calls a row or a unit; an index can be as long as an OID."""

WIDEST = 2**64
"""No number of SNMP is wider than a Counter64; a broken or saved one may be, and would not fit a float."""

_NOTHING = (b"", b"\0")
_ROUND_DIGITS = 6  # 49 x 0.1 A is 4.9 A to everybody but a binary float


class Cell(NamedTuple):
    """One object of one row, with everything that its reading needs."""

    column: Column
    oid: Oid
    position: int = 0  # of the bit or the item to pick, from 1
    scale_oid: Oid | None = None
    fahrenheit_oid: Oid | None = None
    estimated_oid: Oid | None = None
    where: tuple[tuple[Oid, Condition], ...] = ()

    def oids(self) -> Iterator[Oid]:
        yield self.oid
        for oid in (self.scale_oid, self.fahrenheit_oid, self.estimated_oid):
            if oid is not None:
                yield oid
        yield from (oid for oid, _ in self.where)


@dataclass(frozen=True, slots=True)
class Line:
    """One row as the device has it, before anybody knows whether it counts."""

    table: Table
    index: str  # what the row is called where no column says it better
    unit: str | None
    cells: tuple[Cell, ...]
    where: tuple[tuple[Oid, Condition], ...] = ()


class Draft(NamedTuple):
    """What is known of a row, before everything has been asked that knows something of it."""

    unit: str | None
    known: dict[str, Any]
    gaps: dict[str, Gap]

    def completed(self, by: Draft) -> Draft:
        """With what another table says of the same thing; what was said before stands."""
        known = {**by.known, **self.known}
        gaps = {name: gap for name, gap in {**by.gaps, **self.gaps}.items() if name not in known}
        return Draft(self.unit or by.unit, known, gaps)

    def row(self, kind: RowKind, row_id: str) -> PduRow:
        return PduRow(kind=kind, id=row_id, unit=self.unit, **self.known, gaps=tuple(self.gaps.items()))


class Said(NamedTuple):
    """What one cell says: a value, or why there is none (no gap: the device does not have this object)."""

    cell: Cell
    raw: Value | None
    value: float | int | str | bool | None = None
    gap: Gap | None = None
    quality: Quality = Quality.MEASURED


@dataclass(slots=True)
class Layout:
    """All rows of one device. `fast` is what changes from poll to poll, once `settle` has seen a full answer."""

    profile: Profile
    lines: tuple[Line, ...]
    fast: tuple[Oid, ...] = ()
    _steady: dict[Oid, Value] = field(default_factory=dict)

    def wanted(self) -> Iterator[Oid]:
        """Every object of a full read."""
        yield from (SYS_UPTIME, SYS_DESCR)
        yield from self.profile.scalars()
        for line in self.lines:
            yield from (oid for oid, _ in line.where)
            for cell in line.cells:
                yield from cell.oids()

    def settle(self, found: Mapping[Oid, Value]) -> None:
        """Learn from a full answer what to ask for between full reads, and keep the rest.

        Only what the device has; of several columns for one quantity none behind the one that gave a value; of a row
        that does not count only what may make it count again.
        """
        fast: dict[Oid, None] = {SYS_UPTIME: None}
        moving = set(_moving(self.profile, self.lines))
        for line in self.lines:
            fast |= dict.fromkeys(oid for oid, condition in line.where if condition.group == "fast" and oid in found)
            if not _holds(line.where, found):
                continue
            settled: set[str] = set()
            for cell in line.cells:
                if cell.column.quantity in settled or cell.oid not in found:
                    continue
                if cell.column.group == "fast":
                    fast |= dict.fromkeys(oid for oid in (cell.oid, cell.estimated_oid) if oid in found)  # type: ignore[misc]
                    fast |= dict.fromkeys(oid for oid, how in cell.where if how.group == "fast" and oid in found)
                if _say(cell, found).value is not None:
                    settled.add(cell.column.quantity)
        fast |= dict.fromkeys(source.oid.stem for source in self.profile.total.objects() if source.oid.stem in found)
        self.fast = tuple(fast)
        self._steady = {oid: value for oid, value in found.items() if oid not in moving}

    def with_steady(self, found: Mapping[Oid, Value]) -> dict[Oid, Value]:
        """What was just found, and what does not change from poll to poll."""
        return self._steady | dict(found)

    def read(self, found: Mapping[Oid, Value]) -> PduReading:
        """One reading from the objects of one device, in any order, however few."""
        warnings: dict[str, None] = {}
        drafts: dict[tuple[RowKind, str], Draft] = {}
        for line in self.lines:
            if not _holds(line.where, found):
                continue
            key, draft = _draft(self.profile, line, found, warnings)
            before = drafts.setdefault(key, draft)
            if before is not draft and line.table.completes:
                drafts[key] = before.completed(draft)
            elif before is not draft:
                warnings[f"{line.table.kind}.duplicate_row"] = None
        kept: Sequence[PduRow] = tuple(draft.row(*key) for key, draft in drafts.items())
        for rule in self.profile.rules:
            kept = tuple(RULES[rule.name](kept, [found.get(oid) for oid in rule.oids]))[:MAX_ROWS]
        uptime = found.get(SYS_UPTIME)
        return PduReading(
            profile=self.profile.id,
            **_identity(self.profile, found),
            uptime_s=uptime / TICKS_PER_S if isinstance(uptime, int) and 0 <= uptime < WIDEST else None,
            **_power(self.profile.total.power_w, kept, found, warnings),
            **_energy(self.profile.total.energy_j, kept, found, warnings),
            rows=tuple(kept),
            warnings=tuple(warnings),
        )

    def trace(self, found: Mapping[Oid, Value]) -> Iterator[tuple[Line, bool, list[Said]]]:
        """Every row with whether it counts and what each of its cells says: the reading, told step by step."""
        for line in self.lines:
            yield line, _holds(line.where, found), [_say(cell, found) for cell in line.cells if cell.oid in found]


def decode(profile: Profile, found: Mapping[Oid, Value]) -> PduReading:
    """The reading of a device of which everything is at hand, for instance of a saved walk."""
    return survey(profile, found).read(found)


# --- finding the rows ---


def roots(table: Table) -> Iterator[Oid]:
    """Subtrees that tell which rows a table has, best first. A scalar is the only object below its parent."""
    if table.names is not None:
        yield tuple(table.names)
    for address in table.rows:
        cell = table.index.behind(address)
        yield cell.stem[:-1] if len(cell.stem) == len(cell) else cell.stem


def survey(profile: Profile, found: Mapping[Oid, Value]) -> Layout:
    """The rows that a device has, by the objects below `roots` of each table."""
    lines: list[Line] = []
    for table in profile.tables:
        if any(line.table.kind in table.unless for line in lines):
            continue
        rows = _named_rows(table, found) if table.names is not None else _indexed_rows(table, found)
        lines += (line for line, _ in zip(rows, range(MAX_ROWS - len(lines)), strict=False))
    return Layout(profile, tuple(lines))


def _indexed_rows(table: Table, found: Mapping[Oid, Value]) -> Iterable[Line]:
    indexes = tuple(tuple(names.items()) for names in _indexes(table, found))
    make = _shared_rows if len(indexes) * (table.count or 1) <= SHARED_ROWS else _rows_at
    return make(table, indexes)


_Indexes = tuple[tuple[tuple[str, Oid], ...], ...]


@lru_cache(maxsize=SHARED_SHAPES)
def _shared_rows(table: Table, indexes: _Indexes) -> tuple[Line, ...]:
    """The same rows for every device that has these: most of a full read's work, and most of a device's memory."""
    return tuple(_rows_at(table, indexes))


def _rows_at(table: Table, indexes: _Indexes) -> Iterator[Line]:
    for names in map(dict, indexes):
        for number in range(1, table.count + 1) if table.count is not None else (None,):
            filled = names if number is None else {**names, "number": (number,)}
            yield _line(table, filled, ((column, filled) for column in table.columns))


def _indexes(table: Table, found: Mapping[Oid, Value]) -> list[Names]:
    """What fills the holes of each row, in the order of the OIDs: by the first row column that has any row."""
    for address in table.rows:
        cell = table.index.behind(address)
        stem = cell.stem
        size = len(stem)
        matched = sorted(oid for oid in found if oid[:size] == stem)
        if indexes := [names for oid in matched if (names := cell.names_in(oid)) is not None]:
            return list({tuple(sorted(names.items())): names for names in indexes}.values())
    return []


def _named_rows(table: Table, found: Mapping[Oid, Value]) -> Iterator[Line]:
    assert table.names is not None
    root = Address(tuple(table.names))
    cell = table.index.behind(root)
    grouped: dict[tuple[str, str], list[tuple[Column, Names]]] = {}
    for oid in sorted(oid for oid in found if oid[: len(table.names)] == table.names):
        holes, variable = cell.names_in(oid), printable(found[oid], limit=256)
        if holes is None or variable is None:
            continue
        for column in table.columns:
            if column.named is not None and (match := column.named.search(variable)):
                said = match.groupdict()
                unit = said.get("unit") or (_spoken(holes["unit"]) if "unit" in holes else "")
                grouped.setdefault((unit, said.get("number") or "1"), []).append((column, holes))
    for (unit, number), columns in grouped.items():
        order = sorted(columns, key=lambda entry: table.columns.index(entry[0]))
        yield replace(_line(table, {}, order), index=number.lstrip("0") or "0", unit=unit or None)


def _line(table: Table, names: Names, columns: Iterable[tuple[Column, Names]]) -> Line:
    def where(conditions: Iterable[Condition], names: Names) -> tuple[tuple[Oid, Condition], ...]:
        filled = ((table.index.behind(condition.oid).filled(names), condition) for condition in conditions)
        return tuple((oid, condition) for oid, condition in filled if oid is not None)

    def beside(address: Address | None, names: Names) -> Oid | None:
        return None if address is None else table.index.behind(address).filled(names)

    cells: list[Cell] = []
    for column, holes in columns:
        number = holes.get("number", (1,))[-1]
        if column.numbers is not None and not column.numbers[0] <= number <= column.numbers[1]:
            continue
        address = table.index.behind(column.oid) if column.pick is None else _picked(table, column)
        oid = address.filled(holes)
        if oid is None:
            continue
        cells.append(
            Cell(
                column,
                oid,
                column.at or number - column.first + 1,
                beside(column.scale_by.oid if column.scale_by else None, holes),
                beside(column.fahrenheit.oid if column.fahrenheit else None, holes),
                beside(column.estimated.oid if column.estimated else None, holes),
                where(column.where, holes),
            )
        )
    index = ".".join(_spoken(value) for name, value in names.items() if name != "unit")
    unit = _spoken(names["unit"]) if "unit" in names else None
    return Line(table, index, unit, tuple(cells), where(table.where, names))


def _picked(table: Table, column: Column) -> Address:
    """One object for many rows: its index is that of the row without the number."""
    if column.oid.is_whole:
        return column.oid
    rest = tuple(part for part in table.index if isinstance(part, int) or part.name != "number")
    return Address((*column.oid, *rest))


def _spoken(value: Oid) -> str:
    """A part of an index as people write it: a number, or the text that it spells."""
    if len(value) > 1 and all(32 < part < 127 for part in value[1:]):
        return "".join(map(chr, value[1:]))
    return ".".join(map(str, value))


def _moving(profile: Profile, lines: Iterable[Line]) -> Iterator[Oid]:
    """Objects whose old answer must not stand in for a new one."""
    yield SYS_UPTIME
    for source in profile.total.objects():
        yield source.oid.stem
    for line in lines:
        yield from (oid for oid, condition in line.where if condition.group == "fast")
        for cell in line.cells:
            if cell.column.group == "fast":
                yield cell.oid
                yield from (oid for oid, condition in cell.where if condition.group == "fast")


# --- what one cell says ---


def _holds(where: Iterable[tuple[Oid, Condition]], found: Mapping[Oid, Value]) -> bool:
    return all(_is_true(condition, found.get(oid)) for oid, condition in where)


def _is_true(condition: Condition, raw: Value | None) -> bool:
    if condition.below is not None:
        return not isinstance(raw, int) or raw < condition.below
    said = _comparable(raw)
    return said in condition.equals if condition.equals else said not in condition.differs


def _is_said(condition: Condition | None, oid: Oid | None, found: Mapping[Oid, Value]) -> bool:
    return condition is not None and oid is not None and _is_true(condition, found.get(oid))


def _comparable(raw: Value | None) -> int | str | None:
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "replace").strip(" \t\r\n\0")
    return raw if isinstance(raw, int) else None


def _say(cell: Cell, found: Mapping[Oid, Value]) -> Said:
    raw = found.get(cell.oid)
    if raw is None:
        return Said(cell, None)
    column = cell.column
    if column.follow:
        raw = found.get(raw) if isinstance(raw, tuple) else None
        if raw is None:
            return Said(cell, found[cell.oid])
    if cell.where and not _holds(cell.where, found):
        return Said(cell, raw, gap=Gap.SENTINEL)
    if column.pick is not None:
        raw = _pick(column.pick, raw, cell.position)
        if raw is None:
            return Said(cell, found[cell.oid])
    if column.quantity in WORDS or column.quantity in ("number", "unit"):
        return Said(cell, raw, _word(column, raw))
    if _comparable(raw) in column.null:
        return Said(cell, raw, gap=Gap.SENTINEL)
    if column.quantity == "is_on":
        said = _comparable(raw)
        is_on = True if said in column.on else False if said in column.off else None
        return Said(cell, raw, is_on, None if is_on is not None or _is_absence(raw) else Gap.IMPLAUSIBLE)
    value, gap = _number(column, raw)
    if value is not None and column.scale_by is not None and cell.scale_oid is not None:
        value, gap = _rescaled(column.scale_by, value, found.get(cell.scale_oid))
    if value is not None and _is_said(column.fahrenheit, cell.fahrenheit_oid, found):
        value = round((value - 32.0) / 1.8, _ROUND_DIGITS)
    if value is not None and not _is_within(column, value):
        value, gap = None, Gap.IMPLAUSIBLE
    is_estimated = column.quality is Quality.ESTIMATED or _is_said(column.estimated, cell.estimated_oid, found)
    return Said(cell, raw, value, gap, Quality.ESTIMATED if is_estimated else Quality.MEASURED)


def _pick(how: str, raw: Value, position: int) -> Value | None:
    if position < 1:
        return None
    if how == "bit":
        return raw >> (position - 1) & 1 if isinstance(raw, int) and raw >= 0 else None
    items = raw.split(b",") if isinstance(raw, bytes) else []
    if position > len(items):
        return None
    item = items[position - 1].strip()
    try:
        return int(item)
    except ValueError:
        return item


def _word(column: Column, raw: Value) -> str | int | None:
    said = _comparable(raw)
    if said in column.null:
        return None
    if column.words:
        return column.words.get(str(said))
    if isinstance(raw, int):
        is_usable = 0 <= raw < 2**32 if column.quantity == "energy_since" else 0 <= raw < 10_000
        return str(raw) if is_usable else None
    return printable(raw)


def _number(source: Source, raw: Value) -> tuple[float | None, Gap | None]:
    """The scaled number without its bounds."""
    number: float
    if isinstance(raw, int):
        number = raw
    elif source.text and isinstance(raw, bytes):
        try:
            number = float(_within_text(source, raw))
        except ValueError:
            return None, Gap.WRONG_TYPE
        if not math.isfinite(number):
            return None, Gap.WRONG_TYPE
        if number in source.null:
            return None, Gap.SENTINEL
    else:
        return None, Gap.SENTINEL if _is_absence(raw) else Gap.WRONG_TYPE
    if source.magnitude:
        number = abs(number)
    if number < 0 and not source.signed:
        return None, Gap.SENTINEL
    if abs(number) >= WIDEST:
        return None, Gap.IMPLAUSIBLE
    return round(number * source.scale, _ROUND_DIGITS), None


def _within_text(source: Source, raw: bytes) -> str:
    """The part of a text that ought to be a number, empty where there is none."""
    text = raw[:64].decode("utf-8", "replace").strip(" \t\r\n\0")
    if source.reads is None:
        return text
    match = source.reads.search(text)
    return match[1] or "" if match else ""


def _is_absence(raw: Value) -> bool:
    """Ways to say nothing that no profile needs to name."""
    return raw in _NOTHING or (isinstance(raw, int) and raw < 0)


def _rescaled(how: ScaleBy, value: float, by: Value | None) -> tuple[float | None, Gap | None]:
    if not isinstance(by, int) or abs(by) > 10_000 or (how.rule == "digits" and not 0 <= by <= 9):
        return None, Gap.IMPLAUSIBLE  # a number without its scale is any number
    if how.rule == "digits":
        return round(value / 10**by, _ROUND_DIGITS), None
    return round(value / -by if by < 0 else value * (by or 1), _ROUND_DIGITS), None


def _is_within(source: Source, value: float) -> bool:
    low, high = source.minimum, source.maximum
    return (low is None or value >= low) and (high is None or value <= high)


# --- one row ---


def _draft(
    profile: Profile, line: Line, found: Mapping[Oid, Value], warnings: dict[str, None]
) -> tuple[tuple[RowKind, str], Draft]:
    """What one line says, by the kind and the id of its row."""
    known: dict[str, Any] = {}
    gaps: dict[str, Gap] = {}
    for cell in line.cells:
        quantity: str = cell.column.quantity
        if quantity in known:
            continue
        said = _say(cell, found)
        if said.value is not None:
            known[quantity] = said.value
            gaps.pop(quantity, None)
            _remember_how(known, said)
        elif said.gap is not None:
            gaps.setdefault(quantity, said.gap)
    if "power_w" not in known and (estimate := _estimate(line.table.estimate, known)) is not None:
        known["power_w"], known["power_resolution_w"] = estimate
        known["power_quality"] = Quality.ESTIMATED
        gaps.pop("power_w", None)
    for quantity, gap in gaps.items():
        if gap is not Gap.SENTINEL:
            warnings[f"{line.table.kind}.{quantity}.{gap}"] = None
    printed = known.pop("number", None)
    unit = known.pop("unit", None) or (line.unit and line.unit[:MAX_NAME])
    is_full = profile.full_numbers and printed is not None
    number = str(printed or line.index[:MAX_NAME] or "1")
    kind = line.table.kind
    row_id = number if is_full else _row_id(kind, unit, number, profile.first_unit)
    return (kind, row_id), Draft(unit, known, gaps)


def _remember_how(known: dict[str, Any], said: Said) -> None:
    """What belongs to a value besides the value."""
    column = said.cell.column
    if column.quantity == "power_w":
        known["power_quality"], known["power_resolution_w"] = said.quality, column.resolution
    elif column.quantity == "current_a":
        known["current_resolution_a"] = column.resolution
    elif column.quantity == "energy_j":
        known["energy_counting"] = column.counting
        known["energy_wraps_j"] = None if column.wraps is None else column.wraps * column.scale


def _row_id(kind: RowKind, unit: str | None, number: str, first_unit: int) -> str:
    """Linked units answer in one agent and number their outlets alike; the first keeps the printed numbers."""
    if kind is RowKind.UNIT:
        return unit or number
    return number if unit in (None, str(first_unit)) else f"{unit}.{number}"


def _estimate(ways: Iterable[Estimate], known: Mapping[str, Any]) -> tuple[float, float | None] | None:
    """Watts by the first formula of which everything is known, and their step, where that of the amperes is known."""
    apparent_va, factor = known.get("apparent_power_va"), known.get("power_factor")
    volts, amperes, ampere_step = known.get("voltage_v"), known.get("current_a"), known.get("current_resolution_a")
    product = None if volts is None or amperes is None else volts * amperes
    for way in ways:
        lead, step = (apparent_va, None) if way.startswith("apparent") else (product, ampere_step)
        by = factor if way.endswith("_x_factor") else 1.0
        if lead is not None and by is not None:
            step_w = None if step is None else round(volts * step * by, _ROUND_DIGITS)
            return float(round(lead * by, _ROUND_DIGITS)), step_w
    return None


# --- the whole unit ---


def _power(
    totals: Sequence[Total], rows: Iterable[PduRow], found: Mapping[Oid, Value], warnings: dict[str, None]
) -> dict[str, Any]:
    """Power of the unit, its quality (the worst of its parts) and its resolution (the coarsest of its parts)."""
    units = _units(rows)
    for total in totals:
        if not _covers(total, rows, units):
            continue
        if total.object is not None:
            watts, quality = _scalar(total.object, found)
            if watts is not None:
                return _power_of(watts, quality, total.object.resolution)
            continue
        parts = [row for row in rows if row.kind is total.rows]
        watts = _sum(row.power_w for row in parts)
        if watts is not None:
            is_measured = all(row.power_quality is Quality.MEASURED for row in parts)
            steps = [row.power_resolution_w for row in parts if row.power_resolution_w is not None]
            quality = Quality.MEASURED if is_measured else Quality.ESTIMATED
            return _power_of(watts, quality, max(steps, default=None))
    if totals:
        warnings["total.power_w.missing"] = None
    return _power_of(None, Quality.MISSING, None)


def _power_of(watts: float | None, quality: Quality, resolution_w: float | None) -> dict[str, Any]:
    return {"power_w": watts, "power_quality": quality, "power_resolution_w": resolution_w}


def _energy(
    totals: Sequence[Total], rows: Iterable[PduRow], found: Mapping[Oid, Value], warnings: dict[str, None]
) -> dict[str, Any]:
    """Energy of the unit. A sum of counters is only as good as the one that somebody may set back."""
    units = _units(rows)
    for total in totals:
        if not _covers(total, rows, units):
            continue
        if total.object is not None:
            source = total.object
            energy_j, _ = _scalar(source, found)
            if energy_j is not None:
                wraps_j = None if source.wraps is None else source.wraps * source.scale
                return {"energy_j": energy_j, "energy_counting": source.counting, "energy_wraps_j": wraps_j}
            continue
        parts = [row for row in rows if row.kind is total.rows]
        energy_j = _sum(row.energy_j for row in parts)
        if energy_j is not None:
            only = parts[0] if len(parts) == 1 else None
            is_lifetime = all(row.energy_counting is Counting.LIFETIME for row in parts)
            return {
                "energy_j": energy_j,
                "energy_counting": Counting.LIFETIME if is_lifetime else Counting.RESETTABLE,
                "energy_wraps_j": only and only.energy_wraps_j,
                "energy_since": only and only.energy_since,
            }
    if totals:
        warnings["total.energy_j.missing"] = None
    return {}


def _units(rows: Iterable[PduRow]) -> set[str]:
    """The units of a chain that answer in this agent, as far as rows that carry load tell them."""
    return {row.unit for row in rows if row.unit is not None and row.kind is not RowKind.PROBE}


def _covers(total: Total, rows: Iterable[PduRow], units: Set[str]) -> bool:
    """Whether a total speaks for every unit of the chain: one that leaves out a unit is a number of something else."""
    if len(units) <= 1:
        return True
    if total.object is not None:
        return total.of_chain
    return units <= {row.unit for row in rows if row.kind is total.rows}


def _scalar(source: Source, found: Mapping[Oid, Value]) -> tuple[float | None, Quality]:
    raw = found.get(source.oid.stem)
    if raw is None or _comparable(raw) in source.null:
        return None, Quality.MISSING
    value, _ = _number(source, raw)
    if value is not None and source.scale_by is not None:
        value, _ = _rescaled(source.scale_by, value, found.get(source.scale_by.oid.stem))
    if value is None or not _is_within(source, value):
        return None, Quality.MISSING
    estimated_oid = source.estimated.oid.stem if source.estimated is not None else None
    is_estimated = source.quality is Quality.ESTIMATED or _is_said(source.estimated, estimated_oid, found)
    return value, Quality.ESTIMATED if is_estimated else Quality.MEASURED


def _sum(parts: Iterable[float | None]) -> float | None:
    """Sum of all parts, None if there is none or one of them is missing."""
    known: list[float] = []
    for part in parts:
        if part is None:
            return None
        known.append(part)
    return round(sum(known), _ROUND_DIGITS) if known else None


def _shown(value: Value | None) -> str | None:
    """A text, or a number that stands for one: some serial numbers are INTEGER."""
    return str(value) if isinstance(value, int) and 0 < value < WIDEST else printable(value)


def _identity(profile: Profile, found: Mapping[Oid, Value]) -> dict[str, Any]:
    identity = profile.identity
    fields: tuple[tuple[IdentityField, tuple[ProfileOid, ...]], ...] = (
        ("model", identity.model),
        ("serial", identity.serial),
        ("firmware", identity.firmware),
        ("name", identity.name),
    )
    said: dict[str, str | None] = {}
    for name, oids in fields:
        like = identity.like.get(name)
        texts = filter(None, (_shown(found.get(oid)) for oid in oids))
        said[name] = next((text for text in texts if like is None or like.search(text)), None)
    for name, column in identity.columns.items():
        if said[name] is None:
            cells = (oid for oid in found if oid[: len(column)] == column)
            said[name] = _shown(found.get(min(cells, default=())))
    described = printable(found.get(SYS_DESCR), limit=512)
    for pattern in identity.sys_descr if described else ():
        if match := pattern.search(described or ""):
            for part, text in match.groupdict().items():
                if part in said and said[part] is None and text:
                    said[part] = text[:64]
    return said
