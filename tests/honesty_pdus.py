"""What every reading of a PDU promises, whatever the device sent; shared by fuzzing and by tests of all profiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields

from collectors.pdus.layout import MAX_ROWS, Layout, survey
from collectors.pdus.profile import Profile
from collectors.pdus.snmp import Oid, Value
from fleet.readings import PduReading, PduRow, Quality

MAX_TEXT_CHARS = 64
MAX_ID_CHARS = 2 * MAX_TEXT_CHARS + 1  # a unit and a number

NASTY: tuple[Value | None, ...] = (
    None, 0, 1, 2, -1, 7, 100, 9999, 65535, -410, 2**31 - 1, -(2**31), 2**32 - 1, 2**63, -(2**63), 2**64, 10**400,
    -(10**400), b"", b"\0", b" ", b"NA", b"notsupported ", b"........", b"nan", b"-inf", b"1e400", b"-0", b"12.5",
    b"1_000", b"9" * 5000, b"x" * 5000, b"\xff\xfe\xfd", b"\x1b[31mred", "\u202eevil".encode(), "\u0663".encode(),
    b"line\nline", b"1,0,,2,-1,on", b"," * 500, b"L1_F1", (), (1, 3, 6, 1), (2**32,) * 3,
)  # fmt: skip
"""Values of all types that an honest device never sends where we look; None stands for an absent object."""


def assert_sound(profile: Profile, found: Mapping[Oid, Value]) -> PduReading:
    """The reading of these objects. Raises AssertionError where it breaks a promise, and whatever decoding raises."""
    layout = survey(profile, found)
    reading = assert_reads_soundly(layout, found)
    layout.settle(found)
    between = {oid: found[oid] for oid in layout.fast if oid in found}
    assert layout.read(layout.with_steady(between)) == reading, "a fast read of the same objects tells something else"
    return reading


def assert_reads_soundly(layout: Layout, found: Mapping[Oid, Value]) -> PduReading:
    """The same for rows that are known already, and without the look between two full reads."""
    reading = layout.read(found)
    assert len(reading.rows) <= MAX_ROWS, f"{len(reading.rows)} rows"
    twice = [key for key, times in Counter((row.kind, row.id) for row in reading.rows).items() if times > 1]
    assert not twice, f"two rows are called {twice[:3]}"
    for row in reading.rows:
        _assert_row(row)
    for name in ("model", "serial", "firmware", "name", "energy_since"):
        _assert_text(name, getattr(reading, name))
    for name in ("power_w", "energy_j", "uptime_s"):
        _assert_number(name, getattr(reading, name))
    assert (reading.power_w is None) == (reading.power_quality is Quality.MISSING)
    for line, _, cells in layout.trace(found):
        for said in cells:
            low, high = said.cell.column.minimum, said.cell.column.maximum
            if isinstance(said.value, float):
                where = f"{line.table.kind} {said.cell.column.quantity} = {said.value}"
                assert low is None or said.value >= low, where
                assert high is None or said.value <= high, where
    return reading


def _assert_row(row: PduRow) -> None:
    assert 0 < len(row.id) <= MAX_ID_CHARS, f"an id of {len(row.id)} characters"
    assert row.id.isprintable(), f"{row.id!r}"
    assert (row.power_w is None) == (row.power_quality is Quality.MISSING), f"{row}"
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name not in ("id", "gaps", "kind", "unit"):
            _assert_text(field.name, value)
        _assert_number(field.name, value)
    for name in ("power_factor", "humidity_ratio"):
        value = getattr(row, name)
        assert value is None or 0.0 <= value <= 1.0, f"{name} = {value}"


def _assert_text(name: str, value: object) -> None:
    if isinstance(value, str):
        assert value.isprintable(), f"{name} holds {value!r}"
        assert 0 < len(value) <= MAX_TEXT_CHARS, f"{name} is {len(value)} long"


def _assert_number(name: str, value: object) -> None:
    if isinstance(value, int | float):
        assert math.isfinite(value), f"{name} is {value}"
        assert value >= 0 or name == "temperature_c", f"{name} is {value}"
