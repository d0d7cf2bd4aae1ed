"""Liebert MPX, MPH and MPH2: fine and coarse columns for one number, power sources, branches and receptacles.

Values of the recorded device were read by hand from its bytes; those of the invented walk were made up with it.
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

SOURCE = "476.1.42.3.8.30.20.1"
RECEPTACLE = "476.1.42.3.8.50.20.1"


@pytest.fixture
def mph2() -> PduReading:
    return read_walk(invented("liebert"))


def test_recorded_mph2() -> None:
    found = recorded("liebert_mph2rg")
    assert family(found) == "liebert"
    reading = read_walk(found)
    assert (reading.model, reading.serial, reading.firmware) == tuple(
        said(found, f"476.1.42.3.8.30.20.1.{column}.1.1") for column in (20, 55, 60)
    )
    assert (reading.power_w, reading.power_quality, kwh(reading)) == (514.0, Quality.MEASURED, 2045.0)
    source = row(reading, RowKind.INLET, "1")
    # its power factor is 0 beside 514 W and 551 VA, which is 0.93: it says nothing
    assert (source.apparent_power_va, source.power_factor, source.current_limit_a) == (551.0, None, 16.0)
    assert source.gaps == (("power_factor", Gap.SENTINEL),)
    assert told(reading, RowKind.PHASE, "power_w", "voltage_v", "current_a", "power_factor") == [
        ("1.1", 498.0, 238.1, 2.42, 0.91),  # 238.1 and not 239 V, 2.42 and not 2.3 A
    ]
    assert told(reading, RowKind.LINE, "current_a") == [("1", 2.3)]  # the neutral
    assert told(reading, RowKind.BANK, "name", "power_w", "voltage_v", "current_a", "current_limit_a", "phase") == [
        ("1-A", said(found, "476.1.42.3.8.40.20.1.8.1.2"), 508.0, 238.5, 2.28, 16.0, "L1"),
    ]
    assert kwh(row(reading, RowKind.BANK, "1-A")) == 2045.2
    assert (states(reading), watts(reading, RowKind.OUTLET)) == ((7, 9, 0), 503.0)
    first, sixth = rows(reading, RowKind.OUTLET)[0], row(reading, RowKind.OUTLET, "1-A-6")
    assert (first.id, first.bank, first.is_on, kwh(first)) == ("1-A-1", "1-A", False, 1.0)
    assert first.name == said(found, "476.1.42.3.8.50.20.1.10.1.2.1")
    assert (sixth.power_w, sixth.current_a, sixth.voltage_v, sixth.power_factor, sixth.is_on) == (
        40.0, 0.21, 238.7, 0.78, True,
    )  # fmt: skip
    assert row(reading, RowKind.OUTLET, "1-A-15").power_w == 239.0  # 239 W of 229 VA: as the device tells it
    assert reading.warnings == ()


async def test_a_recorded_device_tells_the_same_step_by_step() -> None:
    await assert_a_device_tells_the_same(recorded("liebert_mph2rg"))
    assert_what_moves_is_asked_for(recorded("liebert_mph2rg"))


def test_mph2_is_found_and_asked_without_bulk() -> None:
    found = recognise(packaged_profiles(), invented("liebert"))
    assert (found.profile.id, found.profile.limits.bulk) == ("liebert", False)


def test_another_card_of_the_maker_is_no_pdu() -> None:
    found: dict[Oid, Value] = {SYS_OBJECT_ID: parse_oid("1.3.6.1.4.1.476.1.42"), SYS_DESCR: b"UPS card"}
    with pytest.raises(PollError, match="unknown PDU"):
        recognise(packaged_profiles(), found)


def test_mph2_unit(mph2: PduReading) -> None:
    assert (mph2.model, mph2.serial, mph2.firmware) == ("MPH2SYN", "SYNL0001", "0.5.1.2")
    assert (mph2.power_w, mph2.power_quality, kwh(mph2)) == (6420.0, Quality.MEASURED, 123_456.7)
    assert row(mph2, RowKind.INLET, "1").power_factor == 0.99
    assert told(mph2, RowKind.PHASE, "power_w", "voltage_v", "current_a", "current_resolution_a", "power_factor") == [
        ("1.1", 3212.0, 230.1, 14.12, 0.01, 0.99),
        ("1.2", 3198.0, 229.0, 13.9, 0.1, 0.99),  # only the coarse columns here
        ("1.3", 0.0, 230.5, 0.0, 0.01, None),
    ]
    assert [r.apparent_power_va for r in rows(mph2, RowKind.PHASE)] == [3249.0, 3221.0, 0.0]
    assert [r.power_factor for r in rows(mph2, RowKind.BANK)] == [0.99, 0.99]
    assert steps(mph2) == ({1.0}, {0.01, 0.1})
    assert told(mph2, RowKind.BANK, "name", "power_w", "current_a", "phase") == [
        ("1-A", "left half", 3212.0, 14.12, "L1"),
        ("1-B", None, 3198.0, 13.9, "L2"),
    ]


def test_mph2_receptacles(mph2: PduReading) -> None:
    assert told(mph2, RowKind.OUTLET, "name", "is_on", "power_w", "current_a", "voltage_v", "bank") == [
        ("1-A-1", "miner-0701", True, 3212.0, 14.12, 230.1, "1-A"),
        ("1-A-2", "P02", False, 0.0, 0.0, 230.1, "1-A"),
        ("1-B-1", "miner-0702", True, 3198.0, 13.9, 229.0, "1-B"),
        ("1-B-2", "delayed", False, 0.0, 0.0, 229.0, "1-B"),  # 3: off, waits for its delay
        ("1-B-3", "lost", None, 0.0, 0.0, 229.0, "1-B"),  # 0: unknown
    ]
    assert kwh(row(mph2, RowKind.OUTLET, "1-A-1")) == 51_234.0
    assert [r.phase for r in rows(mph2, RowKind.OUTLET)] == ["L1", "L1", "L2", "L2", "L2"]
    assert [r.power_factor for r in rows(mph2, RowKind.OUTLET)] == [0.99, None, 0.99, None, None]


@pytest.mark.parametrize(("raw", "is_on"), [(0, None), (1, False), (2, True), (3, False), (4, None), (-1, None)])
def test_mph2_states(raw: int, is_on: bool | None) -> None:
    found = changed(invented("liebert"), {f"{RECEPTACLE}.95.1.1.1": raw})
    assert row(read_walk(found), RowKind.OUTLET, "1-A-1").is_on is is_on


def test_mph2_sensors(mph2: PduReading) -> None:
    assert told(mph2, RowKind.PROBE, "name", "temperature_c", "humidity_ratio") == [
        ("1.1", "cold aisle", 23.6, None),
        ("3.1", "1-3", 30.7, None),  # nobody named it: its label
        ("1.2", "cold aisle", None, 0.412),
    ]  # and a door contact is none of ours


def test_mph2_without_watts_of_the_source_is_the_sum_of_its_lines() -> None:
    found = changed(invented("liebert"), {f"{SOURCE}.65.1.1": -1})
    assert read_walk(found).power_w == 3212.0 + 3198.0 + 0.0


def test_mph2_delta_lines_tell_watts_from_line_to_line() -> None:
    line = "476.1.42.3.8.30.40.1"
    found = changed(
        invented("liebert"),
        {f"{line}.63.1.1.1": None, f"{line}.64.1.1.1": 3333, f"{line}.19.1.1.1": None, f"{line}.20.1.1.1": None,
         f"{line}.61.1.1.1": 4001},
    )  # fmt: skip
    phase = row(read_walk(found), RowKind.PHASE, "1.1")
    assert (phase.power_w, phase.voltage_v) == (3333.0, 400.1)


async def test_an_invented_device_tells_the_same_step_by_step() -> None:
    await assert_a_device_tells_the_same(invented("liebert"))
    assert_what_moves_is_asked_for(invented("liebert"))
