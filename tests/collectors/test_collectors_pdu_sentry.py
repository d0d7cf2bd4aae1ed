"""Server Technology: Sentry 3, where many models meter only amperes, and Sentry 4.

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
from collectors.pdus.profile import packaged_profiles
from collectors.pdus.rules import single_infeed_watts
from fleet.readings import Gap, PduReading, PduRow, Quality, RowKind

TOTAL_W = "1718.3.1.6.0"
CONFIGURED_FACTOR = "1718.3.1.10.0"


@pytest.fixture
def sentry3() -> PduReading:
    return read_walk(invented("sentry3"))


@pytest.fixture
def sentry4() -> PduReading:
    return read_walk(invented("sentry4"))


# --- recorded devices ---


def test_recorded_sentry3_with_two_towers() -> None:
    found = recorded("sentry3")
    assert family(found) == "sentry3"
    reading = read_walk(found)
    assert (reading.model, reading.serial, reading.firmware) == (
        said(found, "1718.3.2.1.1.7.1"), said(found, "1718.3.2.1.1.6.1"), said(found, "1718.3.1.1.0"),
    )  # fmt: skip
    # amperes and volts, but neither watts nor a power factor: missing, not guessed
    assert (reading.power_w, reading.power_quality, reading.energy_j) == (None, Quality.MISSING, None)
    assert told(reading, RowKind.INLET, "unit", "name", "current_a", "voltage_v", "current_limit_a", "power_w") == [
        ("AA", "1", said(found, "1718.3.2.2.1.3.1.1"), 3.62, 209.3, 30.0, None),
        ("BA", "2", said(found, "1718.3.2.2.1.3.2.1"), 5.02, 205.9, 30.0, None),
    ]
    # 680 and 745 tenths of a degree Fahrenheit; the two sensors of tower B are not there
    assert told(reading, RowKind.PROBE, "name", "humidity_ratio") == [
        ("A1", said(found, "1718.3.2.5.1.3.1.1"), 0.52),
        ("A2", said(found, "1718.3.2.5.1.3.1.2"), 0.43),
    ]
    assert [r.temperature_c for r in rows(reading, RowKind.PROBE)] == [
        pytest.approx(20.0),
        pytest.approx(23.611, abs=1e-3),
    ]
    assert "total.power_w.missing" in reading.warnings


def test_recorded_sentry3_switched() -> None:
    found = recorded("sentry3_switched")
    assert family(found) == "sentry3"
    reading = read_walk(found)
    assert (reading.model, reading.serial) == (said(found, "1718.3.2.1.1.7.1"), said(found, "1718.3.2.1.1.6.1"))
    assert reading.power_w is None
    # three lines of one tower: line currents and volts from line to line
    assert told(reading, RowKind.INLET, "current_a", "voltage_v", "power_quality") == [
        ("AA", 3.09, 207.0, Quality.MISSING),
        ("AB", 3.92, 207.8, Quality.MISSING),
        ("AC", 4.34, 208.7, Quality.MISSING),
    ]
    outlets = rows(reading, RowKind.OUTLET)
    assert [(outlets[n].id, outlets[n].name, outlets[n].current_a) for n in (0, 7, 10, 29)] == [
        ("AA1", said(found, "1718.3.2.3.1.3.1.1.1"), 0.0),
        ("AA8", said(found, "1718.3.2.3.1.3.1.1.8"), 0.64),
        ("AB1", said(found, "1718.3.2.3.1.3.1.2.1"), 0.81),
        ("AC10", said(found, "1718.3.2.3.1.3.1.3.10"), 0.56),
    ]
    assert len(outlets) == 30
    assert sum(r.current_a or 0 for r in outlets) == pytest.approx(6.75)
    assert states(reading) == (0, 0, 30)  # their state was not recorded
    assert rows(reading, RowKind.PROBE) == []


def test_recorded_smart_cdu_is_found_and_says_nothing() -> None:
    found = recorded("sentry3_smart")
    assert family(found) == "sentry3"
    reading = read_walk(found)
    assert (reading.power_w, reading.power_quality, reading.rows) == (None, Quality.MISSING, ())


def test_recorded_sentry4() -> None:
    found = recorded("sentry4")
    assert family(found) == "sentry4"
    reading = read_walk(found)
    assert (reading.model, reading.firmware) == (said(found, "1718.4.1.2.2.1.5.1"), said(found, "1718.4.1.1.1.3.0"))
    assert (reading.power_w, reading.power_quality, reading.power_resolution_w) == (2966.0, Quality.MEASURED, 1.0)
    assert kwh(reading) == 3459.6  # 893.7 and 2565.9
    assert told(reading, RowKind.INLET, "unit", "name", "power_w", "apparent_power_va", "power_factor") == [
        ("AA", "1", said(found, "1718.4.1.3.2.1.3.1.1"), 1701.0, 1790.0, 0.95),
        ("BA", "2", said(found, "1718.4.1.3.2.1.3.2.1"), 1265.0, 1329.0, 0.96),
    ]
    assert [(r.frequency_hz, r.current_limit_a) for r in rows(reading, RowKind.INLET)] == [(60.0, 30.0)] * 2
    assert told(reading, RowKind.LINE, "current_a")[:3] == [("AA:L1", 5.6), ("AA:L2", 3.69), ("AA:L3", 5.6)]
    assert told(reading, RowKind.PHASE, "unit", "power_w", "voltage_v", "current_a")[2:4] == [
        ("AA:L3-L1", "1", 848.0, 209.4, 4.29),
        ("BA:L1-L2", "2", 513.0, 208.2, 2.52),
    ]
    assert watts(reading, RowKind.PHASE) == 1707.0 + 1274.0  # seen at another point, never added to the cords
    assert told(reading, RowKind.BANK, "is_on", "current_a")[0] == ("AA:L1-L2-BR1", True, None)
    # -410 beside status 0 (normal) is no temperature; sensors of the second unit are not found (status 7)
    assert told(reading, RowKind.PROBE, "temperature_c", "humidity_ratio") == [("A1", None, None), ("A2", None, None)]
    assert dict(row(reading, RowKind.PROBE, "A1").gaps)["temperature_c"] is Gap.SENTINEL
    assert reading.warnings == ()


@pytest.mark.parametrize("name", ["sentry3", "sentry3_switched", "sentry3_smart", "sentry4"])
async def test_a_recorded_device_tells_the_same_step_by_step(name: str) -> None:
    await assert_a_device_tells_the_same(recorded(name))
    assert_what_moves_is_asked_for(recorded(name))


# --- an invented Sentry 3: a metered three-phase tower, and one that knows only volts and amperes ---


def test_sentry3_is_asked_gently() -> None:
    assert family(invented("sentry3")) == "sentry3"
    limits = next(profile for profile in packaged_profiles() if profile.id == "sentry3").limits
    assert limits.max_repetitions <= 4  # more makes some firmware send integers without any octet


def test_sentry3_towers(sentry3: PduReading) -> None:
    assert told(sentry3, RowKind.UNIT, "name", "power_w", "power_factor") == [
        ("1", "TowerA", 7210.0, 0.97),
        ("2", "TowerB", None, None),
    ]
    assert kwh(row(sentry3, RowKind.UNIT, "1")) == 12_345.0  # whole kWh
    assert told(sentry3, RowKind.INLET, "power_w", "power_quality", "current_a", "voltage_v") == [
        ("AA", 2400.0, Quality.MEASURED, 20.11, 208.0),
        ("AB", 2410.0, Quality.MEASURED, 20.34, 207.9),
        ("AC", 2400.0, Quality.MEASURED, 19.98, 208.5),
        ("BA", 2490.0, Quality.ESTIMATED, 12.5, 207.5),  # 207.5 V x 12.5 A x the configured 0.96
    ]
    assert kwh(row(sentry3, RowKind.INLET, "AA")) == 4100.0  # tenths of a kWh
    assert told(sentry3, RowKind.PHASE, "current_a", "voltage_v") == [
        ("AA", 11.6, 208.1),
        ("AB", 11.75, 207.8),
        ("AC", 11.5, 208.4),
    ]
    assert [r.current_limit_a for r in rows(sentry3, RowKind.INLET)] == [30.0, 30.0, 30.0, None]  # 0 is no rating
    assert row(sentry3, RowKind.INLET, "AA").power_factor == 0.97
    assert steps(sentry3) == ({1.0}, {0.01})
    # one tower tells no watts, so the infeeds are the total, and one of them is an estimate
    assert (sentry3.power_w, sentry3.power_quality) == (9700.0, Quality.ESTIMATED)
    assert sentry3.energy_j is None  # one infeed has no counter


def test_sentry3_total_of_the_system_comes_first() -> None:
    found = changed(invented("sentry3"), {TOTAL_W: 9690})
    reading = read_walk(found)
    assert (reading.power_w, reading.power_quality, reading.power_resolution_w) == (9690.0, Quality.MEASURED, 1.0)


def test_sentry3_total_is_an_estimate_where_no_power_factor_is_metered() -> None:
    found = changed(invented("sentry3"), {TOTAL_W: 9690, "1718.3.2.2.1.14.1.1": -1})
    reading = read_walk(found)
    assert (reading.power_w, reading.power_quality) == (9690.0, Quality.ESTIMATED)
    assert row(reading, RowKind.INLET, "AA").power_quality is Quality.ESTIMATED


@pytest.mark.parametrize("factor", [None, -1, 0, 49, 101, b"96"])
def test_sentry3_guesses_no_power_factor(factor: int | bytes | None) -> None:
    reading = read_walk(changed(invented("sentry3"), {CONFIGURED_FACTOR: factor}))
    assert row(reading, RowKind.INLET, "BA").power_w is None
    assert (reading.power_w, reading.power_quality) == (None, Quality.MISSING)


def test_sentry3_lines_of_three_phases_are_not_multiplied() -> None:
    line = PduRow(kind=RowKind.INLET, id="AA", unit="1", current_a=3.09, voltage_v=207.0)
    other = PduRow(kind=RowKind.INLET, id="AB", unit="1", current_a=3.92, voltage_v=207.8)
    alone = PduRow(kind=RowKind.INLET, id="BA", unit="2", current_a=10.0, voltage_v=200.0, power_factor=0.5)
    estimated = single_infeed_watts((line, other, alone), [95])
    assert [r.power_w for r in estimated] == [None, None, 1000.0]  # its own factor before the configured one


def test_sentry3_outlets(sentry3: PduReading) -> None:
    assert told(sentry3, RowKind.OUTLET, "unit", "name", "is_on", "power_w", "current_a", "power_factor") == [
        ("AA1", "1", "miner-0301", True, 3130.0, 15.52, 0.97),
        ("AA2", "1", "Outlet AA2", False, 0.0, 0.0, None),
        ("AB1", "1", "waiting", None, 0.0, 0.0, None),  # 3: waits to be switched on
        ("AB2", "1", "no word", None, None, None, None),  # 6: no communication
        ("BA1", "2", "miner-0302", True, None, 12.5, None),
    ]
    first = row(sentry3, RowKind.OUTLET, "AA1")
    assert (kwh(first), first.voltage_v, first.apparent_power_va, first.current_limit_a) == (
        5123.4,
        208.0,
        3228.0,
        16.0,
    )
    assert told(sentry3, RowKind.BANK, "name", "is_on", "current_a", "current_limit_a") == [
        ("AA1", "Branch AA1", True, 10.12, 20.0),
        ("AA2", "Branch AA2", None, None, 20.0),
    ]


@pytest.mark.parametrize(
    ("status", "is_on"), [(0, False), (1, True), *((other, None) for other in (2, 3, 4, 5, 6, 7, 8, 9, 10, -1))]
)
def test_sentry3_states(status: int, is_on: bool | None) -> None:
    reading = read_walk(changed(invented("sentry3"), {"1718.3.2.3.1.5.1.1.1": status}))
    assert row(reading, RowKind.OUTLET, "AA1").is_on is is_on
    # what the device may say is no fault of it, what it may not is
    assert ("outlet.is_on.implausible" in reading.warnings) is (status == 10)


def test_sentry3_sensors(sentry3: PduReading) -> None:
    assert told(sentry3, RowKind.PROBE, "unit", "humidity_ratio") == [("A1", "1", 0.43), ("B1", "2", None)]
    assert row(sentry3, RowKind.PROBE, "A1").temperature_c == pytest.approx(23.611, abs=1e-3)  # 74.5 °F
    assert row(sentry3, RowKind.PROBE, "B1").temperature_c == 23.1  # this one tells Celsius


# --- an invented Sentry 4: two linked units ---


def test_sentry4_cords(sentry4: PduReading) -> None:
    assert family(invented("sentry4")) == "sentry4"
    assert (sentry4.model, sentry4.serial, sentry4.firmware, sentry4.name) == (
        "C2S36CE-YCMFAM00", "SYNS40001", "Version 8.0x", "Master",
    )  # fmt: skip
    assert (sentry4.power_w, sentry4.power_quality, kwh(sentry4)) == (9625.0, Quality.MEASURED, 8123.0 + 4001.0)
    assert told(sentry4, RowKind.INLET, "unit", "power_w", "power_factor", "current_limit_a") == [
        ("AA", "1", 6420.0, 0.97, 30.0),
        ("BA", "2", 3205.0, 0.97, 30.0),
    ]
    assert told(sentry4, RowKind.LINE, "name", "current_a", "current_limit_a") == [
        ("AA1", "AA:L1", 17.9, 30.0),
        ("BA1", "BA:L1", 17.9, 30.0),
    ]
    assert told(sentry4, RowKind.PHASE, "name", "power_w", "current_a", "voltage_v") == [
        ("AA1", "AA:L1-L2", 3212.0, 15.51, 208.1),
        ("BA1", "BA:L1-L2", None, None, 208.1),
    ]
    phase = row(sentry4, RowKind.PHASE, "AA1")
    assert (phase.apparent_power_va, phase.power_factor, kwh(phase)) == (3310.0, 0.97, 4061.5)
    assert steps(sentry4) == ({1.0}, {0.01})
    assert told(sentry4, RowKind.BANK, "name", "is_on", "current_a", "current_limit_a") == [
        ("AA1", "AA:L1-L2-BR1", True, 15.51, 20.0),
        ("BA1", "BA:L1-L2-BR1", False, 0.0, 20.0),
    ]


def test_sentry4_outlets(sentry4: PduReading) -> None:
    assert told(sentry4, RowKind.OUTLET, "unit", "name", "is_on", "power_w", "current_a", "bank", "phase") == [
        ("AA1", "1", "miner-0401", True, 3212.0, 15.51, "AA1", "AA1"),
        ("AA2", "1", "Master_Outlet_2", False, 0.0, 0.0, "AA1", "AA1"),
        ("AA3", "1", "odd", None, None, None, "AA1", "AA1"),
        ("BA1", "2", "miner-0402", True, 3205.0, 15.4, "BA1", "BA1"),
    ]
    first = row(sentry4, RowKind.OUTLET, "AA1")
    assert (kwh(first), first.voltage_v, first.apparent_power_va, first.power_factor) == (8123.0, 208.1, 3228.0, 0.99)


def test_sentry4_sensors(sentry4: PduReading) -> None:
    assert told(sentry4, RowKind.PROBE, "temperature_c", "humidity_ratio") == [
        ("A1", 26.5, 0.41),  # 79.7 °F: the scale is one for all
        ("A2", None, None),
    ]
    celsius = read_walk(changed(invented("sentry4"), {"1718.4.1.9.1.10.0": 0, "1718.4.1.9.3.1.1.1.1": -52}))
    assert row(celsius, RowKind.PROBE, "A1").temperature_c == -5.2


def test_sentry4_without_watts_of_a_cord_takes_the_phases_or_nothing() -> None:
    found = changed(invented("sentry4"), {"1718.4.1.3.3.1.3.2.1": -1})
    assert read_walk(found).power_w is None  # one phase tells none either
    found = changed(found, {"1718.4.1.5.3.1.8.2.1.1": 3201})
    assert read_walk(found).power_w == 3212.0 + 3201.0


@pytest.mark.parametrize("name", ["sentry3", "sentry4"])
async def test_an_invented_device_tells_the_same_step_by_step(name: str) -> None:
    await assert_a_device_tells_the_same(invented(name))
    assert_what_moves_is_asked_for(invented(name))
