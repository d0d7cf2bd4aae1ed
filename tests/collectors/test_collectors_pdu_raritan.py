"""Raritan: PX1 with its fixed scales, and everything since, where the device tells its decimal digits.

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
from collectors.pdus.rules import standby_inlets
from collectors.pdus.snmp import SYS_DESCR
from fleet.readings import Counting, Gap, PduReading, PduRow, Quality, RowKind

WH_MODULUS_J = 2**32 * 3600.0

OUTLET_W = "13742.6.5.4.3.1.4.1.{}.5"
OUTLET_STATE = "13742.6.5.4.3.1.3.1.{}.14"


@pytest.fixture
def px1() -> PduReading:
    return read_walk(invented("raritan_px1"))


@pytest.fixture
def px3() -> PduReading:
    return read_walk(invented("raritan_pdu2"))


# --- recorded devices ---


def test_recorded_px1() -> None:
    found = recorded("raritan-pdu")
    assert family(found) == "raritan_px1"
    reading = read_walk(found)
    assert reading.model == "Dominion PX"
    assert bytes(found[SYS_DESCR]).endswith(f" Version {reading.firmware}".encode())  # nothing else tells it
    assert (reading.power_w, reading.power_quality, reading.power_resolution_w) == (580.0, Quality.MEASURED, 1.0)
    assert reading.energy_j is None
    inlet = row(reading, RowKind.INLET, "1")
    assert (inlet.apparent_power_va, inlet.power_factor, inlet.current_a, inlet.voltage_v) == (
        692.0,
        0.83,
        2.971,
        230.0,
    )
    assert inlet.current_limit_a == 16.0
    assert told(reading, RowKind.PHASE, "name", "current_a", "voltage_v") == [("1.1", "L1", 2.971, 230.5)]
    outlets = rows(reading, RowKind.OUTLET)
    # neither watts nor states were recorded: missing, and volt-amperes are no watts
    assert [(r.power_w, r.power_quality, r.is_on, r.gaps) for r in outlets] == [(None, Quality.MISSING, None, ())] * 12
    assert (outlets[2].name, outlets[2].current_a, outlets[2].apparent_power_va) == ("OUTLET3", 2.192, 507.0)
    assert sum(r.apparent_power_va or 0 for r in outlets) == 679.0
    assert sum(r.current_a or 0 for r in outlets) == pytest.approx(2.943)
    assert told(reading, RowKind.PROBE, "name", "temperature_c", "humidity_ratio") == [
        ("3", said(found, "13742.4.3.3.1.4.3"), 20.5, None),  # 205 with one digit
        ("2", said(found, "13742.4.3.3.1.4.2"), None, 0.39),  # 39 with none
    ]
    assert row(reading, RowKind.UNIT, "1").temperature_c == 36.0  # of its processor
    assert reading.warnings == ()


def test_recorded_px2_of_old_firmware() -> None:
    found = recorded("raritan-pdu_px2")
    assert family(found) == "raritan_pdu2"
    reading = read_walk(found)
    assert (reading.model, reading.firmware) == ("PX2", "030004")
    assert (reading.power_w, reading.power_quality) == (138.0, Quality.MEASURED)
    inlet = row(reading, RowKind.INLET, "I1")
    assert (inlet.current_a, inlet.voltage_v, inlet.frequency_hz, inlet.apparent_power_va) == (0.68, 233.0, 50.0, None)
    assert told(reading, RowKind.OUTLET, "name", "power_w", "current_a")[:3] == [
        ("1", None, 0.0, 0.0),  # an empty name is none
        ("2", "OUTLET2", 0.0, 0.0),
        ("3", "OUTLET3", 68.0, 0.311),
    ]
    assert (len(rows(reading, RowKind.OUTLET)), watts(reading, RowKind.OUTLET)) == (12, 138.0)
    assert states(reading) == (0, 0, 12)  # this recording has no state of any outlet
    assert reading.energy_j is None


def test_recorded_px4() -> None:
    found = recorded("raritan-pdu_px4")
    assert family(found) == "raritan_pdu2"
    reading = read_walk(found)
    assert (reading.model, reading.serial, reading.firmware) == tuple(
        said(found, f"13742.6.3.2.{cell}") for cell in ("1.1.3.1", "1.1.4.1", "3.1.6.1.1.1")
    )
    assert (reading.power_w, reading.power_quality) == (590.0, Quality.MEASURED)  # .4; the signed column .6 says 604
    assert kwh(reading) == 2932.051
    assert (reading.energy_counting, reading.energy_wraps_j) == (Counting.RESETTABLE, WH_MODULUS_J)
    inlet = row(reading, RowKind.INLET, "I1")
    assert (inlet.power_factor, inlet.voltage_v, inlet.current_a, inlet.apparent_power_va, inlet.current_limit_a) == (
        0.86, 394.0, 1.301, 699.0, 32.0,  # line to line; "32A" is a text
    )  # fmt: skip
    assert told(reading, RowKind.BANK, "current_a", "current_limit_a", "is_on") == [
        ("C1", 2.753, 16.0, True),
        ("C2", 6.554, 16.0, True),
    ]
    assert (states(reading), watts(reading, RowKind.OUTLET)) == ((36, 0, 0), 584.0)
    first, second = row(reading, RowKind.OUTLET, "1"), row(reading, RowKind.OUTLET, "2")
    assert (first.power_w, first.current_a, first.voltage_v, first.apparent_power_va, first.power_factor) == (
        11.0, 0.123, 228.0, 28.0, 0.38,
    )  # fmt: skip
    assert (kwh(first), first.bank, first.current_limit_a) == (48.55, "C1", 16.0)
    # without load its power factor is "not available" (column .2 is 2), though column .4 holds a number
    assert (second.power_w, second.power_factor, second.gaps) == (0.0, None, (("power_factor", Gap.SENTINEL),))
    assert row(reading, RowKind.OUTLET, "3").current_limit_a == 10.0
    assert row(reading, RowKind.OUTLET, "7").bank == "C2"
    assert row(reading, RowKind.OUTLET, "13").bank is None  # its protector is not in the recording
    assert row(reading, RowKind.OUTLET, "36").name == said(found, "13742.6.3.5.3.1.3.1.36")
    assert reading.warnings == ()


@pytest.mark.parametrize("name", ["raritan-pdu", "raritan-pdu_px2", "raritan-pdu_px4"])
async def test_a_recorded_device_tells_the_same_step_by_step(name: str) -> None:
    found = recorded(name)
    client = await assert_a_device_tells_the_same(found)
    assert_what_moves_is_asked_for(found)
    assert sum(client.asked) < 2_000  # of up to 22,566 objects
    assert client.asked[-1] < 250


# --- an invented PX1: three phases, a stuck relay, sensors in both degrees ---


def test_px1_is_found() -> None:
    assert family(invented("raritan_px1")) == "raritan_px1"


def test_px1_unit(px1: PduReading) -> None:
    assert (px1.model, px1.serial, px1.firmware) == ("DPXR20-30", "SYNPX0001", "01.05.15")
    # the inlet, not the deprecated number of the unit (5001) and not its volt-amperes (5284)
    assert (px1.power_w, px1.power_quality) == (5020.0, Quality.MEASURED)
    inlet = row(px1, RowKind.INLET, "1")
    # its amperes and volts read 0 on three phases: not available, and the phases have them
    assert (inlet.current_a, inlet.voltage_v) == (None, None)
    assert inlet.gaps == (("current_a", Gap.SENTINEL), ("voltage_v", Gap.SENTINEL))
    assert steps(px1) == ({1.0}, {0.001})
    assert told(px1, RowKind.PHASE, "current_a", "voltage_v", "power_w") == [
        ("1.1", 13.902, 230.1, None),
        ("1.2", 8.421, 229.8, None),
        ("1.3", 0.0, 231.2, None),
    ]


def test_px1_outlets(px1: PduReading) -> None:
    assert told(px1, RowKind.OUTLET, "name", "is_on", "power_w", "apparent_power_va", "power_factor") == [
        ("1", "miner-0101", True, 3120.0, 3199.0, 0.98),
        ("2", "miner-0102", True, 1900.0, 1936.0, 0.98),
        ("3", "Outlet 3", False, 0.0, 0.0, 1.0),
        ("4", "Outlet 4", None, 0.0, 0.0, 1.0),  # 2: within a power cycle
        ("5", "relay stuck", None, None, 3.0, 1.0),  # -1: an error; 70 kW come out of no outlet
    ]
    assert row(px1, RowKind.OUTLET, "1").energy_wraps_j == WH_MODULUS_J
    assert px1.warnings == ("outlet.power_w.implausible",)


def test_px1_sensors(px1: PduReading) -> None:
    assert told(px1, RowKind.PROBE, "name", "temperature_c", "humidity_ratio", "gaps") == [
        ("1", "intake", 24.3, None, ()),
        ("3", "exhaust in F", 38.0, None, ()),  # 100.4 °F
        ("4", "unplugged", None, None, (("temperature_c", Gap.SENTINEL),)),
        ("2", "intake humidity", None, 0.41, ()),
    ]  # and a door contact is none of ours


def test_px1_without_inlets_uses_the_number_of_the_unit() -> None:
    found = {oid: value for oid, value in invented("raritan_px1").items() if oid[6:10] != (13742, 4, 1, 20)}
    assert read_walk(found).power_w == 5001.0


# --- an invented pair of linked PX3: digits, states, protectors, stale sensors ---


def test_px3_pair_adds_up_by_inlets(px3: PduReading) -> None:
    assert family(invented("raritan_pdu2")) == "raritan_pdu2"
    assert (px3.model, px3.serial, px3.firmware, px3.name) == (
        "PX3-5902V-V2", "SYNPX30001", "4.0.20.5-48000", "row-a-left",
    )  # fmt: skip
    assert (px3.power_w, px3.power_quality, kwh(px3)) == (6420.0 + 3240.0, Quality.MEASURED, 1234.567 + 99.0)
    assert px3.energy_wraps_j is None  # a sum has no modulus
    assert told(px3, RowKind.INLET, "unit", "voltage_v", "current_a", "power_factor", "current_limit_a") == [
        ("I1", "1", 400.1, 9.31, 0.98, 32.0),  # volts with one digit here
        ("2.I1", "2", 230.5, 14.2, 0.99, 16.0),
    ]
    assert told(px3, RowKind.PHASE, "name", "power_w", "voltage_v", "current_limit_a") == [
        ("1.1", "L1", 3230.0, 231.0, 32.0),  # to neutral, before line to line
        ("1.2", "L2", 3190.0, 230.5, 32.0),
        ("1.3", "L3", 0.0, 229.8, 32.0),
    ]
    first = row(px3, RowKind.PHASE, "1.1")
    assert (first.apparent_power_va, first.power_factor, kwh(first)) == (3296.0, 0.98, 700.123)
    assert steps(px3) == ({1.0}, {0.001})
    assert told(px3, RowKind.BANK, "current_a", "is_on") == [("C1", 14.01, True), ("C2", 0.0, False)]


def test_px3_outlets(px3: PduReading) -> None:
    assert told(px3, RowKind.OUTLET, "name", "is_on", "power_w", "current_a", "bank") == [
        ("1", "miner-0201", True, 3230.0, 14.01, "C1"),
        ("2", None, False, 0.0, 0.0, "C2"),
        ("3", "stale meter", None, None, None, "C2"),  # "not available" with its last number still standing there
        ("4", "tenths of a watt", True, 3190.5, 13.9, "C1"),
        ("5", "no digits told", True, None, 13.0, "C1"),  # 3000 could be 3000 W or 300.0 W
        ("2.A1", "miner-0202", True, 3238.0, 14.19, None),  # the label is the number
    ]
    assert row(px3, RowKind.OUTLET, "1").power_factor == 0.998  # three digits here
    assert row(px3, RowKind.OUTLET, "3").gaps == (
        ("power_w", Gap.SENTINEL), ("current_a", Gap.SENTINEL), ("is_on", Gap.SENTINEL),
    )  # fmt: skip
    assert row(px3, RowKind.OUTLET, "5").gaps == (("power_w", Gap.IMPLAUSIBLE),)


def test_px3_sensors(px3: PduReading) -> None:
    assert told(px3, RowKind.PROBE, "name", "temperature_c", "humidity_ratio") == [
        ("1", "cold aisle", -3.5, None),
        ("3", "hot aisle in F", 44.5, None),  # 112.1 °F
        ("4", "gone", None, None),
        ("2", "cold aisle", None, 0.38),
    ]


@pytest.mark.parametrize(("state", "is_on"), [(7, True), (8, False), (-1, None), (0, None), (1, None), (4, None)])
def test_px3_state_is_the_state_column_and_nothing_else(state: int, is_on: bool | None) -> None:
    found = changed(invented("raritan_pdu2"), {OUTLET_STATE.format(1): state})
    assert row(read_walk(found), RowKind.OUTLET, "1").is_on is is_on


def test_px3_state_of_switching_where_the_sensor_is_not_told() -> None:
    found = changed(invented("raritan_pdu2"), {OUTLET_STATE.format(1): None, "13742.6.4.1.2.1.3.1.1": 8})
    assert row(read_walk(found), RowKind.OUTLET, "1").is_on is False


@pytest.mark.parametrize("digits", [10, -1, b"0"])
def test_px3_digits_that_cannot_be_make_no_number(digits: int | bytes) -> None:
    found = changed(invented("raritan_pdu2"), {"13742.6.3.5.4.1.7.1.1.5": digits})
    assert row(read_walk(found), RowKind.OUTLET, "1").power_w is None


def test_a_unit_with_several_inlets_meters_their_sum() -> None:
    found = changed(
        invented("raritan_pdu2"),
        {"13742.6.5.1.3.1.4.1.5": 6415, "13742.6.3.2.5.1.7.1.5": 0, "13742.6.5.1.3.1.3.1.5": 4},
    )
    assert read_walk(found).power_w == 9660.0  # the second unit meters none: the inlets of both, 6420 + 3240
    found = changed(found, {"13742.6.5.1.3.1.4.2.5": 32400, "13742.6.3.2.5.1.7.2.5": 1, "13742.6.5.1.3.1.3.2.5": 4})
    assert read_walk(found).power_w == 6415.0 + 3240.0


def test_an_inlet_without_watts_makes_the_sum_unknown() -> None:
    found = changed(invented("raritan_pdu2"), {"13742.6.5.2.3.1.3.2.1.5": -1})
    reading = read_walk(found)
    assert (reading.power_w, reading.power_quality) == (None, Quality.MISSING)
    assert "total.power_w.missing" in reading.warnings


def test_behind_a_transfer_switch_the_silent_inlet_carries_nothing() -> None:
    standby = {"13742.6.3.3.3.1.2.1.2": b"I2", "13742.6.5.2.3.1.4.1.2.5": 0, "13742.6.5.2.3.1.3.1.2.5": -1}
    found = changed(invented("raritan_pdu2"), {**standby, "13742.6.3.3.4.1.7.1.2.5": 0, "13742.6.3.2.2.1.66.1": 1})
    reading = read_walk(found)
    assert (reading.power_w, reading.power_quality) == (6420.0 + 3240.0, Quality.MEASURED)
    assert [r.id for r in rows(reading, RowKind.INLET)] == ["I1", "2.I1"]


def test_a_transfer_switch_without_any_watts_keeps_its_inlets() -> None:
    silent = [PduRow(kind=RowKind.INLET, id=number) for number in ("I1", "I2")]
    assert standby_inlets(silent, [1]) == silent
    assert standby_inlets(silent, [None]) == silent


@pytest.mark.parametrize("name", ["raritan_px1", "raritan_pdu2"])
async def test_an_invented_device_tells_the_same_step_by_step(name: str) -> None:
    await assert_a_device_tells_the_same(invented(name))
    assert_what_moves_is_asked_for(invented(name))
