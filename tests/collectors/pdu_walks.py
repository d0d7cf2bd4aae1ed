"""Saved walks of PDUs for the tests of families: recorded, invented, and one that answers like a device."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from collectors.pdus.device import SnmpPdu, read_walk
from collectors.pdus.layout import survey
from collectors.pdus.matching import recognise
from collectors.pdus.profile import packaged_profiles
from collectors.pdus.snmp import SYS_UPTIME, Oid, Pace, Value, WalkLimits, parse_oid
from collectors.pdus.snmprec import parse_snmprec
from fleet.readings import PduReading, PduRow, Quality, RowKind
from fleet.units import JOULES_PER_KWH

ROOT = Path(__file__).parent.parent.parent
INVENTED = ROOT / "tests" / "captures" / "pdus"


def invented(family: str) -> dict[Oid, Value]:
    """A walk with made-up numbers in the real layout of a family."""
    return parse_snmprec((INVENTED / f"synthetic_{family}.snmprec").read_text("utf-8"), family)


def recorded(name: str) -> dict[Oid, Value]:
    """A recorded device; the licence of the recordings keeps them outside the repository."""
    folder = Path(os.environ.get("HASHWATT_CAPTURES") or ROOT.parent / "shared" / "captures") / "pdus"
    if not folder.is_dir():
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(f"REQUIRE_PEERS=1 and no recorded PDUs at {folder}", pytrace=False)
        pytest.skip(f"no recorded PDUs at {folder}: name the folder above it in HASHWATT_CAPTURES")
    return parse_snmprec((folder / f"{name}.snmprec").read_text("utf-8"), name)


def family(found: Mapping[Oid, Value]) -> str:
    """The id of the profile that all packaged ones together give this device."""
    return recognise(packaged_profiles(), found).profile.id


def said(found: Mapping[Oid, Value], below: str) -> str:
    """What a walk says at an OID below 1.3.6.1.4.1, so that the words of a recorded unit stay out of the repository."""
    value = found[parse_oid(f"1.3.6.1.4.1.{below}")]
    return value.decode() if isinstance(value, bytes) else str(value)


def changed(found: Mapping[Oid, Value], values: Mapping[str, Value | None]) -> dict[Oid, Value]:
    """The walk with other values at some OIDs below 1.3.6.1.4.1; None takes one away."""
    result = dict(found)
    for below, value in values.items():
        oid = parse_oid(f"1.3.6.1.4.1.{below}")
        result.pop(oid, None)
        if value is not None:
            result[oid] = value
    return result


def without_second_unit(found: Mapping[Oid, Value]) -> dict[Oid, Value]:
    """The invented APC rPDU2 without what hangs on its network port: every row whose module column says 2 is gone."""
    tree = parse_oid("1.3.6.1.4.1.318.1.1.26")
    tables = [(*tree, *table) for table in ((4, 3, 1), (6, 3, 1), (8, 3, 1), (9, 2, 3, 1), (9, 4, 3, 1))]
    gone = {
        (*table, column, index)
        for table in tables
        for oid, module in found.items()
        if oid[:-1] == (*table, 2) and module == 2
        for column, index in ((column, oid[-1]) for column in range(1, 32))
    }
    return {oid: value for oid, value in found.items() if oid not in gone}


def rows(reading: PduReading, kind: RowKind) -> list[PduRow]:
    return [row for row in reading.rows if row.kind is kind]


def row(reading: PduReading, kind: RowKind, row_id: str) -> PduRow:
    (found,) = (row for row in rows(reading, kind) if row.id == row_id)
    return found


def told(reading: PduReading, kind: RowKind, *fields: str) -> list[tuple[Any, ...]]:
    """The fields of every row of a kind, behind its id."""
    return [(row.id, *(getattr(row, field) for field in fields)) for row in rows(reading, kind)]


def states(reading: PduReading) -> tuple[int, int, int]:
    """Outlets that are on, off and in no known state."""
    seen = [row.is_on for row in rows(reading, RowKind.OUTLET)]
    return seen.count(True), seen.count(False), seen.count(None)


def watts(reading: PduReading, kind: RowKind) -> float:
    return sum(row.power_w or 0.0 for row in rows(reading, kind))


def steps(reading: PduReading) -> tuple[set[float | None], set[float | None]]:
    """The resolutions of all watts and all amperes that were told; those of an estimate are nobody's promise."""
    watts_steps = {row.power_resolution_w for row in reading.rows if row.power_quality is Quality.MEASURED}
    return watts_steps, {row.current_resolution_a for row in reading.rows if row.current_a is not None}


def kwh(of: PduRow | PduReading) -> float | None:
    return None if of.energy_j is None else round(of.energy_j / JOULES_PER_KWH, 6)


class AnsweringWalk:
    """A saved walk that answers like a device; counts what was asked. Implements `collectors.pdus.snmp.SnmpClient`."""

    def __init__(self, found: Mapping[Oid, Value]) -> None:
        self.objects = dict(found)
        self.asked: list[int] = []  # objects per answer, of every get and walk
        self.pace: Pace | None = None

    @property
    def engine(self) -> str:
        return "walk"

    async def get(self, oids: Sequence[Oid]) -> dict[Oid, Value]:
        self.asked.append(len(oids))
        return {oid: self.objects[oid] for oid in oids if oid in self.objects}

    async def walk(self, root: Oid, limits: WalkLimits | None = None) -> dict[Oid, Value]:
        rows = {oid: value for oid, value in sorted(self.objects.items()) if oid[: len(root)] == root and oid != root}
        enough = limits.enough if limits is not None and limits.enough else len(rows)
        self.asked.append(min(enough, len(rows)))
        return dict(list(rows.items())[:enough])

    def set_pace(self, pace: Pace) -> None:
        self.pace = pace

    async def aclose(self) -> None: ...


async def assert_a_device_tells_the_same(found: Mapping[Oid, Value]) -> AnsweringWalk:
    """Asked step by step, in full and then only for what moves, a device tells what its whole walk tells."""
    whole = read_walk(found)
    client = AnsweringWalk(found)
    pdu = SnmpPdu("127.0.0.1", client=client)
    first, second = await pdu.read(), await pdu.read()
    assert first.rows == second.rows == whole.rows
    assert first.power_w == second.power_w == whole.power_w
    assert first.energy_j == second.energy_j == whole.energy_j
    assert (first.model, first.serial, first.firmware) == (whole.model, whole.serial, whole.firmware)
    assert first.warnings == second.warnings == whole.warnings
    return client


def assert_what_moves_is_asked_for(found: Mapping[Oid, Value]) -> None:
    """No watts and no state come from memory: watts that double between two full reads are seen."""
    profile = recognise(packaged_profiles(), found).profile
    layout = survey(profile, found)
    layout.settle(found)
    assert set(layout.fast) - set(found) <= {SYS_UPTIME}  # only what the device has
    moved: dict[Oid, Value] = {}
    for _, counts, said in layout.trace(found):
        spoke = {cell.cell.column.quantity: cell.cell.oid for cell in reversed(said) if cell.value is not None}
        if counts and "is_on" in spoke:
            assert spoke["is_on"] in layout.fast
        if counts and "power_w" in spoke and isinstance(value := found[spoke["power_w"]], int):
            moved[spoke["power_w"]] = 2 * value
    between = {oid: moved.get(oid, found[oid]) for oid in layout.fast if oid in found}
    assert layout.read(layout.with_steady(between)) == layout.read({**found, **moved})
