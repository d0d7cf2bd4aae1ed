"""What a profile makes of one PDU, told step by step: one document for programs, and its lines for people.

Every value stands with the object that it comes from, every gap with its reason, the total with every way in which it
could have been found. The names in the document are a contract: `probe --json` and `pdu test --json` print it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import msgspec

from agent.spoken import plain, spoken, text_of, unit_of
from collectors.pdus.device import FullRead
from collectors.pdus.layout import Layout, Line, Said, roots
from collectors.pdus.matching import probes
from collectors.pdus.profile import ENTERPRISES, Condition, Identity, Source, Total, Totals
from collectors.pdus.snmp import Oid, Value, format_oid, printable
from fleet.readings import Gap, PduReading, PduRow, Quality, RowKind

GAPS = {
    Gap.SENTINEL: "the device says that it has none",
    Gap.IMPLAUSIBLE: "outside of what the profile allows",
    Gap.WRONG_TYPE: "no number",
}

EXAMPLES = 6
"""Values of an unread column that are shown: enough to see whether they are numbers, states or names."""

_HOW = ("kind", "id", "unit", "gaps")  # fields of a row that are no values
_BESIDE = {"power_quality", "power_resolution_w", "current_resolution_a", "energy_counting", "energy_wraps_j"}
"""Fields that say something about a value and are shown with it, or nowhere."""

NO_VALUE = "no value is read"

Document = dict[str, Any]


def document_of(full: FullRead, engine: str = "") -> Document:
    """The reading of one PDU with where every part of it comes from."""
    profile, layout, found = full.recognition.profile, full.layout, full.found
    reading = layout.read(found)
    return {
        "profile": {"id": profile.id, "title": profile.title, "notes": list(profile.notes)},
        "why": full.recognition.why,
        "engine": engine,
        "identity": {name: getattr(reading, name) for name in ("model", "serial", "firmware", "name")},
        "uptime_s": reading.uptime_s,
        "totals": {
            "power_w": _total(reading, "power_w", profile.total.power_w, layout, found),
            "energy_j": _total(reading, "energy_j", profile.total.energy_j, layout, found),
        },
        "rows": list(_rows(layout, found, reading)),
        "warnings": list(reading.warnings),
    }


def _total(
    reading: PduReading, quantity: str, totals: Iterable[Total], layout: Layout, found: Mapping[Oid, Value]
) -> Document:
    """The total with every way to it, in the order of the profile; the first that gives a value is the one used."""
    ways: list[Document] = []
    for total in totals:
        only = Totals(**{quantity: (total,)})
        profile = msgspec.structs.replace(layout.profile, total=only)
        said = getattr(Layout(profile, layout.lines).read(found), quantity)
        is_used = said is not None and not any(way["is_used"] for way in ways)
        ways.append({"from": _way(total), "value": said, "is_used": is_used})
    told: Document = {"value": getattr(reading, quantity), "unit": unit_of(quantity), "ways": ways}
    if quantity == "power_w":
        return told | {"quality": reading.power_quality.value, "resolution": reading.power_resolution_w}
    return told | {"counting": reading.energy_counting.value, "since": reading.energy_since}


def _way(total: Total) -> str:
    if total.object is not None:
        return format_oid(total.object.oid.stem)
    assert total.rows is not None
    return f"sum of {total.rows.value} rows"


# --- rows ------------------------------------------------------------------------------------------------------------


def _rows(layout: Layout, found: Mapping[Oid, Value], reading: PduReading) -> Iterator[Document]:
    """Every row that the device has, those that do not count with the reason; then what only a rule has made."""
    bare = msgspec.structs.replace(layout.profile, identity=Identity(), total=Totals(), rules=())
    final = {(row.kind, row.id): row for row in reading.rows}
    shown: set[tuple[RowKind, str]] = set()
    for line, counts, says in layout.trace(found):
        alone = next(iter(Layout(bare, (line,)).read(found).rows), None)
        key = (line.table.kind, alone.id if alone is not None else _index(line))
        if not counts or alone is None:
            why_not = "; ".join(_unmet(line, found))
        elif key in shown:
            why_not = "a second row of this name"
        elif key not in final:
            why_not = "left out by a rule of the profile"
        else:
            why_not = ""
        row = final.get(key) if not why_not else alone
        cells = [*_cells(line, says), *(_made(line, says, alone, row) if row is not None and alone is not None else ())]
        yield _row(*key, row, cells, why_not)
        if not why_not:
            shown.add(key)
    for key, row in final.items():
        if key not in shown:
            yield _row(*key, row, [_by_rule(name, value) for name, value in _values(row)], "")


def _row(kind: RowKind, row_id: str, row: PduRow | None, cells: list[Document], why_not: str) -> Document:
    return {
        "kind": kind.value,
        "id": row_id,
        "unit": row.unit if row is not None else None,
        "name": row.name if row is not None else None,
        "counts": not why_not,
        "why_not": why_not,
        "cells": cells,
    }


def _index(line: Line) -> str:
    return ".".join(filter(None, (line.unit, line.index))) or "1"


def _unmet(line: Line, found: Mapping[Oid, Value]) -> Iterator[str]:
    for oid, condition in line.where:
        yield f"it counts where {format_oid(oid)} is {_wanted(condition)}; it is {_raw(found.get(oid))}"


def _wanted(condition: Condition) -> str:
    if condition.below is not None:
        return f"no number from {condition.below} up"
    lead = "" if condition.equals else "not "
    return lead + " or ".join(repr(value) for value in condition.equals or condition.differs)


def _cells(line: Line, says: Iterable[Said]) -> Iterator[Document]:
    """What each object of a row says; of several for one quantity the first with a value is the one used."""
    used: set[str] = set()
    for said in says:
        column = said.cell.column
        is_used = said.value is not None and column.quantity not in used
        if is_used:
            used.add(column.quantity)
        yield {
            "quantity": column.quantity,
            "value": said.value,
            "unit": unit_of(column.quantity),
            "oid": format_oid(said.cell.oid),
            "raw": _raw(said.raw),
            "gap": None if said.gap is None else said.gap.value,
            "why": _why(said),
            "quality": said.quality.value if column.quantity.startswith("power") else None,
            "resolution": column.resolution,
            "is_used": is_used,
        }


def _why(said: Said) -> str:
    """Why there is no value, in words."""
    if said.value is not None:
        return ""
    if said.cell.column.quantity == "is_on" and said.gap is Gap.IMPLAUSIBLE:
        return "neither on nor off"
    if said.gap is Gap.IMPLAUSIBLE and (bounds := _bounds(said.cell.column)):
        return f"{GAPS[said.gap]} ({bounds})"
    return GAPS[said.gap] if said.gap is not None else "says nothing"


def _bounds(source: Source) -> str:
    low, high = source.minimum, source.maximum
    if low is None and high is None:
        return ""
    return f"{'' if low is None else f'{low:g} '}to {'' if high is None else f'{high:g}'}".strip()


def _made(line: Line, says: Iterable[Said], alone: PduRow, row: PduRow) -> Iterator[Document]:
    """Values of a row that no object of it says: estimates, and what rules have put there."""
    has_watts = any(said.cell.column.quantity == "power_w" and said.value is not None for said in says)
    before = dict(_values(alone))
    for name, value in _values(row):
        if name == "power_w" and value == alone.power_w and not has_watts:
            yield _by_rule(name, value) | {
                "why": f"estimated ({' or '.join(line.table.estimate)})",
                "quality": "estimated",
            }
        elif value != before.get(name):
            yield _by_rule(name, value)


def _values(row: PduRow) -> Iterator[tuple[str, Any]]:
    for field in fields(row):
        value = getattr(row, field.name)
        if value is not None and field.name not in _HOW and field.name not in _BESIDE:
            yield field.name, value


def _by_rule(name: str, value: Any) -> Document:
    return {
        "quantity": name,
        "value": value,
        "unit": unit_of(name),
        "oid": None,
        "raw": None,
        "gap": None,
        "why": "by a rule of the profile",
        "quality": None,
        "resolution": None,
        "is_used": True,
    }


def _raw(value: Value | None) -> int | str | None:
    """A raw value as JSON can carry it: octets that are no text in hexadecimal."""
    if isinstance(value, tuple):
        return format_oid(value)
    if isinstance(value, bytes):
        text = printable(value, 256) or ""
        return f"0x{value[:64].hex()}" if "\ufffd" in text or (value.strip(b"\0 ") and not text) else text
    return value


# --- as lines --------------------------------------------------------------------------------------------------------


def values_in(told: Document) -> int:
    """How many values are read, names and numbers of parts aside: 0 where a family is known and nothing more."""
    rows = (row for row in told["rows"] if row["counts"])
    quantities = (cell["quantity"] for row in rows for cell in row["cells"] if cell["is_used"])
    numbers = sum(quantity not in ("number", "unit", "name") for quantity in quantities)
    return numbers + sum(total["value"] is not None for total in told["totals"].values())


def lines_of(told: Document) -> Iterator[str]:
    """The document for people: identity, totals, then row by row; gaps and what does not count included."""
    profile = told["profile"]
    yield f"profile     {profile['id']}{_in_brackets(profile['title'])}"
    yield f"because     {plain(told['why'])}"
    if told["engine"]:
        yield f"engine      {told['engine']}"
    for note in profile["notes"]:
        yield f"note        {plain(note)}"
    for name, text in told["identity"].items():
        yield f"{name:<12}{text_of(name, text)}"
    yield f"{'uptime':<12}{text_of('uptime_s', told['uptime_s'])}"
    for quantity, total in told["totals"].items():
        yield from _total_lines(quantity, total)
    for row in told["rows"]:
        yield from _row_lines(row)
    if not told["rows"]:
        yield "no rows     this profile reads no table of this device"
    for warning in told["warnings"]:
        yield f"warning     {plain(warning)}"


def _total_lines(quantity: str, total: Document) -> Iterator[str]:
    about = [total.get("quality") if total["value"] is not None else None, _step(quantity, total.get("resolution"))]
    about.append(total.get("counting") if total["value"] is not None else None)
    about.append(f"since {plain(total['since'])}" if total.get("since") else None)
    yield f"{f'total {spoken(quantity)}':<14}{text_of(quantity, total['value'])}{_in_brackets(*about)}"
    if not total["ways"]:
        yield "    the profile names no total"
    for way in total["ways"]:
        mark = "=" if way["is_used"] else " "
        yield f"  {mark} {way['from']:<40} {text_of(quantity, way['value'])}"


def _row_lines(row: Document) -> Iterator[str]:
    name = f" {plain(row['name'])!r}" if row["name"] else ""
    unit = f", unit {plain(row['unit'])}" if row["unit"] and row["kind"] != RowKind.UNIT.value else ""
    yield f"{row['kind']} {plain(row['id'])}{name}{unit}" + (
        f": does not count: {plain(row['why_not'])}" if row["why_not"] else ""
    )
    settled = {cell["quantity"] for cell in row["cells"] if cell["is_used"]}
    for cell in row["cells"]:
        quantity = cell["quantity"]
        if cell["value"] is None and (quantity in settled or row["why_not"]):
            continue  # another object has said it
        if cell["value"] is not None and not cell["is_used"]:
            continue
        if quantity in ("number", "unit", "name"):
            continue  # the row is called so
        yield _cell_line(cell)


def _cell_line(cell: Document) -> str:
    quantity, source = cell["quantity"], cell["oid"] or ""
    if cell["value"] is None:
        raw = "" if cell["raw"] is None else f", raw {plain(cell['raw'])[:40]}"
        return f"    {spoken(quantity):<16}{'–':<16}{source}  ({cell['why']}{raw})"
    quality = cell["quality"] if cell["quality"] == Quality.ESTIMATED.value else None
    about = _in_brackets(quality, _step(quantity, cell["resolution"]), cell["why"] if not cell["oid"] else None)
    return f"    {spoken(quantity):<16}{text_of(quantity, cell['value']):<15} {source}{about}".rstrip()


def _step(quantity: str, resolution: float | None) -> str | None:
    return None if resolution is None else f"steps of {text_of(quantity, resolution)}"


def _in_brackets(*said: str | None) -> str:
    told = ", ".join(text for text in said if text)
    return f"  ({told})" if told else ""


# --- what a profile leaves unread ------------------------------------------------------------------------------------


def unread(full: FullRead) -> list[Document]:
    """Objects below the makers' own trees that the profile does not read, by column, each with its first values."""
    profile, layout = full.recognition.profile, full.layout
    used = {*layout.wanted(), *probes((profile,))}
    walked = {root for table in profile.tables for root in roots(table)}
    makers = [oid for oid in sorted(full.found) if oid[: len(ENTERPRISES)] == ENTERPRISES]
    column_of = _columns(makers)
    columns: dict[Oid, list[Oid]] = {}
    for oid in makers:
        if oid not in used and not any(oid[:n] in walked for n in range(len(ENTERPRISES), len(oid))):
            columns.setdefault(column_of[oid], []).append(oid)
    return [
        {
            "column": format_oid(column),
            "objects": len(oids),
            "first": format_oid(oids[0]),
            "values": [_raw(full.found[oid]) for oid in oids[:EXAMPLES]],
        }
        for column, oids in columns.items()
    ]


def _columns(oids: Iterable[Oid]) -> dict[Oid, Oid]:
    """The column that each object most likely stands in: a table has one child, its entry `.1`, and that the columns.

    Nothing but a MIB could say it for certain, for an index may look like an entry; then a column is shown in parts.
    """
    below: dict[Oid, set[int]] = {}
    for oid in oids:
        for n in range(len(ENTERPRISES), len(oid)):
            below.setdefault(oid[:n], set()).add(oid[n])

    def column(oid: Oid) -> Oid:
        for n in range(len(oid) - 3, len(ENTERPRISES), -1):
            if oid[n] == 1 and below[oid[:n]] == {1} and oid[-1] != 0:
                return oid[: n + 2]
        return oid[:-1]

    return {oid: column(oid) for oid in oids}


def unread_lines(columns: Iterable[Document], limit: int = 60) -> Iterator[str]:
    left = list(columns)
    for column in left[:limit]:
        count = column["objects"]
        shown = column["column"] if count > 1 else column["first"]
        values = ", ".join(plain(value)[:30] for value in column["values"])
        more = f", ... ({count} objects)" if count > EXAMPLES else ""
        yield f"    {shown:<44}{values}{more}"
    if len(left) > limit:
        yield f"    and {len(left) - limit} columns more; --json names all"
