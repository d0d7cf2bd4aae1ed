"""APC, Dell, CyberPower, Tripp Lite, Digipower, Aten, Powertek: every recorded unit, and an invented one per family.

The numbers were worked out by hand from the bytes; where a number is disputed the test says why it is this one. The
recordings are outside the repository; the invented walks (`synthetic_*.snmprec`) hold the oddities of a family in its
real layout, so that it is tested without them too.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdu_walks import said, without_second_unit
from udp_agent import Honest, UdpAgent

from collectors.pdus.device import SnmpPdu
from collectors.pdus.layout import decode, survey
from collectors.pdus.matching import recognise
from collectors.pdus.profile import packaged_profiles
from collectors.pdus.snmp import SYS_DESCR, SYS_OBJECT_ID, SYS_UPTIME, Oid, Value, parse_oid
from collectors.pdus.snmprec import parse_snmprec
from fleet.ports import PollError
from fleet.readings import Counting, Gap, PduReading, PduRow, Quality, RowKind
from fleet.units import JOULES_PER_KWH

SYNTHETIC = Path(__file__).parent.parent / "captures" / "pdus"
APC = "1.3.6.1.4.1.318.1.1"
CYBERPOWER = "1.3.6.1.4.1.3808.1.1"
TRIPPLITE = "1.3.6.1.4.1.850.1.1.3.2"
ATEN = "1.3.6.1.4.1.21317.1.3.2.2.2"

RECORDED = {
    "apc_ap7900b": "apc_rpdu2",
    "apc_ap7998b": "apc_rpdu1",  # says `APC SNMP Agent` and no more
    "apc_ap8853": "apc_rpdu2",
    "apc_ap8959eu3": "apc_rpdu2",
    "apc_isx-pdu": "apc_isx",
    "apc_masterswitch2": "apc_masterswitch",
    "apc_switched-rack": "apc_masterswitch",  # says `APC MasterSwitch PDU` and no more
    "apc-epdu_epdu1116s": "apc_epdu",
    "atenpdu": "aten",
    "cyberpower_pdu81005": "cyberpower_epdu2",
    "dell-rpdu": "dell_rpdu",
    "digipower": "digipower",
    "poweralert_pdu": "tripplite",
    "ts-bspdu": "ts_bspdu",
}
INVENTED = (
    "apc_rpdu1", "apc_rpdu2", "apc_epdu", "apc_masterswitch", "apc_isx", "dell_rpdu", "cyberpower_epdu",
    "cyberpower_epdu2", "tripplite", "digipower", "aten", "ts_bspdu",
)  # fmt: skip
GENEROUS_S = 30.0
MEASURED, ESTIMATED, MISSING = Quality.MEASURED, Quality.ESTIMATED, Quality.MISSING


@pytest.fixture(scope="module")
def pdu_captures() -> Path:
    """Recorded PDUs; their licence keeps them outside the repository."""
    root = Path(__file__).parent.parent.parent
    folder = Path(os.environ.get("HASHWATT_CAPTURES") or root.parent / "shared" / "captures") / "pdus"
    if not folder.is_dir():
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(f"REQUIRE_PEERS=1 and no recorded PDUs at {folder}", pytrace=False)
        pytest.skip(f"no recorded PDUs at {folder}: name the folder above it in HASHWATT_CAPTURES")
    return folder


def recorded(folder: Path, name: str) -> dict[Oid, Value]:
    return parse_snmprec((folder / f"{name}.snmprec").read_text("utf-8"), name)


def invented(name: str) -> dict[Oid, Value]:
    return parse_snmprec((SYNTHETIC / f"synthetic_{name}.snmprec").read_text("utf-8"), name)


def read(found: dict[Oid, Value]) -> PduReading:
    return decode(recognise(packaged_profiles(), found).profile, found)


def change(found: dict[Oid, Value], oid: str, value: Value | None) -> None:
    """Another answer below an OID (None: no answer) in place of what the walk holds there."""
    column = parse_oid(oid)
    for known in [known for known in found if known[: len(column)] == column]:
        del found[known]
    if value is not None:
        found[column] = value


def rows(reading: PduReading, kind: RowKind) -> list[PduRow]:
    return [row for row in reading.rows if row.kind is kind]


def row(reading: PduReading, kind: RowKind, row_id: str) -> PduRow:
    (found,) = (row for row in rows(reading, kind) if row.id == row_id)
    return found


def power(reading: PduReading) -> tuple[float | None, Quality, float | None]:
    """Watts of the unit, how good they are, and their step; a product of floats is rounded like a person would."""
    watts, step = reading.power_w, reading.power_resolution_w
    return (
        None if watts is None else round(watts, 3),
        reading.power_quality,
        None if step is None else round(step, 3),
    )


def kwh(energy_j: float | None) -> float | None:
    return None if energy_j is None else round(energy_j / JOULES_PER_KWH, 4)


def states(reading: PduReading) -> list[bool | None]:
    return [outlet.is_on for outlet in rows(reading, RowKind.OUTLET)]


def outlet_watts(reading: PduReading) -> float:
    return round(sum(outlet.power_w or 0.0 for outlet in rows(reading, RowKind.OUTLET)), 3)


# --- all of them ---


@pytest.mark.parametrize(("name", "profile"), RECORDED.items())
def test_real_units_are_found(pdu_captures: Path, name: str, profile: str) -> None:
    assert recognise(packaged_profiles(), recorded(pdu_captures, name)).profile.id == profile


@pytest.mark.parametrize("name", INVENTED)
def test_invented_units_are_found(name: str) -> None:
    assert recognise(packaged_profiles(), invented(name)).profile.id == name


def test_no_other_recorded_unit_is_taken_for_one_of_these(pdu_captures: Path) -> None:
    others = [path.stem for path in pdu_captures.glob("*.snmprec") if path.stem not in RECORDED]
    assert len(others) == 24
    for name in others:
        assert recognise(packaged_profiles(), recorded(pdu_captures, name)).profile.id not in INVENTED


def polled_again(found: dict[Oid, Value]) -> tuple[PduReading, PduReading, int]:
    """What a full read gives, what a fast one does, and how many objects the fast one asks for."""
    layout = survey(recognise(packaged_profiles(), found).profile, found)
    layout.settle(found)
    return (
        layout.read(found),
        layout.read(layout.with_steady({oid: found[oid] for oid in layout.fast if oid in found})),
        len(layout.fast),
    )


@pytest.mark.parametrize("name", INVENTED)
def test_a_fast_read_of_an_invented_unit_is_a_full_one(name: str) -> None:
    full, fast, asked = polled_again(invented(name))
    assert fast == full
    assert asked < len(invented(name))


@pytest.mark.parametrize("name", RECORDED)
def test_a_fast_read_of_a_real_unit_is_a_full_one(pdu_captures: Path, name: str) -> None:
    full, fast, _ = polled_again(recorded(pdu_captures, name))
    assert fast == full


@pytest.mark.parametrize("name", INVENTED)
async def test_a_unit_on_the_wire_reads_like_its_walk(name: str) -> None:
    async with UdpAgent(Honest(invented(name))) as agent:
        pdu = SnmpPdu("127.0.0.1", agent.port, GENEROUS_S)
        seen = [await pdu.read(), await pdu.read()]
        await pdu.aclose()
    assert [replace(reading, engine="") for reading in seen] == [read(invented(name))] * 2


@settings(max_examples=60)
@given(data=st.data())
def test_no_value_makes_a_reading_fail(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(INVENTED))
    found = invented(name)
    (profile,) = (profile for profile in packaged_profiles() if profile.id == name)
    values = st.integers() | st.binary(max_size=20) | st.lists(st.integers(0, 9), max_size=5).map(tuple) | st.none()
    for oid in data.draw(st.lists(st.sampled_from(sorted(found)), max_size=30)):
        value = data.draw(values)
        if value is None:
            found.pop(oid, None)
        else:
            found[oid] = value
    reading = decode(profile, found)
    for one in reading.rows:
        assert one.power_w is None or 0 <= one.power_w <= 1_000_000
        assert one.name is None or (one.name.isprintable() and len(one.name) <= 64)
        assert (one.power_w is None) == (one.power_quality is MISSING)
    keys = [(one.kind, one.id) for one in reading.rows]
    assert len(keys) == len(set(keys))


# --- APC that says nothing of its family ---


def bare(descr: str, *answers: str) -> dict[Oid, Value]:
    found: dict[Oid, Value] = {parse_oid(oid): 1 for oid in answers}
    return found | {SYS_OBJECT_ID: parse_oid("1.3.6.1.4.1.318"), SYS_DESCR: descr.encode()}


@pytest.mark.parametrize(
    ("descr", "answers", "expected"),
    [
        ("APC Switched Rack PDU", (), "apc_rpdu1"),
        ("APC Metered Rack PDU", (), "apc_rpdu1"),
        ("APC SNMP Agent", (), "apc_rpdu1"),
        ("APC MasterSwitch PDU", (), "apc_masterswitch"),
        # what answers goes before the description; of several trees the richest, as real units answer them all
        ("APC Web/SNMP Management Card", (f"{APC}.4.1.4.0",), "apc_masterswitch"),
        ("APC Web/SNMP Management Card", (f"{APC}.4.1.4.0", f"{APC}.12.1.5.0"), "apc_rpdu1"),
        ("APC Web/SNMP Management Card", (f"{APC}.12.1.5.0", f"{APC}.26.4.3.1.5.1"), "apc_rpdu2"),
        ("APC Web/SNMP Management Card", (f"{APC}.12.1.5.0", f"{APC}.30.2.1.1.4.1"), "apc_epdu"),
        ("APC Web/SNMP Management Card", (), None),  # a UPS says the same
    ],
)
def test_a_bare_identity_asks_for_more(descr: str, answers: tuple[str, ...], expected: str | None) -> None:
    if expected is None:
        with pytest.raises(PollError, match="unknown PDU"):
            recognise(packaged_profiles(), bare(descr, *answers))
    else:
        assert recognise(packaged_profiles(), bare(descr, *answers)).profile.id == expected


@pytest.mark.parametrize("name", ["apc_ap7998b", "apc_switched-rack"])
def test_a_unit_that_says_only_its_name_has_no_numbers(pdu_captures: Path, name: str) -> None:
    reading = read(recorded(pdu_captures, name))
    assert power(reading) == (None, MISSING, None)
    assert (reading.energy_j, reading.rows) == (None, ())


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ("318.1.3.4.6", "apc_rpdu2"), ("318.1.3.4.8", "apc_rpdu2"), ("318.1.3.4.5", "apc_rpdu1"),
        ("318.1.3.4.4", "apc_rpdu1"), ("318.1.3.4.9", "apc_epdu"), ("318.1.3.4.2", "apc_masterswitch"),
        ("318.1.3.15", "apc_isx"), ("674.10903.200.3.1", "dell_rpdu"), ("3808.1.1.6", "cyberpower_epdu2"),
        ("42610.1.4.4", "ts_bspdu"),
    ],
)  # fmt: skip
def test_an_identity_of_its_own_is_enough(identity: str, expected: str) -> None:
    found: dict[Oid, Value] = {SYS_OBJECT_ID: parse_oid(f"1.3.6.1.4.1.{identity}")}
    assert recognise(packaged_profiles(), found).profile.id == expected


@pytest.mark.parametrize(
    ("identity", "descr"),
    [
        ("850.1.1.1", "PowerAlert"),  # a UPS and a PDU with PowerAlert say the same; the device table tells
        ("3808.1.1.3", "Power Management Card"),  # a UPS
        ("3808.1.1.1", "UPS SNMP Card"),
        ("318.1.3.27", "APC Web/SNMP Management Card"),
    ],
)
def test_a_ups_is_no_pdu(identity: str, descr: str) -> None:
    with pytest.raises(PollError, match="unknown PDU"):
        recognise(packaged_profiles(), {SYS_OBJECT_ID: parse_oid(f"1.3.6.1.4.1.{identity}"), SYS_DESCR: descr.encode()})


# --- APC rPDU2, and what AP79xxB adds to it ---


def test_ap8853_whole(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "apc_ap8853")
    reading = read(found)
    assert power(reading) == (1140.0, MEASURED, 10.0)
    assert (kwh(reading.energy_j), reading.energy_since) == (3512.8, said(found, "318.1.1.26.4.3.1.10.1"))
    unit = row(reading, RowKind.UNIT, "1")
    assert (unit.name, unit.apparent_power_va, unit.power_factor) == (said(found, "318.1.1.26.4.3.1.3.1"), 1190.0, 0.96)
    (phase,) = rows(reading, RowKind.PHASE)
    assert (phase.current_a, phase.voltage_v, phase.power_w, phase.power_factor) == (4.9, 242.0, 1140.0, 0.96)
    assert phase.current_limit_a == 32.0  # of the older tree; the recording lacks the newer one's
    # 49, 0, 47 in the older load table: the row of bank 0 is the phase, and its load is not counted again
    assert [(bank.id, bank.current_a) for bank in rows(reading, RowKind.BANK)] == [("1", 0.0), ("2", 4.7)]


def test_ap8959_whole(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "apc_ap8959eu3")
    reading = read(found)
    assert power(reading) == (270.0, MEASURED, 10.0)
    unit = row(reading, RowKind.UNIT, "1")
    assert (unit.name, unit.apparent_power_va, unit.power_factor) == (said(found, "318.1.1.26.4.3.1.3.1"), 300.0, 0.82)
    (phase,) = rows(reading, RowKind.PHASE)
    assert (phase.power_w, phase.current_a, phase.voltage_v, phase.current_limit_a) == (250.0, 1.3, 231.0, 16.0)
    # 2 is off in the tree that this unit answers, and on in the one that it does not
    assert [outlet.id for outlet in rows(reading, RowKind.OUTLET) if outlet.is_on is False] == ["23"]
    assert states(reading).count(True) == 23
    assert row(reading, RowKind.OUTLET, "18").name == "18"
    assert rows(reading, RowKind.PROBE) == rows(reading, RowKind.BANK) == []


def test_ap7900b_whole(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "apc_ap7900b")
    reading = read(found)
    # 312 W = 2.6 A x 120 V x 1.00, made by the PDU from a configured voltage: 0.1 A is more than 10 W
    assert power(reading) == (312.0, ESTIMATED, 24.0)
    assert reading.energy_j is None
    assert "total.energy_j.missing" in reading.warnings
    unit = row(reading, RowKind.UNIT, "1")
    assert (unit.name, unit.power_w, unit.power_quality) == (said(found, "318.1.1.26.4.3.1.3.1"), None, MISSING)
    assert ("power_w", Gap.SENTINEL) in unit.gaps
    assert ("energy_j", Gap.SENTINEL) in unit.gaps
    (phase,) = rows(reading, RowKind.PHASE)
    assert (phase.current_a, phase.voltage_v, phase.current_limit_a) == (2.7, None, 12.0)  # 120 V are not measured
    assert states(reading) == [True] * 8
    assert row(reading, RowKind.OUTLET, "2").name == said(found, "318.1.1.4.4.2.1.4.2")


def test_where_no_voltage_is_configured_the_older_watts_are_measured() -> None:
    found = without_second_unit(invented("apc_rpdu2"))
    change(found, f"{APC}.26.4.3.1.5", None)
    found[parse_oid(f"{APC}.26.4.3.1.5.1")] = -1
    assert power(read(found)) == (11_340.0, ESTIMATED, 24.0)
    found[parse_oid(f"{APC}.12.1.15.0")] = -1
    assert power(read(found)) == (11_340.0, MEASURED, 24.0)


def test_the_banks_of_the_older_tree_stand_in_only_where_the_newer_has_none() -> None:
    found = invented("apc_rpdu2")
    for index, (bank, amperes) in enumerate([(0, 305), (1, 150), (2, 155)], start=1):
        found[parse_oid(f"{APC}.12.2.3.1.1.5.{index}")] = bank
        found[parse_oid(f"{APC}.12.2.3.1.1.2.{index}")] = amperes
    reading = read(found)
    assert [(bank.id, bank.current_a) for bank in rows(reading, RowKind.BANK)] == [("1", 15.2), ("2", 15.3)]
    assert "bank.duplicate_row" not in reading.warnings
    change(found, f"{APC}.26.8", None)
    assert [(bank.id, bank.current_a) for bank in rows(read(found), RowKind.BANK)] == [("1", 15.0), ("2", 15.5)]


def test_frost_is_no_sentinel() -> None:
    found = invented("apc_rpdu2")
    (probe,) = (oid for oid in found if oid[:-1] == parse_oid(f"{APC}.26.10.2.2.1.6") and found[oid] == 2)
    temperature = parse_oid(f"{APC}.26.10.2.2.1.8.{probe[-1]}")
    found[temperature] = -123
    assert rows(read(found), RowKind.PROBE)[0].temperature_c == -12.3
    found[temperature] = -1  # not available
    assert rows(read(found), RowKind.PROBE)[0].temperature_c is None


# --- APC rPDU1: phases, then banks ---


def phases_and_banks(reading: PduReading) -> tuple[list[tuple[str, float | None]], list[tuple[str, float | None]]]:
    return (
        [(phase.id, phase.current_a) for phase in rows(reading, RowKind.PHASE)],
        [(bank.id, bank.current_a) for bank in rows(reading, RowKind.BANK)],
    )


PHASES = [("1", 30.1), ("2", 28.8), ("3", 31.2)]
BANKS = [("1", 16.1), ("2", 15.2), ("3", 14.9)]


def test_rpdu1() -> None:
    reading = read(invented("apc_rpdu1"))
    assert (reading.model, reading.serial, reading.firmware, reading.name) == (
        "AP7866", "SYN000000002", "v3.7.4", "rack b",
    )  # fmt: skip
    assert power(reading) == (10_270.0, ESTIMATED, 24.0)
    assert reading.energy_j is None
    unit = row(reading, RowKind.UNIT, "1")
    assert (unit.apparent_power_va, unit.power_factor) == (10_810.0, 0.95)
    assert phases_and_banks(reading) == (PHASES, BANKS)
    assert [phase.current_limit_a for phase in rows(reading, RowKind.PHASE)] == [48.0, 48.0, 48.0]
    assert [bank.current_limit_a for bank in rows(reading, RowKind.BANK)] == [16.0, 16.0, 20.0]
    assert [
        (one.id, one.name, one.phase, one.bank, one.current_a, one.is_on) for one in rows(reading, RowKind.OUTLET)
    ] == [
        ("1", "miner-0101", "1", "1", 13.5, True),
        ("2", "miner-0102", "2", "2", 13.7, True),
        ("3", "Outlet 3", "3", "3", 0.0, False),
        ("4", "Outlet 4", "2-3", "3", None, None),  # state 7 is neither on nor off
    ]
    assert reading.warnings == ("outlet.is_on.implausible",)


def test_a_control_stands_in_for_a_state_that_is_not_told() -> None:
    found = invented("apc_rpdu1")
    change(found, f"{APC}.12.3.5", None)
    for tree, states_told in (("4.4.2.1.3", (2, 2, 4)), ("12.3.3.1.1.4", (1, 2, 3))):
        for outlet, told in enumerate(states_told, start=1):
            found[parse_oid(f"{APC}.{tree}.{outlet}")] = told
        expected = [False, False, None] if tree == "4.4.2.1.3" else [True, False, None]
        assert states(read(found)) == expected


def test_without_bank_numbers_the_count_tells_the_phases() -> None:
    found = invented("apc_rpdu1")
    change(found, f"{APC}.12.2.3.1.1.5", None)
    change(found, f"{APC}.12.2.3.1.1.4", None)
    assert phases_and_banks(read(found)) == (PHASES, BANKS)
    change(found, f"{APC}.12.2.1.2.0", None)  # another object holds the same count
    assert phases_and_banks(read(found)) == (PHASES, BANKS)


def test_without_counts_the_phase_numbers_tell_the_phases() -> None:
    found = invented("apc_rpdu1")
    for oid in ("12.2.3.1.1.5", "12.2.1.2.0", "12.1.9.0"):
        change(found, f"{APC}.{oid}", None)
    assert phases_and_banks(read(found)) == (PHASES, BANKS)


def test_where_nothing_tells_they_are_banks() -> None:
    found = invented("apc_rpdu1")
    for oid in ("12.2.3.1.1.4", "12.2.3.1.1.5", "12.2.1.2.0", "12.1.9.0"):
        change(found, f"{APC}.{oid}", None)
    phases, banks = phases_and_banks(read(found))
    assert (phases, [number for number, _ in banks]) == ([], ["1", "2", "3", "4", "5", "6"])


def test_a_single_row_is_the_phase() -> None:
    found = invented("apc_rpdu1")
    for oid in ("12.2.3.1.1", "12.2.1.2.0", "12.1.9.0"):
        change(found, f"{APC}.{oid}", None)
    found[parse_oid(f"{APC}.12.2.3.1.1.2.1")] = 137
    assert phases_and_banks(read(found)) == ([("1", 13.7)], [])


def test_rpdu1_without_a_configured_voltage_measures() -> None:
    found = invented("apc_rpdu1")
    found[parse_oid(f"{APC}.12.1.15.0")] = -1
    assert power(read(found)) == (10_270.0, MEASURED, 10.0)
    found[parse_oid(f"{APC}.12.1.16.0")] = -1
    reading = read(found)
    assert power(reading) == (None, MISSING, None)
    assert "total.power_w.missing" in reading.warnings


# --- APC Easy PDU, MasterSwitch, InfraStruXure ---


def test_epdu1116s(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "apc-epdu_epdu1116s")
    reading = read(found)
    assert (reading.model, reading.serial, reading.firmware) == tuple(
        said(found, f"318.1.1.30.2.1.1.{column}.1") for column in (4, 5, 3)
    )
    assert power(reading) == (0.0, MEASURED, 1.0)  # it answers its phases only; nothing hangs on them
    assert kwh(reading.energy_j) == 332.241
    assert [(one.id, one.voltage_v, one.power_w, kwh(one.energy_j)) for one in rows(reading, RowKind.PHASE)] == [
        ("1", 0.0, 0.0, 332.241), ("2", 0.0, 0.0, 0.0), ("3", 0.0, 0.0, 0.0),
    ]  # fmt: skip


def test_an_easy_pdu_that_hides_its_identity() -> None:
    found = invented("apc_epdu")
    assert found[SYS_OBJECT_ID] == parse_oid("1.3.6.1.4.1.0")
    reading = read(found)
    assert (reading.model, reading.serial, reading.firmware) == ("EPDU1132M", "SYN0000000003", "Ver12.10")
    assert power(reading) == (6543.0, MEASURED, 1.0)  # its own total, not the 6540 W of the phases
    assert kwh(reading.energy_j) == 7654.321
    unit = row(reading, RowKind.UNIT, "1")
    assert (unit.apparent_power_va, unit.power_factor, unit.frequency_hz) == (6700.0, 0.976, 49.98)
    phase = row(reading, RowKind.PHASE, "1")
    assert (phase.voltage_v, phase.current_a, phase.power_w, phase.power_factor) == (230.4, 29.08, 6540.0, 0.976)
    assert phase.current_limit_a == 32.0
    assert row(reading, RowKind.PHASE, "2").power_factor is None  # -1
    assert states(reading) == [True, False, None]  # the control beside it says the opposite; a row of -1 is none
    assert [(one.temperature_c, one.humidity_ratio) for one in rows(reading, RowKind.PROBE)] == [(-5.2, 0.455)]
    change(found, f"{APC}.30.2.1.1.7.1", -1)
    assert power(read(found)) == (6540.0, MEASURED, 1.0)


def test_a_real_masterswitch_has_states_and_no_power(pdu_captures: Path) -> None:
    reading = read(recorded(pdu_captures, "apc_masterswitch2"))
    assert (reading.model, reading.firmware) == ("AP9606", "v2.2.5.a")  # of its description
    assert power(reading) == (None, MISSING, None)
    assert reading.warnings == ()  # it has no meter: nothing is missing
    assert states(reading) == [True, False, False, True, False, True, True, True]


def test_masterswitch() -> None:
    reading = read(invented("apc_masterswitch"))
    assert (reading.model, reading.serial, reading.firmware) == ("AP9212", "SYN000000004", "v2.2.5")
    assert [(one.name, one.is_on) for one in rows(reading, RowKind.OUTLET)] == [
        ("miner-0201", True), ("miner-0202", False), ("Outlet 3", None), ("Outlet 4", None),
    ]  # fmt: skip
    assert row(reading, RowKind.OUTLET, "3").gaps == (("is_on", Gap.SENTINEL),)  # 4: unknown, in its own words
    assert row(reading, RowKind.OUTLET, "4").gaps == (("is_on", Gap.IMPLAUSIBLE),)  # 3: a command


def test_a_real_isx(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "apc_isx-pdu")
    reading = read(found)
    assert power(reading) == (19_200.0, MEASURED, 100.0)
    unit = row(reading, RowKind.UNIT, "1")
    # watts above volt-amperes, as the device says: 192 and 186 hundreds, factor 100 hundredths
    assert (unit.apparent_power_va, unit.power_factor, unit.frequency_hz) == (18_600.0, 1.0, 60.0)
    assert [
        (one.power_w, one.apparent_power_va, one.current_a, one.voltage_v) for one in rows(reading, RowKind.PHASE)
    ] == [(5500.0, 5400.0, 44.9, 121.2), (7600.0, 7400.0, 61.7, 119.3), (6100.0, 5800.0, 47.9, 121.3)]
    assert [(one.name, one.is_on) for one in rows(reading, RowKind.BANK)] == [
        (said(found, f"318.1.1.15.4.1.2.1.2.{breaker}"), breaker <= 3) for breaker in range(1, 7)
    ]


def test_isx() -> None:
    found = invented("apc_isx")
    reading = read(found)
    assert power(reading) == (41_200.0, MEASURED, 100.0)
    phase = row(reading, RowKind.PHASE, "3")
    assert (phase.power_w, phase.voltage_v, phase.current_a, phase.power_factor) == (13_600.0, 231.2, 59.8, None)
    found[parse_oid(f"{APC}.15.3.4.3.0")] = -1
    assert power(read(found)) == (41_200.0, MEASURED, 100.0)  # 137 + 139 + 136 hundreds


# --- Dell ---


def test_a_real_dell(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "dell-rpdu")
    reading = read(found)
    assert (reading.model, reading.serial, reading.firmware, reading.name) == tuple(
        said(found, f"674.10903.200.2.200.{cell}.1") for cell in ("100.2.1.7", "100.2.1.8", "100.2.1.5", "110.2.1.2")
    )
    assert power(reading) == (3790.0, MEASURED, 10.0)
    assert kwh(reading.energy_j) == 63_013.9
    (phase,) = rows(reading, RowKind.PHASE)
    assert (phase.current_a, phase.voltage_v, phase.power_w) == (19.3, 205.0, 3810.0)
    outlets = rows(reading, RowKind.OUTLET)
    assert (len(outlets), outlet_watts(reading)) == (24, 3754.0)
    first, ninth = outlets[0], outlets[8]
    assert (first.name, first.power_w, first.current_a, first.current_resolution_a) == ("Outlet 1", 250.0, 1.0, 1.0)
    assert (ninth.power_w, ninth.current_a) == (57.0, 0.0)  # whole amperes are no base for watts
    assert states(reading) == [None] * 24  # column 11 of the metered table is a load state


def test_dell() -> None:
    found = invented("dell_rpdu")
    reading = read(found)
    assert power(reading) == (6540.0, MEASURED, 10.0)
    assert (kwh(reading.energy_j), reading.energy_counting) == (9876.5, Counting.RESETTABLE)
    assert row(reading, RowKind.UNIT, "1").current_limit_a == 32.0
    assert [(one.id, one.power_w, one.current_limit_a) for one in rows(reading, RowKind.PHASE)] == [
        ("1", 3350.0, 24.0), ("2", 3140.0, 24.0),
    ]  # fmt: skip
    assert [
        (one.id, one.name, one.phase, one.power_w, kwh(one.energy_j), one.is_on, one.current_limit_a)
        for one in rows(reading, RowKind.OUTLET)
    ] == [
        ("1", "miner-0301", "1", 3254.0, 4321.0, True, 16.0),
        ("2", "miner-0302", "1-2", 0.0, 12.0, False, 16.0),
        ("3", "Outlet 3", "3-1", 99.0, 0.0, None, 10.0),  # 3: unknown
    ]
    # three places for sensors: one answers, one is empty, one is lost
    assert [(one.name, one.temperature_c, one.humidity_ratio) for one in rows(reading, RowKind.PROBE)] == [
        ("cold aisle", 24.7, 0.38)
    ]
    found[parse_oid("1.3.6.1.4.1.674.10903.200.2.200.110.2.1.3.1")] = -1
    assert power(read(found)) == (6490.0, MEASURED, 10.0)  # 3350 + 3140


# --- CyberPower ---


def test_a_real_cyberpower_counts_one_load_once(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "cyberpower_pdu81005")
    reading = read(found)
    assert (reading.model, reading.serial, reading.firmware) == tuple(
        said(found, f"3808.1.1.3.1.{word}.0") for word in (5, 6, 3)
    )
    # two rows of 216 W without a word of what they are: a phase and its only bank
    assert power(reading) == (216.0, MEASURED, 1.0)
    for kind in (RowKind.PHASE, RowKind.BANK):
        (one,) = rows(reading, kind)
        assert (one.id, one.current_a, one.voltage_v, one.power_w) == ("1", 1.1, 229.0, 216.0)
    assert reading.energy_j is None  # the outlets' counters are no counter of the unit
    assert (states(reading), outlet_watts(reading)) == ([True] * 8, 220.0)
    assert [(one.power_w, one.current_a, kwh(one.energy_j)) for one in rows(reading, RowKind.OUTLET)[4:]] == [
        (82.0, 0.4, 3.1), (37.0, 0.2, 1.3), (73.0, 0.4, 2.9), (28.0, 0.3, 1.1),
    ]  # fmt: skip


def test_banks_that_miss_their_phase_leave_the_power_unknown(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "cyberpower_pdu81005")
    second = parse_oid(f"{CYBERPOWER}.3.2.3.1.1.7.2")
    found[second] = 206  # 4.6 per cent less, read a moment later
    assert power(read(found)) == (216.0, MEASURED, 1.0)
    found[second] = 200  # two phases? a phase and a half-metered bank?
    reading = read(found)
    assert power(reading) == (None, MISSING, None)
    assert [one.power_w for one in rows(reading, RowKind.BANK)] == [216.0, 200.0]


def test_a_cyberpower_chain() -> None:
    found = invented("cyberpower_epdu2")
    reading = read(found)
    assert (reading.model, reading.serial, reading.firmware, reading.name) == (
        "PDU81006", "SYN000000006", "1.4.0", "left",
    )  # fmt: skip
    assert power(reading) == (9945.0, MEASURED, 1.0)  # 3312 + 6633
    assert kwh(reading.energy_j) == 9999.9
    assert reading.energy_since is None  # two counters, two dates
    left = row(reading, RowKind.UNIT, "1")
    assert (left.apparent_power_va, left.power_factor, left.current_a, left.energy_since) == (
        3380.0, 0.98, 14.1, "2024-01-01 00:00:00",
    )  # fmt: skip
    # the load table of the first tree is there too, and says the same of the first unit once more
    assert [(one.id, one.unit, one.power_w, one.voltage_v) for one in rows(reading, RowKind.PHASE)] == [
        ("1", "1", 3312.0, 239.7), ("2.1", "2", 3305.0, 240.1), ("2.2", "2", 3328.0, 239.9),
    ]  # fmt: skip
    assert [(one.id, one.current_a, one.current_limit_a) for one in rows(reading, RowKind.BANK)] == [
        ("1", 14.1, 16.0), ("2.1", 28.0, 16.0),
    ]  # fmt: skip
    assert [(one.id, one.name, one.phase, one.power_w, one.is_on) for one in rows(reading, RowKind.OUTLET)] == [
        ("1", "miner-0401", "1", 3311.0, True), ("2", "Outlet2", "1", 0.0, False),
        ("2.1", "miner-0402", "1", 3304.0, True), ("2.2", "miner-0403", "2", 3327.0, True),
    ]  # fmt: skip
    assert [one.temperature_c for one in rows(reading, RowKind.PROBE)] == [pytest.approx((77.3 - 32) / 1.8)]
    change(found, f"{CYBERPOWER}.6.3.4.1.18", None)  # older firmware has no watts for the unit
    assert power(read(found)) == (9945.0, MEASURED, 1.0)  # 3312 + 3305 + 3328 of the phases


def test_cyberpower_of_the_first_generation() -> None:
    found = invented("cyberpower_epdu")
    reading = read(found)
    assert (reading.model, reading.serial, reading.firmware, reading.name) == (
        "PDU30SWHVT19ATNET", "SYN000000008", "1.08", "rack d",
    )  # fmt: skip
    assert power(reading) == (6538.0, MEASURED, 1.0)  # not the 6559 W of its banks on top
    assert (kwh(reading.energy_j), reading.energy_since) == (8765.4, "2023-05-01 12:00:00")
    (phase,) = rows(reading, RowKind.PHASE)
    assert (phase.current_a, phase.voltage_v, phase.apparent_power_va, phase.power_factor, phase.current_limit_a) == (
        27.4, 241.1, 6606.0, 0.99, 30.0,
    )  # fmt: skip
    assert [(one.id, one.phase, one.power_w, one.current_limit_a) for one in rows(reading, RowKind.BANK)] == [
        ("1", "1", 3318.0, 20.0), ("2", "1", 3241.0, 20.0),
    ]  # fmt: skip
    assert [
        (one.name, one.phase, one.bank, one.power_w, kwh(one.energy_j), one.is_on)
        for one in rows(reading, RowKind.OUTLET)
    ] == [
        ("miner-0501", "1", "1", 3318.0, 2000.1, True), ("miner-0502", "1", "2", 3240.0, 1999.9, True),
        ("Outlet3", "1-2", None, 0.0, 0.0, False),
    ]  # fmt: skip
    # 1.4 degrees Fahrenheit: a container in winter
    assert [(one.name, one.temperature_c, one.humidity_ratio) for one in rows(reading, RowKind.PROBE)] == [
        ("intake", -17.0, 0.61)
    ]


def test_cyberpower_without_watts_is_estimated_by_its_factor() -> None:
    found = invented("cyberpower_epdu")
    change(found, f"{CYBERPOWER}.3.2.3.1.1.7", None)
    assert power(read(found)) == (6539.94, ESTIMATED, None)  # 6606 VA x 0.99
    change(found, f"{CYBERPOWER}.3.2.3.1.1.8", None)
    # 241.1 V x 27.4 A x 0.99, in steps of 241.1 V x 0.1 A x 0.99
    assert power(read(found)) == (6540.079, ESTIMATED, 23.869)
    change(found, f"{CYBERPOWER}.3.2.3.1.1.9", None)  # volt-amperes are no watts
    assert power(read(found)) == (None, MISSING, None)


# --- Tripp Lite ---


def test_a_real_tripplite_meters_whole_amperes(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "poweralert_pdu")
    reading = read(found)
    assert reading.model == said(found, "850.1.1.1.2.1.5.1")
    # 207 W = 207.0 V x 1.00 A, and every current of the unit is 0.00 or 1.00 A
    assert power(reading) == (207.0, ESTIMATED, 207.0)
    assert reading.energy_j is None  # its "24 hour energy" is a projection
    (phase,) = rows(reading, RowKind.PHASE)
    assert (phase.voltage_v, phase.current_a, phase.current_resolution_a) == (207.0, 1.0, 1.0)
    assert (phase.frequency_hz, phase.apparent_power_va) == (59.9, 210.0)
    assert [(one.id, one.current_a, one.is_on) for one in rows(reading, RowKind.BANK)] == [
        ("1", 0.0, True), ("2", 1.0, True),
    ]  # fmt: skip
    assert states(reading) == [True] * 24
    outlet = row(reading, RowKind.OUTLET, "10")
    assert outlet.name == said(found, "850.1.1.3.2.3.3.1.1.2.1.10")
    assert (outlet.bank, outlet.phase, outlet.power_w) == ("1", "1", None)


def test_tripplite() -> None:
    found = invented("tripplite")
    reading = read(found)
    assert (reading.model, reading.serial, reading.firmware, reading.name) == (
        "PDU3XMV6L2120", "SYN000000010", "12.04.0052", "rack e",
    )  # fmt: skip
    assert power(reading) == (9870.0, MEASURED, 1.0)
    unit = row(reading, RowKind.UNIT, "1")
    assert (unit.apparent_power_va, unit.current_a, unit.temperature_c) == (10_020.0, 42.1, 31.0)
    assert [
        (one.power_w, one.voltage_v, one.current_a, one.power_factor, one.current_limit_a)
        for one in rows(reading, RowKind.PHASE)
    ] == [
        (3310.0, 208.1, 16.1, 0.98, 30.0),
        (3270.0, 207.9, 15.8, 0.985, 30.0),  # 9850: hundredths of a per cent
        (3290.0, 208.0, 15.9, 0.99, 30.0),
    ]
    assert [(one.name, one.is_on, one.phase, one.bank, one.power_w) for one in rows(reading, RowKind.OUTLET)] == [
        ("miner-0601", True, "1-2", "1", 3310.0), ("miner-0602", False, "2-3", "2", 0.0),
        ("Load 3", None, None, "3", 3290.0),
    ]  # fmt: skip
    assert [(one.id, one.phase, one.is_on, one.current_limit_a) for one in rows(reading, RowKind.BANK)] == [
        ("1", "1-2", True, 20.0), ("2", "2-3", False, 20.0), ("3", "3-1", None, 20.0),
    ]  # fmt: skip
    change(found, f"{TRIPPLITE}.2.1.1.9", None)
    assert power(read(found)) == (9870.0, MEASURED, 1.0)  # 3310 + 3270 + 3290


def test_the_precision_of_a_tripplite_goes_before_its_numbers() -> None:
    found = invented("tripplite")
    precision = parse_oid(f"{TRIPPLITE}.2.1.1.11.1")
    found[precision] = 0
    assert read(found).power_quality is ESTIMATED
    del found[precision]
    assert read(found).power_quality is MEASURED  # 16.10 A is not whole
    for currents in ("3.2.1.1.5.1", "3.3.1.1.8.1", "3.4.1.1.4.1"):
        for number in (1, 2, 3):
            found[parse_oid(f"{TRIPPLITE}.{currents}.{number}")] = 1600
    found[parse_oid(f"{TRIPPLITE}.2.1.1.16.1")] = 4200
    assert read(found).power_quality is ESTIMATED
    found[precision] = 2  # sixteen amperes sharp
    assert read(found).power_quality is MEASURED


# --- Digipower ---


def test_a_real_digipower(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "digipower")
    reading = read(found)
    assert (reading.model, reading.firmware) == (said(found, "17420.1.2.9.1.19.0"), said(found, "17420.1.2.4.0"))
    assert power(reading) == (0.0, ESTIMATED, 23.0)
    unit = row(reading, RowKind.UNIT, "1")
    assert (unit.current_a, unit.voltage_v, unit.current_limit_a) == (0.0, 230.0, 16.0)
    assert states(reading) == [True] * 24
    assert [row(reading, RowKind.OUTLET, number).name for number in ("1", "24")] == ["OutletA", "OutletX"]


def test_digipower_lists() -> None:
    found = invented("digipower")
    reading = read(found)
    # 13.8 A x 229 V + 7.2 A x 231 V, each in steps of 0.1 A; the third unit of the chain is not there
    assert power(reading) == (4823.4, ESTIMATED, 23.1)
    assert [(one.id, one.name, one.current_a) for one in rows(reading, RowKind.UNIT)] == [
        ("1", "unit 1", 13.8), ("2", "unit 2", 7.2),
    ]  # fmt: skip
    assert [(one.id, one.name, one.is_on) for one in rows(reading, RowKind.OUTLET)] == [
        ("1", "miner-0701", True), ("2", "spare-b", False), ("3", "spare-c", None), ("4", "spare-d", None),
        ("2.1", "miner-0702", True), ("2.2", "spare-b", True),
    ]  # fmt: skip
    change(found, "1.3.6.1.4.1.17420.1.2.9.1.13.0", b"1")  # fewer states than outlets
    assert states(read(found)) == [True, None, None, None, True, True]


# --- Aten ---


def test_a_real_aten(pdu_captures: Path) -> None:
    reading = read(recorded(pdu_captures, "atenpdu"))
    assert power(reading) == (759.55, MEASURED, 0.001)  # the sum of its outlets: it says nothing of itself
    assert states(reading) == [True] * 16  # of 42 rows
    outlet = row(reading, RowKind.OUTLET, "13")
    # the numbers, not the texts beside them (1.01 A, 239.00 V, 219.706 W), which are of another moment
    assert (outlet.name, outlet.current_a, outlet.voltage_v, outlet.power_w) == ("13", 0.95, 238.85, 216.226)
    assert (outlet.power_factor, outlet.current_limit_a, kwh(outlet.energy_j)) == (0.91, 18.0, 385.882)


def test_aten_of_older_firmware_says_it_in_texts(pdu_captures: Path) -> None:
    found = recorded(pdu_captures, "atenpdu")
    change(found, f"{ATEN}.2.99", None)
    reading = read(found)
    # 115.626 + 113.182 + 219.706 + 162.394 + 147.264
    assert power(reading) == (758.172, MEASURED, 0.001)
    outlet = row(reading, RowKind.OUTLET, "13")
    assert (outlet.current_a, outlet.voltage_v, outlet.power_w) == (1.01, 239.0, 219.706)
    assert kwh(outlet.energy_j) == 385.8822


def test_aten() -> None:
    found = invented("aten")
    reading = read(found)
    assert (reading.model, reading.name) == ("PE8216", "rack f")
    assert power(reading) == (5669.5, MEASURED, 0.001)
    assert kwh(reading.energy_j) == 6576.258
    unit = row(reading, RowKind.UNIT, "1")
    assert (unit.current_a, unit.voltage_v, unit.power_factor, unit.current_limit_a) == (23.65, 238.1, 0.97, 32.0)
    assert [(one.id, one.power_w) for one in rows(reading, RowKind.BANK)] == [("1", 3241.111), ("2", 2428.389)]
    # ten outlets of twelve rows; the ninth state is one OID further than it would be without the table between them
    assert states(reading) == [True, False, None, None, None, None, False, True, True, False]
    assert [(one.temperature_c, one.humidity_ratio) for one in rows(reading, RowKind.PROBE)] == [
        (24.3, 0.41), (-4.2, None),
    ]  # fmt: skip
    assert reading.warnings == ()  # states that are neither on nor off have words of their own
    change(found, f"{ATEN}.1.99", None)
    assert power(read(found)) == (5669.5, MEASURED, 0.001)  # 3241.111 + 2428.389 of the banks


def test_outlets_that_are_not_there_are_not_asked_for_again() -> None:
    found = invented("aten")
    layout = survey(recognise(packaged_profiles(), found).profile, found)
    layout.settle(found)
    assert parse_oid(f"{ATEN}.2.99.1.4.10") in layout.fast
    assert parse_oid(f"{ATEN}.2.99.1.4.11") not in layout.fast


def test_watts_from_a_typed_in_voltage_are_an_estimate() -> None:
    found = invented("aten")
    found[parse_oid(f"{ATEN}.1.1.0")] = b"EC1000"
    assert power(read(found)) == (5669.5, ESTIMATED, 0.001)


def test_rows_without_a_name_that_say_something_are_there() -> None:
    found = invented("aten")
    change(found, f"{ATEN}.2.10", None)
    assert len(rows(read(found), RowKind.OUTLET)) == 10


# --- Powertek ---


def test_a_real_bspdu(pdu_captures: Path) -> None:
    reading = read(recorded(pdu_captures, "ts-bspdu"))
    assert reading.firmware == "3.10.6"
    assert [(one.id, one.power_w, kwh(one.energy_j)) for one in rows(reading, RowKind.INLET)] == [
        ("1", 644.0, 3470.594), ("2", 690.3, 2718.495),
    ]  # fmt: skip
    assert power(reading) == (1334.3, MEASURED, 0.1)


def test_bspdu() -> None:
    reading = read(invented("ts_bspdu"))
    assert [(one.id, one.power_w, kwh(one.energy_j)) for one in rows(reading, RowKind.INLET)] == [
        ("1", 3241.0, 5123.456), ("2", 1600.5, 2345.678), ("3", 0.0, 0.017),
    ]  # fmt: skip
    assert power(reading) == (4841.5, MEASURED, 0.1)
    assert reading.uptime_s == 86_400.0
    assert invented("ts_bspdu")[SYS_UPTIME] == 8_640_000
