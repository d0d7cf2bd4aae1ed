"""Vertiv and Geist: firmware 5, firmware 3, and the PDUs of a cabinet that one controller speaks for.

Values of recorded devices were read by hand from their bytes; those of the invented walks were made up with them.
"""

from __future__ import annotations

import pytest
from pdu_walks import (
    assert_a_device_tells_the_same,
    assert_what_moves_is_asked_for,
    changed,
    family,
    invented,
    kwh,
    recorded,
    row,
    rows,
    said,
    states,
    steps,
    told,
    watts,
)

from collectors.pdus.device import read_walk
from collectors.pdus.matching import recognise
from collectors.pdus.profile import packaged_profiles
from collectors.pdus.snmp import SYS_DESCR, SYS_OBJECT_ID, Oid, Value, parse_oid
from fleet.ports import PollError
from fleet.readings import Gap, PduReading, Quality, RowKind

DCS = "13400.3.2.225.1.1"


@pytest.fixture
def v5() -> PduReading:
    return read_walk(invented("vertiv_v5"))


@pytest.fixture
def v3() -> PduReading:
    return read_walk(invented("geist_v3"))


@pytest.fixture
def dcs() -> PduReading:
    return read_walk(invented("vertiv_dcs"))


# --- recorded devices ---


def test_recorded_v5_without_a_total() -> None:
    found = recorded("vertiv-pdu_mn03edr1")
    assert family(found) == "vertiv_v5"
    reading = read_walk(found)
    assert (reading.model, reading.firmware) == (said(found, "21239.5.2.1.8.0"), said(found, "21239.5.2.1.2.0"))
    # it answers no total for the unit: 1464 + 1477 + 1458 W, 5207.918 + 5284.954 + 5191.126 kWh
    assert (reading.power_w, reading.power_quality, kwh(reading)) == (4399.0, Quality.MEASURED, 15_683.998)
    assert rows(reading, RowKind.UNIT) == []
    assert told(reading, RowKind.PHASE, "name", "power_w", "voltage_v", "current_a", "power_factor") == [
        ("1", "Phase AB", 1464.0, 206.8, 7.25, 0.97),
        ("2", "Phase BC", 1477.0, 207.9, 7.28, 0.97),
        ("3", "Phase CA", 1458.0, 206.3, 7.23, 0.97),
    ]
    assert row(reading, RowKind.PHASE, "2").apparent_power_va == 1513.0
    assert told(reading, RowKind.LINE, "name", "current_a") == [
        ("1", "Line A", 12.55),
        ("2", "Line B", 12.64),
        ("3", "Line C", 12.59),
    ]
    banks = rows(reading, RowKind.BANK)
    assert [r.current_a for r in banks] == [4.67, 4.7, 4.66, 2.57, 2.56, 2.52]
    assert [(r.name, r.power_w) for r in banks][3] == (said(found, "21239.5.2.3.3.1.3.4"), None)
    assert rows(reading, RowKind.OUTLET) == []
    assert reading.warnings == ()


def test_recorded_cabinet() -> None:
    found = recorded("vertiv-dcs")
    assert family(found) == "vertiv_dcs"
    reading = read_walk(found)
    # units of 0.01 kW and 0.01 kWh
    assert told(reading, RowKind.UNIT, "power_w", "apparent_power_va", "current_a", "voltage_v", "power_factor") == [
        ("1", 350.0, 430.0, 1.9, 230.0, 0.81),
        ("2", 630.0, 820.0, 3.6, 230.0, 0.77),
    ]
    assert [kwh(r) for r in rows(reading, RowKind.UNIT)] == [1397.69, 2590.81]
    assert (reading.power_w, reading.power_quality, reading.power_resolution_w) == (980.0, Quality.MEASURED, 10.0)
    assert kwh(reading) == 3988.5
    # outlets 17 to 24 and the third branch are 9999: they are not there; 65535 in the mask is sixteen outlets on
    assert states(reading) == (32, 0, 0)
    assert [r.id for r in rows(reading, RowKind.OUTLET)] == [*map(str, range(1, 17)), *(f"2.{n}" for n in range(1, 17))]
    assert told(reading, RowKind.BANK, "current_a") == [("1", 1.6), ("2", 0.3), ("2.1", 1.8), ("2.2", 1.8)]
    assert reading.warnings == ()


def test_recorded_v3_is_found_and_says_nothing() -> None:
    found = recorded("geist-pdu")
    assert family(found) == "geist_v3"
    reading = read_walk(found)
    assert (reading.model, reading.power_w, reading.power_quality, reading.rows) == ("RCM-O", None, Quality.MISSING, ())


@pytest.mark.parametrize("name", ["vertiv-pdu_mn03edr1", "vertiv-dcs", "geist-pdu"])
async def test_a_recorded_device_tells_the_same_step_by_step(name: str) -> None:
    await assert_a_device_tells_the_same(recorded(name))
    assert_what_moves_is_asked_for(recorded(name))


# --- an invented unit with firmware 5 ---


def test_v5_unit(v5: PduReading) -> None:
    assert family(invented("vertiv_v5")) == "vertiv_v5"
    assert (v5.model, v5.serial, v5.firmware, v5.name) == ("VP8830-SYN", "SYNV50001", "5.10.2", "row-c")
    # above the 9999 W that the MIB allows
    assert (v5.power_w, v5.power_quality, kwh(v5)) == (21_870.0, Quality.MEASURED, 9998.123)
    assert v5.energy_wraps_j is None  # nobody knows where it starts again
    unit = row(v5, RowKind.UNIT, "1")
    assert (unit.name, unit.apparent_power_va, unit.power_factor) == ("row-c", 22_310.0, 0.98)
    assert steps(v5) == ({1.0}, {0.01})
    circuit = row(v5, RowKind.BANK, "1")
    assert (circuit.apparent_power_va, circuit.power_factor, kwh(circuit)) == (3670.0, 0.99, 77.777)
    assert told(v5, RowKind.BANK, "name", "power_w", "current_a", "voltage_v") == [
        ("1", "Circuit 1", 3645.0, 15.95, 230.1),
        ("2", "Circuit 2", None, 0.0, None),
    ]


def test_v5_unit_that_is_not_available_leaves_the_phases() -> None:
    reading = read_walk(changed(invented("vertiv_v5"), {"21239.5.2.3.1.1.5.1": 0}))
    assert dict(row(reading, RowKind.UNIT, "1").gaps)["power_w"] is Gap.SENTINEL
    assert reading.power_w == 7290.0 + 7280.0 + 7300.0


def test_v5_outlets(v5: PduReading) -> None:
    assert told(v5, RowKind.OUTLET, "name", "is_on", "power_w", "current_a", "voltage_v", "power_factor") == [
        ("1", "miner-0601", True, 3241.0, 14.12, 230.1, 0.99),
        ("2", "miner-0602", False, 0.0, 0.0, 230.1, 1.0),
        ("3", "rebooting", None, 0.0, 0.0, 230.1, 1.0),
        ("4", "unknown", None, 0.0, 0.0, 230.1, 1.0),
    ]
    assert kwh(row(v5, RowKind.OUTLET, "1")) == 123.456


def test_v5_outlets_that_are_switched_and_not_metered() -> None:
    metered = parse_oid("1.3.6.1.4.1.21239.5.2.3.6")
    found = {oid: value for oid, value in invented("vertiv_v5").items() if oid[: len(metered)] != metered}
    reading = read_walk(found)
    assert told(reading, RowKind.OUTLET, "name", "is_on", "power_w")[:2] == [
        ("1", "miner-0601", True, None),
        ("2", "miner-0602", False, None),
    ]


def test_v5_sensors(v5: PduReading) -> None:
    assert told(v5, RowKind.PROBE, "name", "temperature_c") == [("1", "rack top", 25.5)]  # 77.9 °F; the other is gone
    celsius = read_walk(changed(invented("vertiv_v5"), {"21239.5.2.1.7.0": 1, "21239.5.2.4.1.5.1": -12}))
    assert row(celsius, RowKind.PROBE, "1").temperature_c == -1.2


# --- an invented unit with firmware 3 ---


def test_v3_unit(v3: PduReading) -> None:
    assert family(invented("geist_v3")) == "geist_v3"
    assert (v3.model, v3.serial) == ("RCM-O", "SYNG30001")
    assert (v3.power_w, v3.power_quality, kwh(v3)) == (6405.0, Quality.MEASURED, 3801.0)  # its own total
    assert row(v3, RowKind.UNIT, "1").name == "row-d"
    assert steps(v3) == ({1.0}, {0.1})
    assert told(v3, RowKind.PHASE, "power_w", "voltage_v", "current_a", "power_factor", "apparent_power_va") == [
        ("1", 3250.0, 230.0, 14.3, 0.99, 3289.0),
        ("2", 3150.0, 231.0, 13.8, 0.99, 3188.0),
    ]  # 0 V: the third is not wired
    assert [kwh(r) for r in rows(v3, RowKind.PHASE)] == [2000.0, 1800.0]


def test_v3_phases_are_columns_of_one_row() -> None:
    third = {f"21239.2.25.1.{column}.1": value for column, value in zip(
        (21, 22, 24, 26, 27, 28), (1700, 229, 131, 2970, 3000, -99), strict=True,
    )}  # fmt: skip
    reading = read_walk(changed(invented("geist_v3"), {**third, "21239.2.25.1.6.1": 0, "21239.2.25.1.14.1": 0}))
    assert told(reading, RowKind.PHASE, "power_w", "voltage_v", "current_a", "power_factor", "apparent_power_va") == [
        ("3", 2970.0, 229.0, 13.1, 0.99, 3000.0),
    ]  # the first and the second have lost their volts
    assert [kwh(r) for r in rows(reading, RowKind.PHASE)] == [1700.0]


def test_v3_without_a_total_is_the_sum_of_its_phases() -> None:
    assert read_walk(changed(invented("geist_v3"), {"21239.2.25.1.30.1": None})).power_w == 6400.0


def test_v3_controller_that_is_gone_says_nothing() -> None:
    reading = read_walk(changed(invented("geist_v3"), {"21239.2.25.1.4.1": 0}))
    assert (reading.rows, reading.power_w) == ((), None)


# --- an invented cabinet: one PDU with three outlets on, and one that its controller has lost ---


def test_cabinet(dcs: PduReading) -> None:
    assert family(invented("vertiv_dcs")) == "vertiv_dcs"
    assert told(dcs, RowKind.UNIT, "power_w", "current_a", "voltage_v") == [
        ("1", 3220.0, 14.0, 231.0),
        ("2", None, None, None),
        ("3", None, None, None),
    ]
    assert [kwh(r) for r in rows(dcs, RowKind.UNIT)] == [1234.56, None, None]
    third = row(dcs, RowKind.UNIT, "3")  # it answers, with 9999 in every column
    assert {gap for _, gap in third.gaps} == {Gap.SENTINEL}
    assert len(third.gaps) == 7
    assert steps(dcs) == ({10.0}, {0.1})
    # its numbers are what was last heard, so neither they nor a total count
    assert (dcs.power_w, dcs.power_quality) == (None, Quality.MISSING)
    assert told(dcs, RowKind.BANK, "current_a") == [("1", 7.0), ("2", 7.1), ("2.1", None)]
    assert told(dcs, RowKind.OUTLET, "is_on") == [
        ("1", True), ("2", True), ("3", True), ("4", False), ("2.1", None), ("2.2", None),
        ("3.1", False),
    ]  # fmt: skip
    assert watts(dcs, RowKind.UNIT) == 3220.0


def test_cabinet_of_which_only_the_masks_are_told() -> None:
    found = changed(invented("vertiv_dcs"), {f"{DCS}.{n}.{pdu}": None for n in range(52, 76) for pdu in (1, 2, 3)})
    outlets = [r.is_on for r in rows(read_walk(found), RowKind.OUTLET) if r.unit == "1"]
    assert outlets[:4] == [True, True, True, False]  # 0b0111
    assert outlets[16:] == [*[True] * 7, False]  # 127


def test_a_plain_linux_is_no_cabinet() -> None:
    found: dict[Oid, Value] = {SYS_OBJECT_ID: parse_oid("1.3.6.1.4.1.2021.250.10"), SYS_DESCR: b"Linux box 5.10"}
    with pytest.raises(PollError, match="unknown PDU"):
        recognise(packaged_profiles(), found)


@pytest.mark.parametrize("name", ["vertiv_v5", "geist_v3", "vertiv_dcs"])
async def test_an_invented_device_tells_the_same_step_by_step(name: str) -> None:
    await assert_a_device_tells_the_same(invented(name))
    assert_what_moves_is_asked_for(invented(name))
