"""Eaton ePDU: chains numbered from 0, total rows, groups that overlap, a power factor whose sign tells lead from lag.

Values of recorded devices were read by hand from their bytes; those of the invented walk were made up with it.
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
from collectors.pdus.snmp import SYS_DESCR, SYS_OBJECT_ID, Oid, Value, parse_oid
from fleet.readings import Counting, Gap, PduReading, Quality, RowKind

WH_MODULUS_J = 2**32 * 3600.0
OUTLET_FACTOR = "534.6.6.7.6.5.1.6.0.1"
OUTLET_STATE = "534.6.6.7.6.6.1.2.0.1"


@pytest.fixture
def chain() -> PduReading:
    return read_walk(invented("eaton_epdu"))


# --- recorded devices ---


def test_recorded_single_phase_unit() -> None:
    found = recorded("eatonpdu_2")
    assert family(found) == "eaton_epdu"
    reading = read_walk(found)
    assert (reading.model, reading.serial, reading.firmware) == tuple(
        said(found, f"534.6.6.7.1.2.1.{column}.0") for column in (3, 4, 5)
    )
    # the total row of the input, 5 W below its only phase
    assert (reading.power_w, reading.power_quality, reading.power_resolution_w) == (1584.0, Quality.MEASURED, 1.0)
    assert (kwh(reading), reading.energy_counting, reading.energy_since) == (
        8185.493, Counting.RESETTABLE, said(found, "534.6.6.7.3.5.1.6.0.1"),
    )  # fmt: skip
    assert reading.energy_wraps_j == WH_MODULUS_J
    inlet = row(reading, RowKind.INLET, "1")
    assert (inlet.name, inlet.unit, inlet.power_factor, inlet.frequency_hz) == ("Feed A", "0", 0.946, 60.0)
    # -946 beside the +946 of the same load: the sign tells lead from lag
    assert told(reading, RowKind.PHASE, "name", "power_w", "voltage_v", "current_a", "power_factor") == [
        ("1.1", "L1", 1589.0, 118.45, 14.108, 0.946),
    ]
    assert row(reading, RowKind.PHASE, "1.1").current_limit_a == 16.0
    assert (states(reading), watts(reading, RowKind.OUTLET)) == ((24, 0, 0), 1568.0)
    first = row(reading, RowKind.OUTLET, "1")
    assert (first.name, first.power_w, first.current_a, first.apparent_power_va, first.power_factor) == (
        said(found, "534.6.6.7.6.1.1.3.0.1"), 80.0, 0.79, 93.0, 0.842,
    )  # fmt: skip
    assert (kwh(first), first.energy_since, first.phase, first.current_limit_a) == (
        785.621, said(found, "534.6.6.7.6.5.1.5.0.1"), "L1", 16.0,
    )  # fmt: skip
    # the OID of its parent leaves out the strapping index and points at nothing
    assert first.bank is None
    idle = row(reading, RowKind.OUTLET, "24")
    assert (idle.power_w, idle.power_factor, idle.is_on) == (0.0, 1.0, True)
    assert rows(reading, RowKind.GROUP) == rows(reading, RowKind.BANK) == rows(reading, RowKind.PROBE) == []
    assert reading.warnings == ()


async def test_a_recorded_device_tells_the_same_step_by_step() -> None:
    await assert_a_device_tells_the_same(recorded("eatonpdu_2"))
    assert_what_moves_is_asked_for(recorded("eatonpdu_2"))


def bare(identity: str, descr: bytes) -> dict[Oid, Value]:
    return {SYS_OBJECT_ID: parse_oid(f"1.3.6.1.4.1.{identity}"), SYS_DESCR: descr}


def test_recorded_mge_is_known_and_not_read() -> None:
    found = recorded("mgepdu")
    assert family(found) == "mge_pdu"
    reading = read_walk(found)
    assert (reading.power_w, reading.power_quality, reading.rows, reading.warnings) == (None, Quality.MISSING, (), ())


@pytest.mark.parametrize(
    ("identity", "profile"),
    [("705.2", "mge_pdu"), ("534.6.6.6", "eaton_older"), ("534.6.6.6.1", "eaton_older"), ("534.6.6.7", "eaton_epdu")],
)
def test_identities(identity: str, profile: str) -> None:
    assert family(bare(identity, b"ePDU")) == profile
    assert read_walk(bare(identity, b"ePDU")).power_quality is Quality.MISSING


# --- an invented chain: three phases with breakers, behind it a single phase ---


def test_chain_is_found_and_adds_up_by_inlets(chain: PduReading) -> None:
    assert family(invented("eaton_epdu")) == "eaton_epdu"
    assert (chain.model, chain.serial, chain.firmware, chain.name) == (
        "EMAB33-10", "SYNE0001", "04.03.0003", "row-b-left",
    )  # fmt: skip
    assert (chain.power_w, chain.power_quality) == (9620.0 + 3190.0, Quality.MEASURED)
    assert kwh(chain) == 3_900_246.912  # 3,900,123.456 and 123.456
    # the first unit is number 0 and keeps its printed numbers
    assert told(chain, RowKind.INLET, "unit", "name", "power_w", "power_factor", "frequency_hz") == [
        ("1", "0", "Feed A", 9620.0, 0.972, 50.0),
        ("1.1", "1", "Feed B", 3190.0, 0.982, 50.0),
    ]
    assert [r.energy_since for r in rows(chain, RowKind.INLET)] == ["1690000000", None]  # 0: never set back


def test_neither_the_total_nor_the_neutral_is_a_phase(chain: PduReading) -> None:
    assert told(chain, RowKind.PHASE, "name", "power_w", "voltage_v", "current_a", "power_factor") == [
        ("1.1", "L1", 3212.0, 230.1, 14.12, 0.989),
        ("1.2", "L2", 3198.0, 229.9, 14.01, None),  # -1
        ("1.3", "L3", 3201.0, 230.4, 13.95, None),  # 0
        ("1.1.1", None, None, 230.8, 13.99, None),  # of the second unit: it meters no watts by phase
    ]


def test_phases_have_volt_amperes_and_counters(chain: PduReading) -> None:
    assert [(r.apparent_power_va, kwh(r)) for r in rows(chain, RowKind.PHASE)] == [
        (3249.0, 1200.0), (3221.0, 1210.0), (3214.0, 1190.0), (None, None),
    ]  # fmt: skip


def test_breakers_are_banks_and_everything_else_is_a_group(chain: PduReading) -> None:
    assert told(chain, RowKind.BANK, "name", "is_on", "power_w", "current_a", "current_limit_a") == [
        ("A", "Breaker A", True, 3212.0, 14.12, 16.0),
        ("B", "Breaker B", False, 0.0, 0.0, 16.0),
    ]
    assert told(chain, RowKind.GROUP, "name", "power_w") == [("C", "Section A", 3212.0), ("U", "all miners", 9600.0)]
    assert [kwh(r) for kind in (RowKind.BANK, RowKind.GROUP) for r in rows(chain, kind)] == [
        55.555, 44.444, 55.0, 99.999,
    ]  # fmt: skip
    assert steps(chain) == ({1.0}, {0.001})


def test_outlets(chain: PduReading) -> None:
    assert told(chain, RowKind.OUTLET, "name", "is_on", "power_w", "current_a", "phase", "bank") == [
        ("1", "miner-0501", True, 3212.0, 14.12, "L1", "A"),
        ("2", "Outlet A2", False, 0.0, 0.0, "L2", "B"),
        ("3", "going off", None, 0.0, 0.005, "L3", "A"),  # 2: on its way
        ("4", "no meter", None, None, None, None, None),
        ("1.1", "miner-0502", True, 3190.0, 13.99, "L1", None),
    ]
    first = row(chain, RowKind.OUTLET, "1")
    assert (first.voltage_v, first.apparent_power_va, kwh(first), first.energy_wraps_j) == (
        230.1, 3249.0, 5123.4, WH_MODULUS_J,
    )  # fmt: skip
    assert dict(row(chain, RowKind.OUTLET, "4").gaps) == dict.fromkeys(
        ("is_on", "power_w", "current_a", "voltage_v", "apparent_power_va", "power_factor", "energy_j"), Gap.SENTINEL
    )


def test_probes(chain: PduReading) -> None:
    assert told(chain, RowKind.PROBE, "name", "temperature_c", "humidity_ratio") == [
        ("1", "probe 0.1", 24.1, 0.402),
        ("1.1", "probe 1.1", 24.0, None),  # 75.2 °F: each unit has its own scale
    ]  # the second of the first unit is not connected
    frosty = read_walk(changed(invented("eaton_epdu"), {"534.6.6.7.7.1.1.4.0.1": -52}))
    assert row(frosty, RowKind.PROBE, "1").temperature_c == -5.2


@pytest.mark.parametrize(
    ("raw", "factor", "gap"),
    [
        (-842, 0.842, None),
        (842, 0.842, None),
        (1000, 1.0, None),
        (-1000, 1.0, None),
        (2, 0.002, None),
        (-1, None, Gap.SENTINEL),
        (0, None, Gap.SENTINEL),
        (1, None, Gap.SENTINEL),
        (1001, None, Gap.IMPLAUSIBLE),
        (-1001, None, Gap.IMPLAUSIBLE),
    ],
)
def test_power_factor(raw: int, factor: float | None, gap: Gap | None) -> None:
    found = row(read_walk(changed(invented("eaton_epdu"), {OUTLET_FACTOR: raw})), RowKind.OUTLET, "1")
    assert (found.power_factor, dict(found.gaps).get("power_factor")) == (factor, gap)


@pytest.mark.parametrize(("raw", "is_on"), [(0, False), (1, True), (2, None), (3, None), (4, None), (-1, None)])
def test_states(raw: int, is_on: bool | None) -> None:
    found = changed(invented("eaton_epdu"), {OUTLET_STATE: raw})
    assert row(read_walk(found), RowKind.OUTLET, "1").is_on is is_on


def test_a_total_with_a_silent_unit_is_missing_or_the_sum_of_the_phases() -> None:
    found = changed(invented("eaton_epdu"), {"534.6.6.7.3.5.1.4.1.1": -1})
    assert read_walk(found).power_w is None
    found = changed(found, {"534.6.6.7.3.4.1.4.1.1.1": 3188})
    assert read_walk(found).power_w == 3212.0 + 3198.0 + 3201.0 + 3188.0


async def test_an_invented_device_tells_the_same_step_by_step() -> None:
    await assert_a_device_tells_the_same(invented("eaton_epdu"))
    assert_what_moves_is_asked_for(invented("eaton_epdu"))
