"""Panduit, HPE, Enlogic, Chatsworth, Rittal, Schleifenbauer, Conteg and Gude: real devices and invented ones.

Values of recorded devices were read by hand from their bytes, values of the invented walks were invented with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pdu_walks import (
    assert_a_device_tells_the_same,
    assert_what_moves_is_asked_for,
    changed,
    invented,
    kwh,
    recorded,
    row,
    rows,
    said,
    states,
    told,
)

from collectors.pdus.device import read_walk, replay
from collectors.pdus.layout import decode, survey
from collectors.pdus.matching import recognise
from collectors.pdus.profile import Profile, packaged_profiles, parse_profile
from collectors.pdus.rules import delta_phases_after_lines, phase_of_circuit, units_from_parts
from collectors.pdus.snmp import SYS_DESCR, SYS_OBJECT_ID, Oid, Value, parse_oid
from fleet.ports import PollError
from fleet.readings import Counting, Gap, PduRow, Quality, RowKind
from fleet.units import JOULES_PER_KWH

FAMILIES = (
    "panduit_g5", "hpe_pdu3", "hpe_pdu2", "hpe_ipdu", "hpe_pdumm", "enlogic", "chatsworth", "rittal_cmc3",
    "schleifenbauer", "gude_epc",
)  # fmt: skip
RECORDED = {
    "panduit": "panduit_g5",
    "panduit_g5-p32g13m": "panduit_g5",
    "hpe-mapdu_pdu2": "hpe_pdu2",
    "hpe-ipdu": "hpe_ipdu",
    "hpe-pdumm": "hpe_pdumm",
    "enlogic-pdu_v2": "enlogic",
    "chatsworth-pdu": "chatsworth",
    "rittal-cmc-iii-pu_pdu-controller": "rittal_cmc3",
    "schleifenbauer_dpm27e": "schleifenbauer",
    "conteg-pdu": "schleifenbauer",
    "gude-epc_8031": "gude_epc",
}
WATTS = {  # of the unit, and their quality: from the table of decoded captures
    "panduit": (956.0, Quality.MEASURED),
    "panduit_g5-p32g13m": (None, Quality.MISSING),
    "hpe-mapdu_pdu2": (97.0, Quality.MEASURED),
    "hpe-ipdu": (None, Quality.MISSING),
    "hpe-pdumm": (1587.0 + 1137.0, Quality.MEASURED),
    "enlogic-pdu_v2": (1120.0, Quality.MEASURED),
    "chatsworth-pdu": (3793.0, Quality.ESTIMATED),
    "rittal-cmc-iii-pu_pdu-controller": (2742.0, Quality.MEASURED),
    "schleifenbauer_dpm27e": (0.0, Quality.ESTIMATED),
    "conteg-pdu": (470.0, Quality.MEASURED),
    "gude-epc_8031": (18.0, Quality.MEASURED),
}
ENERGY_KWH = {
    "panduit": 7405.0,
    "enlogic-pdu_v2": 52777.6,
    "rittal-cmc-iii-pu_pdu-controller": 2641.8,
    "schleifenbauer_dpm27e": 0.0,
    "conteg-pdu": 85.0 + 965.0,
    "gude-epc_8031": 1109.596,
}


# --- every device ---


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_device_is_found_and_tells_the_watts_and_the_energy_of_its_unit(name: str) -> None:
    found = recorded(name)
    recognition = recognise(packaged_profiles(), found)
    assert recognition.profile.id == RECORDED[name]
    reading = decode(recognition.profile, found)
    assert (reading.power_w, reading.power_quality) == WATTS[name]
    assert kwh(reading) == ENERGY_KWH.get(name)
    assert ("total.power_w.missing" in reading.warnings) == (WATTS[name][0] is None)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_invented_device_is_found(family: str) -> None:
    found = invented(family)
    assert recognise(packaged_profiles(), found).profile.id == family


@pytest.mark.parametrize("family", FAMILIES)
def test_a_profile_says_whose_it_is_and_what_to_know(family: str) -> None:
    profile = next(profile for profile in packaged_profiles() if profile.id == family)
    assert profile.title
    assert profile.notes
    assert profile.limits.max_varbinds <= 25


@pytest.mark.parametrize("name", RECORDED)
async def test_a_recorded_device_tells_the_same_step_by_step(name: str) -> None:
    found = recorded(name)
    await assert_a_device_tells_the_same(found)
    assert_what_moves_is_asked_for(found)


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_invented_device_tells_the_same_step_by_step(family: str) -> None:
    found = invented(family)
    await assert_a_device_tells_the_same(found)
    assert_what_moves_is_asked_for(found)


@pytest.mark.parametrize("family", ["chatsworth", "schleifenbauer"])
def test_volt_amperes_that_stand_for_watts_are_asked_for_each_time(family: str) -> None:
    found = invented(family)
    layout = replay(found).layout
    layout.settle(found)
    apparent = {
        cell.oid: raw * 2
        for line in layout.lines
        for cell in line.cells
        if cell.column.quantity == "apparent_power_va" and isinstance(raw := found.get(cell.oid), int)
    }
    between = {oid: apparent.get(oid, found[oid]) for oid in layout.fast}
    again = layout.read(layout.with_steady(between))
    assert again == layout.read({**found, **apparent})
    assert again.power_w != layout.read(found).power_w


# --- Panduit ---


def test_panduit_p42d04m() -> None:
    found = recorded("panduit")
    reading = read_walk(found)
    assert (reading.model, reading.serial, reading.firmware) == tuple(
        said(found, f"19536.10.1.1.2.1.{column}.1") for column in (7, 8, 5)
    )
    assert reading.uptime_s == 206_090.0
    assert (reading.energy_counting, reading.power_resolution_w) == (Counting.LIFETIME, 1.0)
    unit = row(reading, RowKind.UNIT, "1")
    # 4.48 A is the sum over three phases and no current: not told
    assert (unit.apparent_power_va, unit.power_factor, unit.frequency_hz, unit.current_a) == (1022.0, 0.93, 50.0, None)
    # six breakers, their names end in NUL; six rows behind them are padding
    assert told(
        reading, RowKind.BANK, "name", "power_w", "current_a", "voltage_v", "power_factor", "phase", "is_on"
    ) == [
        ("1", "B3", 427.0, 1.93, 229.7, 0.94, "L1", True),
        ("2", "B4", 0.0, 0.0, 230.5, 1.0, "L2", True),
        ("3", "B5", 436.0, 2.0, 228.2, 0.95, "L3", True),
        ("4", "B6", 29.0, 0.16, 228.5, 0.81, "L1", True),
        ("5", "B7", 7.0, 0.13, 230.7, 0.24, "L2", True),
        ("6", "B8", 56.0, 0.26, 228.6, 0.93, "L3", True),
    ]
    first = row(reading, RowKind.BANK, "1")
    assert (first.current_limit_a, first.apparent_power_va, kwh(first)) == (16.0, 454.0, 77.384)
    assert rows(reading, RowKind.OUTLET) == []


def test_panduit_p32g13m_has_one_outlet_and_one_row_of_padding() -> None:
    found = recorded("panduit_g5-p32g13m")
    reading = read_walk(found)
    assert (reading.model, reading.firmware, reading.serial) == ("P32G13M", "3.3.6", None)
    fields = ("name", "power_w", "current_a", "current_limit_a", "bank", "energy_since", "is_on")
    assert told(reading, RowKind.OUTLET, *fields) == [
        ("1", "OUTLET 1", 0.0, 0.0, 16.0, "1", said(found, "19536.10.1.5.1.1.15.1.1"), None)
    ]


def test_a_panduit_chain() -> None:
    reading = read_walk(invented("panduit_g5"))
    assert (reading.power_w, reading.power_quality) == (7001.0 + 3310.0, Quality.MEASURED)
    assert told(reading, RowKind.UNIT, "name", "power_w") == [("1", "row-b-left", 7001.0), ("2", "row-b-right", 3310.0)]
    # the second unit has no lifetime counter (-1): its resettable one stands in, and the sum is only as good
    assert (kwh(reading), reading.energy_counting) == (81_234.0 + 4_321.0, Counting.RESETTABLE)
    # of the phase rows one is the neutral and two are padding
    assert told(reading, RowKind.PHASE, "power_w", "current_a", "current_limit_a") == [
        ("1", 2330.0, 10.2, 32.0),
        ("2", 2321.0, 10.1, 32.0),
        ("3", 2350.0, 10.3, 32.0),
        ("2.1", 3310.0, 13.85, 32.0),
    ]
    assert told(reading, RowKind.LINE, "current_a", "power_w") == [("4", 0.45, None)]
    # a section without a breaker overlaps the breakers: it is a group
    assert told(reading, RowKind.BANK, "phase", "is_on") == [
        ("1", "L1", True),
        ("2", "L1-L2", False),
        ("2.1", None, None),
    ]
    assert told(reading, RowKind.GROUP, "name", "power_w") == [("3", "SEC", 461.0)]


def test_panduit_outlets_and_probes() -> None:
    reading = read_walk(invented("panduit_g5"))
    assert told(reading, RowKind.OUTLET, "name", "power_w", "is_on", "bank") == [
        ("1", "miner-0201", 3241.0, True, "1"),  # 2 is on
        ("2", "miner-0202", None, False, "1"),  # 65,000 W is no outlet; 1 is off
        ("3", "OUTLET 3", 0.0, None, "2"),  # 3: it is being switched off
        ("2.1", "miner-0203", 3310.0, True, "1"),
    ]
    assert row(reading, RowKind.OUTLET, "2").gaps == (("power_w", Gap.IMPLAUSIBLE),)
    assert row(reading, RowKind.OUTLET, "3").gaps == (("is_on", Gap.SENTINEL),)
    # 23 degrees C; 104 degrees F are 40 degrees C; the humidity sensor of the second is bad
    assert told(reading, RowKind.PROBE, "name", "temperature_c", "humidity_ratio") == [
        ("1", "cold", 23.0, 0.41),
        ("2.1", "hot", 40.0, None),
    ]


# --- HPE ---


def test_hpe_second_generation() -> None:
    reading = read_walk(invented("hpe_pdu3"))
    assert (reading.model, reading.serial, reading.firmware, reading.name) == (
        "P9S99A", "SYN0000011", "2.0.0.S", "rack-17",
    )  # fmt: skip
    # plain watts, whatever the MIB says; kWh
    assert (reading.power_w, kwh(reading), reading.energy_counting) == (6601.0, 1234.0, Counting.LIFETIME)
    # the other two phases repeat the VA of the first and are not there
    assert told(reading, RowKind.PHASE, "power_w", "apparent_power_va", "voltage_v") == [("1", 6601.0, 6660.0, 229.8)]
    assert kwh(row(reading, RowKind.PHASE, "1")) == 1233.0
    assert told(reading, RowKind.BANK, "name", "power_w", "is_on", "energy_j") == [
        ("1", "B01", 3265.0, None, None),  # some firmware leaves the state at 0
        ("2", "B02", 3336.0, True, None),
    ]
    assert told(reading, RowKind.OUTLET, "name", "power_w", "is_on") == [
        ("1", "miner-0301", 3265.0, True),
        ("2", None, 0.0, False),  # ........ is no name
        ("3", "miner-0303", 3336.0, True),
        ("4", "miner-0304", None, None),
    ]
    assert kwh(row(reading, RowKind.OUTLET, "1")) == 612.0
    # 27 is whole degrees, 265 is tenths; 31 is whole per cent, 405 is tenths
    assert told(reading, RowKind.PROBE, "temperature_c", "humidity_ratio") == [("1", 27.0, 0.31), ("2", 26.5, 0.405)]


def test_hpe_first_generation_mapdu() -> None:
    found = recorded("hpe-mapdu_pdu2")
    reading = read_walk(found)
    assert (reading.model, reading.serial, reading.firmware) == tuple(
        said(found, f"232.165.1.2.{word}.0") for word in (2, 7, 3)
    )
    assert told(reading, RowKind.PHASE, "power_w", "voltage_v", "current_a", "power_factor") == [
        ("1", 97.0, 242.44, 0.535, 0.751)
    ]
    assert told(reading, RowKind.UNIT, "power_w", "frequency_hz", "power_factor") == [("0", 97.0, 50.0, 0.751)]
    assert states(reading) == (2, 6, 0)
    assert sum(outlet.power_w or 0 for outlet in rows(reading, RowKind.OUTLET)) == 91.0
    sixth = row(reading, RowKind.OUTLET, "6")  # -707 is a lagging power factor, not a missing one
    assert (sixth.name, sixth.power_w, sixth.current_a, sixth.power_factor) == (
        said(found, "232.165.7.5.1.1.2.0.6"), 77.0, 0.45, 0.707,
    )  # fmt: skip
    assert row(reading, RowKind.OUTLET, "7").power_factor == 0.573
    assert rows(reading, RowKind.PROBE) == []  # one is foreseen and not plugged in


def test_hpe_first_generation_chain_counts_from_zero() -> None:
    reading = read_walk(invented("hpe_pdu2"))
    assert (reading.power_w, reading.energy_j) == (3366.0 + 1650.0, None)  # one unit has no counter
    assert told(reading, RowKind.UNIT, "power_w", "power_factor", "energy_since") == [
        ("0", 3366.0, 0.99, "2025/03/04 05:06:07"),
        ("1", 1650.0, None, None),  # -1 is no power factor of 0.001
    ]
    assert told(reading, RowKind.PHASE, "power_factor", "current_a") == [("1", 0.99, 14.175), ("1.1", 0.971, 7.08)]
    assert told(reading, RowKind.LINE, "current_a") == [("1.2", 0.35)]
    assert told(reading, RowKind.BANK, "power_w", "is_on") == [("1", 3366.0, True)]  # the other is a section
    assert told(reading, RowKind.OUTLET, "name", "power_w", "is_on", "power_factor") == [
        ("1", "miner-0401", 3352.0, True, 0.989),
        ("2", "Outlet L1-2", 0.0, False, 0.995),
        ("3", "Outlet L1-3", 14.0, True, 0.611),
        ("1.1", "miner-0402", 1650.0, None, None),
    ]
    assert kwh(row(reading, RowKind.OUTLET, "1")) == 9870.0
    assert told(reading, RowKind.PROBE, "temperature_c", "humidity_ratio") == [("1", 25.0, 0.385)]  # 77.0 F


def test_hpe_modular_pdu() -> None:
    reading = read_walk(invented("hpe_ipdu"))
    assert (reading.model, reading.serial, reading.firmware) == ("512300-001", "SYN0000031", "2.0.30")
    # one of two cores cannot calculate (-1), and one of four load segments has a problem: no total
    assert (reading.power_w, reading.power_quality) == (None, Quality.MISSING)
    assert told(reading, RowKind.UNIT, "name", "power_w") == [("1", "ipdu-a", 6621.0), ("2", "ipdu-b", None)]
    assert told(reading, RowKind.OUTLET, "name", "power_w", "power_factor", "current_limit_a", "is_on") == [
        ("1", "miner-0501", 3260.0, 0.99, 16.0, True),
        ("2", None, 0.0, 0.0, 16.0, False),
        ("3", None, None, None, 16.0, None),
        ("2.1", "BAR#1", 1630.0, 0.98, 16.0, True),
    ]
    assert kwh(row(reading, RowKind.OUTLET, "1")) == 1234.567


def test_hpe_modular_pdu_by_its_description_alone() -> None:
    found = recorded("hpe-ipdu")
    reading = decode(recognise(packaged_profiles(), found).profile, found)
    assert (reading.model, reading.firmware, reading.rows) == ("HP Intelligent Modular PDU", "2.0.22", ())


def test_hpe_management_module_has_no_identity_and_counts_by_instance() -> None:
    reading = read_walk(recorded("hpe-pdumm"))
    assert (reading.model, reading.firmware) == ("HP PDU Management Module", "1.00.16")
    # the index columns say 0 and 1, the instances 1 and 2
    assert told(reading, RowKind.UNIT, "power_w") == [("1", 1587.0), ("2", 1137.0)]
    # three of six breakers of each are there; whole amperes
    assert told(reading, RowKind.BANK, "voltage_v", "current_a", "current_resolution_a", "power_w") == [
        ("1", 231.0, 3.0, 1.0, None),
        ("2", 232.0, 3.0, 1.0, None),
        ("3", 231.0, 2.0, 1.0, None),
        ("2.1", 233.0, 3.0, 1.0, None),
        ("2.2", 235.0, 2.0, 1.0, None),
        ("2.3", 231.0, 1.0, 1.0, None),
    ]


def test_hpe_management_module_with_a_silent_unit() -> None:
    reading = read_walk(invented("hpe_pdumm"))
    assert told(reading, RowKind.UNIT, "name", "power_w") == [
        ("1", "feed A", 6478.0),
        ("2", "feed B", 3224.0),
        ("3", None, None),
    ]
    assert (reading.power_w, reading.serial) == (None, "SYN0000041")  # a sum without the third would be too low
    # a breaker with hundredths after all (1432) is not believed
    assert row(reading, RowKind.BANK, "2.2").gaps == (("current_a", Gap.IMPLAUSIBLE),)
    assert [bank.id for bank in rows(reading, RowKind.BANK)] == ["1", "2", "3", "2.1", "2.2"]


# --- Enlogic ---


def test_enlogic_en1814() -> None:
    found = recorded("enlogic-pdu_v2")
    reading = read_walk(found)
    # the second generation moved serial number and firmware by one
    assert (reading.model, reading.serial, reading.firmware) == tuple(
        said(found, f"38446.1.1.2.1.{column}.1") for column in (11, 12, 14)
    )
    assert told(reading, RowKind.PHASE, "power_w", "current_a", "voltage_v", "power_factor") == [
        ("1", 521.0, 2.77, 205.0, 0.91),
        ("2", 599.0, 4.72, 205.0, 0.91),
        ("3", 0.0, 3.18, 205.0, None),  # a delta leg whose watts stand on the others; 1.00 beside 0 VA is nothing
    ]
    assert told(reading, RowKind.BANK, "name", "current_a", "is_on") == [
        ("1", "B1", 2.77, True),
        ("2", "B2", 3.18, True),
        ("3", "B3", 0.0, True),
    ]
    assert row(reading, RowKind.UNIT, "1").apparent_power_va == 1222.0


def test_an_enlogic_chain_of_a_wye_and_a_delta_unit() -> None:
    reading = read_walk(invented("enlogic"))
    # the first generation: 03/05/2019 is no serial number, 2019/03/05 10:11:12 no firmware
    assert (reading.model, reading.serial, reading.firmware) == ("EN2104", "SYN0000051", "1.1.12")
    assert (reading.power_w, kwh(reading), reading.energy_counting) == (
        9930.0 + 6700.0, 12_345.6 + 6_543.2, Counting.RESETTABLE,
    )  # fmt: skip
    # delta: rows 4 to 6 are the phases, rows 1 to 3 the lines of the same load
    assert told(reading, RowKind.PHASE, "power_w", "voltage_v") == [
        ("1", 3290.0, 231.0),
        ("2", 3310.0, 230.0),
        ("3", 3330.0, 232.0),
        ("2.4", 3340.0, 400.0),
        ("2.5", 3360.0, 401.0),
        ("2.6", 0.0, 399.0),
    ]
    assert told(reading, RowKind.LINE, "current_a", "power_w", "voltage_v") == [
        ("2.1", 24.8, None, None),
        ("2.2", 14.3, None, None),
        ("2.3", 14.3, None, None),
    ]
    assert told(reading, RowKind.BANK, "phase", "is_on") == [
        ("1", "L1", True),
        ("2", "L2", True),
        ("3", "L3-L1", False),
    ]


def test_enlogic_outlets_and_sensors() -> None:
    reading = read_walk(invented("enlogic"))
    assert told(reading, RowKind.OUTLET, "name", "power_w", "is_on", "phase", "bank") == [
        ("1", "miner-0601", 3285.0, True, "L1", "1"),
        ("2", "miner-0602", 3305.0, True, "L2", "2"),
        ("3", "OUTLET 3", 0.0, False, "L3-L1", "3"),
    ]
    assert kwh(row(reading, RowKind.OUTLET, "1")) == 6501.2
    # 72.1 degrees F; a door is no probe, and one probe is lost
    assert told(reading, RowKind.PROBE, "name", "temperature_c", "humidity_ratio") == [
        ("1", "cold T", pytest.approx(22.2778, abs=1e-4), None),
        ("2", "cold RH", None, 0.38),
    ]


# --- Chatsworth ---


def test_chatsworth_rows_are_told_apart_by_the_mac_of_their_unit() -> None:
    found = recorded("chatsworth-pdu")
    reading = read_walk(found)
    assert (reading.model, reading.firmware) == (said(found, "30932.1.1.1.2.0"), said(found, "30932.1.1.1.1.0"))
    first = parse_oid("1.3.6.1.4.1.30932.1.10.1.4.10.1.4.1.12")  # names of the first outlets, by the MAC of their unit
    named = {bytes(oid[-12:]).decode(): text for oid, text in found.items() if oid[: len(first)] == first}
    right, left = sorted(named)  # two linked PDUs
    assert told(reading, RowKind.UNIT, "power_w", "power_quality") == [
        (left, 1467.0 + 1299.0 + 1027.0, Quality.ESTIMATED),
        (right, 0.0, Quality.ESTIMATED),
    ]
    # volt-amperes for watts, and below volts times amperes: 7.13 x 206.5 = 1472
    assert told(reading, RowKind.BANK, "apparent_power_va", "power_w", "current_a", "voltage_v", "energy_j") == [
        (f"{left}.1", 1467.0, 1467.0, 7.13, 206.5, None),  # its energy is VAh
        (f"{left}.2", 1299.0, 1299.0, 6.76, 205.9, None),
        (f"{left}.3", 1027.0, 1027.0, 5.07, 204.3, None),
    ]
    assert states(reading) == (60, 0, 0)
    by_unit = [[outlet for outlet in rows(reading, RowKind.OUTLET) if outlet.unit == unit] for unit in (left, right)]
    assert [len(outlets) for outlets in by_unit] == [36, 24]
    assert all(outlet.power_w is None for outlet in by_unit[0])  # not metered
    assert all(outlet.power_w == 0.0 and outlet.voltage_v == 207.2 for outlet in by_unit[1])
    assert row(reading, RowKind.OUTLET, f"{left}.1").name == str(named[left], "utf-8")
    assert kwh(row(reading, RowKind.OUTLET, f"{right}.1")) == round(64449 / 360 / 1000, 6)


def test_chatsworth_units_by_their_own_total_by_branches_and_by_outlets() -> None:
    reading = read_walk(invented("chatsworth"))
    assert (reading.model, reading.firmware) == ("P6-1D0A5", "5.3.2000.0")
    assert told(reading, RowKind.UNIT, "name", "power_w") == [
        ("000ED3000001", "row-d-left", 7012.0),
        ("000ED3000002", None, 3205.0 + 3230.0),
        ("000ED3000003", None, 3170.0 + 0.0),
    ]
    assert (reading.power_w, reading.power_quality) == (7012.0 + 6435.0 + 3170.0, Quality.ESTIMATED)
    assert told(reading, RowKind.LINE, "current_a") == [("000ED3000001.1", 30.5)]
    # 77 degrees F
    assert [(probe.name, probe.temperature_c, probe.humidity_ratio) for probe in rows(reading, RowKind.PROBE)] == [
        ("cold T", 25.0, None),
        ("cold RH", None, 0.44),
    ]
    off = row(reading, RowKind.OUTLET, "000ED3000003.2")
    assert (off.is_on, off.power_w, off.bank) == (False, 0.0, "1")


def test_a_misencoded_identity_alone_is_no_chatsworth() -> None:
    found: dict[Oid, Value] = {SYS_OBJECT_ID: parse_oid("0.10.43.6.1.4.1"), SYS_DESCR: b"something else"}
    with pytest.raises(PollError, match="unknown PDU"):
        recognise(packaged_profiles(), found)


# --- Rittal ---


def test_rittal_variables_by_their_names() -> None:
    found = recorded("rittal-cmc-iii-pu_pdu-controller")
    reading = read_walk(found)
    assert (reading.model, reading.serial, reading.firmware) == (
        "Rittal PDU", said(found, "2606.7.2.6.0"), said(found, "2606.7.2.4.0"),
    )  # fmt: skip
    assert (reading.energy_counting, reading.power_resolution_w) == (Counting.LIFETIME, 1.0)
    assert told(reading, RowKind.PHASE, "power_w", "voltage_v", "current_a", "apparent_power_va", "power_factor") == [
        ("1", 1041.0, 229.2, 4.73, 1085.0, 0.95),  # -95 with scale -100
        ("2", 1240.0, 229.1, 5.56, 1275.0, 0.97),
        ("3", 466.0, 230.3, 2.36, 544.0, 0.84),
    ]
    assert [kwh(phase) for phase in rows(reading, RowKind.PHASE)] == [999.1, 1170.5, 472.2]
    assert told(reading, RowKind.LINE, "current_a") == [("Neutral", 3.11)]
    assert row(reading, RowKind.UNIT, "2").frequency_hz == 50.0
    assert states(reading) == (30, 0, 0)
    first, last = row(reading, RowKind.OUTLET, "1"), row(reading, RowKind.OUTLET, "30")
    assert (first.name, first.phase, first.bank, first.power_w) == ("Socket 01", "L1", "L1_F1", None)
    assert (last.name, last.phase, last.bank) == ("Socket 30", "L3", "L3_F2")


def test_two_rittal_pdus_behind_one_controller() -> None:
    reading = read_walk(invented("rittal_cmc3"))
    # the second tells tenths where the first tells whole watts: the scale is the device's word
    assert told(reading, RowKind.UNIT, "name", "power_w") == [("2", "PDU-MAN", 6651.0), ("3", "PDU-MET", 332.0)]
    assert (reading.power_w, kwh(reading)) == (6983.0, 12_345.6 + 17.0)
    # quality 22, 21 and 1: the variables of L3 have no value
    assert told(reading, RowKind.PHASE, "power_w", "voltage_v", "current_a") == [
        ("1", 3310.0, 229.2, 14.6),
        ("2", 3341.0, 230.0, 14.7),
        ("3", None, None, None),
        ("3.1", 332.0, None, None),
    ]
    assert told(reading, RowKind.OUTLET, "name", "is_on", "phase", "bank") == [
        ("1", "miner-0801", True, "L1", "L1_F1"),
        ("2", "Socket 02", False, "L2", "L2_F2"),
        ("10", "Socket 10", None, None, "none"),  # nobody knows what relay 3 is
        ("3.1", None, None, None, None),
    ]


@pytest.mark.parametrize("descr", [b"Rittal LCP SN 1 HW REV.0404 - SW V3", b"Rittal CMC III PU"])
def test_other_devices_of_rittal_are_no_pdus(descr: bytes) -> None:
    found: dict[Oid, Value] = {SYS_OBJECT_ID: parse_oid("1.3.6.1.4.1.2606.7"), SYS_DESCR: descr}
    with pytest.raises(PollError, match="unknown PDU"):
        recognise(packaged_profiles(), found)
    named = {**found, parse_oid("1.3.6.1.4.1.2606.7.4.1.2.1.2.2"): b"PDU-MET"}
    assert recognise(packaged_profiles(), named).profile.id == "rittal_cmc3"


# --- Schleifenbauer and Conteg ---


def test_schleifenbauer_dpm27e_has_no_watts() -> None:
    found = recorded("schleifenbauer_dpm27e")
    reading = read_walk(found)
    assert (reading.name, reading.serial) == tuple(
        said(found, f"31034.12.1.1.2.1.1.1.{column}.1") for column in (10, 6)
    )
    assert told(reading, RowKind.PHASE, "power_w", "power_quality", "power_factor", "current_limit_a") == [
        (number, 0.0, Quality.ESTIMATED, None, 14.0) for number in ("1", "2", "3")
    ]
    outlets = rows(reading, RowKind.OUTLET)
    assert [outlet.name for outlet in outlets] == [f"channel{number}" for number in range(1, 28)]
    assert sum(outlet.power_w is not None for outlet in outlets) == 12
    assert sum(kwh(outlet) or 0 for outlet in outlets) == 935.0
    tenth, eleventh = outlets[9:11]
    assert (tenth.apparent_power_va, tenth.power_factor) == (290.0, 0.0531)
    assert (tenth.power_w, tenth.power_quality) == (15.399, Quality.ESTIMATED)  # 290 x 0.0531
    # 450 VA with a power factor of 0: that is no power factor
    assert (eleventh.power_w, eleventh.power_quality, eleventh.power_factor) == (450.0, Quality.ESTIMATED, None)
    assert rows(reading, RowKind.PROBE) == []  # two dry contacts
    assert states(reading) == (0, 0, 27)


def test_conteg_ring_of_six() -> None:
    found = recorded("conteg-pdu")
    reading = read_walk(found)
    assert told(reading, RowKind.UNIT, "name", "power_w", "power_resolution_w") == [
        (f"{n}", f"C00AR0{n}-PDU-A", watts, 10.0) for n, watts in enumerate((70.0, 400.0, 0.0, 0.0, 0.0, 0.0), 1)
    ]
    assert told(reading, RowKind.PHASE, "voltage_v", "current_a", "power_factor")[:3] == [
        ("1", 230.34, 0.38, 0.7836),
        ("2.1", 228.48, 1.99, 0.8751),
        ("3.1", 230.68, 0.0, None),  # 1.0000 where nothing flows
    ]
    outlets = rows(reading, RowKind.OUTLET)
    assert (len(outlets), sum(outlet.power_w or 0 for outlet in outlets)) == (144, 510.0)
    assert [outlet.id for outlet in outlets if outlet.power_w] == ["13", "2.1", "2.2", "2.3", "2.13", "2.14", "2.15"]
    second = row(reading, RowKind.OUTLET, "2.2")
    assert (second.name, second.power_w, second.apparent_power_va, kwh(second)) == (
        said(found, "28402.12.1.1.2.7.1.1.2.2.2"),
        280.0,
        300.0,
        651.0,
    )
    assert second.energy_wraps_j == 2**24 * JOULES_PER_KWH
    assert row(reading, RowKind.OUTLET, "13").name == said(found, "28402.12.1.1.2.7.1.1.2.1.13")


def test_a_schleifenbauer_ring_with_one_device_that_tells_no_watts() -> None:
    reading = read_walk(invented("schleifenbauer"))
    assert told(reading, RowKind.UNIT, "name", "power_w", "power_quality") == [
        ("1", "row-e-1", 3260.0 + 3280.0 + 0.0, Quality.MEASURED),
        ("2", "row-e-2", 6470.0, Quality.MEASURED),
        ("3", "row-e-3", 2290 * 0.95, Quality.ESTIMATED),
    ]
    # the sum has the worst quality of its parts
    assert (reading.power_w, reading.power_quality) == (6540.0 + 6470.0 + 2175.5, Quality.ESTIMATED)
    assert kwh(reading) == 1000 + 2000 + 3000 + 16_777_215 + 44
    assert told(reading, RowKind.OUTLET, "name", "power_w", "is_on") == [
        ("1", "min-0901", 3260.0, True),
        ("2", "min-0902", 0.0, False),
        ("2.1", "min-0903", 6470.0, True),
        ("3.1", "P01", 2290.0, None),
        ("3.2", "P02", None, None),
    ]
    assert told(reading, RowKind.PROBE, "name", "temperature_c", "humidity_ratio") == [
        ("1", "cold T", 23.5, None),
        ("2", "cold RH", None, 0.415),
    ]


# --- Gude ---


def test_gude_8031() -> None:
    found = recorded("gude-epc_8031")
    reading = read_walk(found)
    assert (reading.model, reading.firmware, reading.serial) == (
        said(found, "28507.81.1.1.2.1.0"), said(found, "28507.81.1.1.2.2.0"), None,
    )  # fmt: skip
    inlet = row(reading, RowKind.INLET, "1")
    assert (inlet.power_w, inlet.current_a, inlet.power_factor, inlet.apparent_power_va) == (18.0, 0.186, 0.424, 42.0)
    assert (inlet.voltage_v, inlet.frequency_hz, inlet.energy_counting) == (230.0, 49.99, Counting.LIFETIME)
    assert states(reading) == (5, 3, 0)
    assert [outlet.id for outlet in rows(reading, RowKind.OUTLET) if not outlet.is_on] == ["1", "6", "7"]


def test_a_gude_that_meters_its_ports() -> None:
    reading = read_walk(invented("gude_epc"))
    assert (reading.model, reading.serial, reading.name) == ("Expert Power Control 8045-1", "4711", "epc-row-f")
    # the second channel says that its data are not valid
    assert told(reading, RowKind.INLET, "name", "power_w", "power_factor") == [("1", "Line A", 3301.0, 0.998)]
    assert (reading.power_w, kwh(reading)) == (3301.0, 4_294_967.29)
    assert reading.energy_wraps_j == 2**32 * 3600
    assert told(reading, RowKind.OUTLET, "name", "power_w", "current_a", "is_on") == [
        ("1", "miner-1001", 3290.0, 14.3, True),
        ("2", "Power Port 2", 0.0, 0.0, False),
        ("3", "Power Port 3", None, None, True),
    ]
    assert told(reading, RowKind.PROBE, "temperature_c", "humidity_ratio") == [("1", 24.5, 0.455), ("2", None, None)]


def test_a_gude_without_a_valid_line_is_the_sum_of_its_ports() -> None:
    base = "28507.87.1.5"
    silent = changed(invented("gude_epc"), {f"{base}.1.2.1.2.1": 0, f"{base}.5.2.1.2.3": 1, f"{base}.5.2.1.4.3": 60})
    reading = read_walk(silent)
    assert (reading.power_w, rows(reading, RowKind.INLET)) == (3290.0 + 0.0 + 60.0, [])
    assert read_walk(changed(silent, {f"{base}.5.2.1.2.3": 0})).power_w is None


@pytest.mark.parametrize("root", [1, 43, 56, 58, 98, 112])
def test_every_model_of_gude_has_its_own_root(root: int) -> None:
    found: dict[Oid, Value] = {
        SYS_OBJECT_ID: parse_oid(f"1.3.6.1.4.1.28507.{root}"),
        parse_oid(f"1.3.6.1.4.1.28507.{root}.1.5.1.2.1.4.1"): 700,
        parse_oid("1.3.6.1.4.1.28507.81.1.5.1.2.1.4.1"): 1,  # another model's
    }
    recognition = recognise(packaged_profiles(), found)
    assert (recognition.profile.id, decode(recognition.profile, found).power_w) == ("gude_epc", 700.0)


# --- rules ---


def unit(unit_id: str, **values: Any) -> PduRow:
    return PduRow(RowKind.UNIT, unit_id, unit=unit_id, **values)


def part(kind: RowKind, unit_id: str, number: int, watts: float | None, **values: Any) -> PduRow:
    quality = Quality.MISSING if watts is None else values.pop("power_quality", Quality.MEASURED)
    return PduRow(kind, f"{unit_id}.{number}", unit=unit_id, power_w=watts, power_quality=quality, **values)


def powers(found: Sequence[PduRow]) -> list[tuple[str, float | None, Quality]]:
    return [(row.id, row.power_w, row.power_quality) for row in found if row.kind is RowKind.UNIT]


def test_units_are_the_sum_of_the_best_parts_that_all_speak() -> None:
    found = units_from_parts(
        (
            unit("a", power_w=5.0, power_quality=Quality.MEASURED),
            unit("b"),
            part(RowKind.OUTLET, "a", 1, 100.0),
            part(RowKind.PHASE, "b", 1, 10.0),
            part(RowKind.PHASE, "b", 2, None),
            part(RowKind.BANK, "b", 1, 4.0, power_quality=Quality.ESTIMATED),
            part(RowKind.BANK, "b", 2, 3.0),
            part(RowKind.OUTLET, "c", 1, None),
        ),
        (),
    )
    assert powers(found) == [
        ("a", 5.0, Quality.MEASURED),  # what a unit says of itself stands
        ("b", 7.0, Quality.ESTIMATED),  # a silent phase leaves the word to the banks; the worst quality counts
        ("c", None, Quality.MISSING),  # a unit without a row of its own gets one, and it stays silent
    ]
    assert len(found) == 3 + 6


def test_rows_without_a_unit_are_left_alone() -> None:
    rows = (PduRow(RowKind.OUTLET, "1", power_w=1.0), PduRow(RowKind.UNIT, "1", power_w=2.0))
    assert set(units_from_parts(rows, ())) == set(rows)


def test_delta_lines_lose_their_watts_only_where_the_phases_tell_them() -> None:
    wye = tuple(part(RowKind.PHASE, "1", number, 10.0) for number in (1, 2, 3))
    assert delta_phases_after_lines(wye, ()) == wye
    delta = tuple(part(RowKind.PHASE, "2", number, 10.0, current_a=1.0) for number in (1, 2, 3, 4, 5, 6))
    kinds = [(row.kind, row.power_w, row.current_a) for row in delta_phases_after_lines(wye + delta, ())]
    assert (
        kinds == [(RowKind.PHASE, 10.0, None)] * 3 + [(RowKind.LINE, None, 1.0)] * 3 + [(RowKind.PHASE, 10.0, 1.0)] * 3
    )


@pytest.mark.parametrize(
    ("bank", "phase"), [("L1_F1", "L1"), ("L3_F12", "L3"), ("none", None), ("X_F1", None), (None, None)]
)
def test_a_circuit_names_its_phase(bank: str | None, phase: str | None) -> None:
    (told,) = phase_of_circuit((PduRow(RowKind.OUTLET, "1", bank=bank),), ())
    assert told.phase == phase


# --- what the families asked of the schema ---

MADE_UP = """
id = "made_up"
{head}
[match]
sys_object_id = ["99999.1"]
{rest}
"""


def made_up(head: str = "", rest: str = "") -> Profile:
    (profile,) = parse_profile(MADE_UP.format(head=head, rest=rest))
    return profile


def test_words_for_numbers() -> None:
    profile = made_up(
        rest="""
[[tables]]
kind = "outlet"
rows = ["99999.1.1"]
columns = [{ quantity = "phase", oid = "99999.1.1", words = { 1 = "L1", 4 = "L1-L2" } }]
"""
    )
    base = parse_oid("1.3.6.1.4.1.99999.1.1")
    found: dict[Oid, Value] = {(*base, number): number for number in (1, 2, 4)}
    assert [outlet.phase for outlet in decode(profile, found).rows] == ["L1", None, "L1-L2"]


def test_an_identity_that_does_not_look_like_one_is_passed_over() -> None:
    profile = made_up(
        rest="""
[identity]
serial = ["99999.1.1.0", "99999.1.2.0", "99999.1.3.0"]
like = { serial = '^[^/]+$' }
"""
    )
    base = parse_oid("1.3.6.1.4.1.99999.1")
    found: dict[Oid, Value] = {(*base, 1, 0): b"03/05/2019", (*base, 2, 0): b"", (*base, 3, 0): 4711}
    assert decode(profile, found).serial == "4711"  # some serial numbers are INTEGER


def test_devices_of_a_table_by_names_are_told_apart_by_the_index() -> None:
    profile = made_up(
        rest="""
[[tables]]
kind = "outlet"
index = "{{unit}}.{{variable}}"
names = "99999.1.1"
columns = [{{ quantity = "power_w", oid = "99999.1.2", named = '^W(?P<number>\\d+)$' }}]
""".replace("{{", "{").replace("}}", "}")
    )
    base = parse_oid("1.3.6.1.4.1.99999.1")
    found: dict[Oid, Value] = {
        (*base, 1, 1, 7): b"W01", (*base, 2, 1, 7): 10, (*base, 1, 2, 7): b"W01", (*base, 2, 2, 7): 20,
    }  # fmt: skip
    rows = survey(profile, found).read(found).rows
    assert [(row.id, row.unit, row.power_w) for row in rows] == [("1", "1", 10.0), ("2.1", "2", 20.0)]
