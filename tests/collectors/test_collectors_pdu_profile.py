"""Profiles are strictly checked data, and decoding them gives what the device's makers and owners say it means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdu_walks import said, without_second_unit

from collectors.pdus.layout import decode, survey
from collectors.pdus.matching import recognise, shortlist
from collectors.pdus.profile import Profile, ProfileError, load_profiles, packaged_profiles, parse_profile
from collectors.pdus.snmp import SYS_DESCR, SYS_OBJECT_ID, Oid, Value, parse_oid
from collectors.pdus.snmprec import parse_snmprec
from fleet.ports import PollError
from fleet.readings import PduReading, PduRow, Quality, RowKind
from fleet.units import JOULES_PER_KWH

SYNTHETIC = Path(__file__).parent.parent / "captures" / "pdus" / "synthetic_apc_rpdu2.snmprec"
OUTLET_W = "1.3.6.1.4.1.318.1.1.26.9.4.3.1.7"


@pytest.fixture(scope="module")
def rpdu2() -> Profile:
    return next(profile for profile in packaged_profiles() if profile.id == "apc_rpdu2")


@pytest.fixture
def synthetic() -> dict[Oid, Value]:
    return parse_snmprec(SYNTHETIC.read_text("utf-8"))


def row(reading: PduReading, kind: RowKind, row_id: str) -> PduRow:
    (found,) = (r for r in reading.rows if r.kind is kind and r.id == row_id)
    return found


def ids(reading: PduReading, kind: RowKind) -> list[str]:
    return [r.id for r in reading.rows if r.kind is kind]


# --- real devices: values from the table of decoded captures, not from this program ---


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


def capture(folder: Path, name: str) -> dict[Oid, Value]:
    return parse_snmprec((folder / f"{name}.snmprec").read_text("utf-8"), name)


def test_ap8853(rpdu2: Profile, pdu_captures: Path) -> None:
    found = capture(pdu_captures, "apc_ap8853")
    reading = decode(rpdu2, found)
    assert f" MN:{reading.model} ".encode() in bytes(found[SYS_DESCR])  # it answers them nowhere else
    assert f" SN: {reading.serial} ".encode() in bytes(found[SYS_DESCR])
    assert (reading.power_w, reading.power_quality, reading.power_resolution_w) == (1140.0, Quality.MEASURED, 10.0)
    assert reading.energy_j == pytest.approx(3512.8 * JOULES_PER_KWH)
    phase = row(reading, RowKind.PHASE, "1")
    assert (phase.voltage_v, phase.current_a, phase.power_w) == (242.0, 4.9, 1140.0)
    assert ids(reading, RowKind.PROBE) == []  # its probe is not plugged in
    assert ids(reading, RowKind.OUTLET) == []


def test_ap8959(rpdu2: Profile, pdu_captures: Path) -> None:
    found = capture(pdu_captures, "apc_ap8959eu3")
    reading = decode(rpdu2, found)
    assert (reading.model, reading.serial) == (said(found, "318.1.1.12.1.5.0"), said(found, "318.1.1.12.1.6.0"))
    assert reading.power_w == 270.0
    assert reading.energy_j == pytest.approx(1967.7 * JOULES_PER_KWH)
    assert row(reading, RowKind.PHASE, "1").power_w == 250.0
    assert ids(reading, RowKind.PROBE) == []
    # 24 outlets, 23 of them on, in the older tree, where the numbers for on and off are the other way round
    states = [r.is_on for r in reading.rows if r.kind is RowKind.OUTLET]
    assert (len(states), states.count(True), states.count(False)) == (24, 23, 1)
    assert row(reading, RowKind.OUTLET, "23").is_on is False


def test_ap7900b_estimates_what_it_cannot_measure(rpdu2: Profile, pdu_captures: Path) -> None:
    reading = decode(rpdu2, capture(pdu_captures, "apc_ap7900b"))
    assert (reading.power_w, reading.power_quality) == (312.0, Quality.ESTIMATED)
    assert reading.energy_j is None
    phase = row(reading, RowKind.PHASE, "1")
    assert (phase.current_a, phase.voltage_v, phase.power_w) == (2.7, None, None)  # -1 is not a voltage
    states = [r.is_on for r in reading.rows if r.kind is RowKind.OUTLET]
    assert states == [True] * 8


@pytest.mark.parametrize("name", ["apc_ap8853", "apc_ap8959eu3", "apc_ap7900b"])
def test_real_rpdu2_units_are_found(rpdu2: Profile, pdu_captures: Path, name: str) -> None:
    assert recognise(packaged_profiles(), capture(pdu_captures, name)).profile is rpdu2


@pytest.mark.parametrize("name", ["sentry4", "raritan-pdu_px2", "eatonpdu_2", "atenpdu", "apc_masterswitch2"])
def test_other_families_are_not_taken_for_it(rpdu2: Profile, pdu_captures: Path, name: str) -> None:
    with pytest.raises(PollError, match="unknown PDU"):
        recognise([rpdu2], capture(pdu_captures, name))


# --- a synthetic unit of the same layout: two linked modules, every oddity of the family ---


def test_a_linked_pair_adds_up_by_modules(rpdu2: Profile, synthetic: dict[Oid, Value]) -> None:
    reading = decode(rpdu2, synthetic)
    assert (reading.profile, reading.model, reading.serial, reading.firmware, reading.uptime_s) == (
        "apc_rpdu2", "AP8641", "SYN000000001", "v7.0.1", 86_400.0,
    )  # fmt: skip
    assert [(r.id, r.name, r.power_w) for r in reading.rows if r.kind is RowKind.UNIT] == [
        ("1", "row-a-left", 7310.0),
        ("2", "row-a-right", 4020.0),
    ]
    # 7310 + 4020; not the phases (11,330 again), not the estimate of the older tree (11,340)
    assert (reading.power_w, reading.power_quality, reading.power_resolution_w) == (11_330.0, Quality.MEASURED, 10.0)
    assert reading.energy_j == pytest.approx((12_345.6 + 9_876.5) * JOULES_PER_KWH)


def test_phases_and_banks(rpdu2: Profile, synthetic: dict[Oid, Value]) -> None:
    reading = decode(rpdu2, synthetic)
    assert [
        (r.id, r.current_a, r.voltage_v, r.power_w) for r in reading.rows if r.kind is RowKind.PHASE
    ] == [("1", 15.2, 240.0, 3650.0), ("2", 15.3, 239.0, 3660.0), ("2.1", 16.8, 241.0, 4020.0)]  # fmt: skip
    assert [(r.id, r.current_a, r.power_w) for r in reading.rows if r.kind is RowKind.BANK] == [
        ("1", 15.2, None),
        ("2", 15.3, None),
    ]


def test_outlets(rpdu2: Profile, synthetic: dict[Oid, Value]) -> None:
    reading = decode(rpdu2, synthetic)
    seen = [(r.id, r.name, r.power_w, r.current_a, r.is_on) for r in reading.rows if r.kind is RowKind.OUTLET]
    assert seen == [
        ("1", "miner-0001", 3241.0, 13.5, True),
        ("2", "miner-0002", 3297.0, 13.7, True),
        ("3", "Outlet 3", 0.0, 0.0, False),  # zero watts is a reading
        ("4", "no meter here", None, None, True),  # -1 is none
        ("2.1", "miner-0003", 3220.0, 13.4, True),
        ("2.2", "broken meter", None, 3.3, None),  # 65,000 W is no outlet, state 7 is neither on nor off
    ]
    first = row(reading, RowKind.OUTLET, "1")
    assert (first.power_quality, first.power_resolution_w) == (Quality.MEASURED, 1.0)
    assert first.energy_j == pytest.approx(5123.4 * JOULES_PER_KWH)
    assert row(reading, RowKind.OUTLET, "4").power_quality is Quality.MISSING
    assert set(reading.warnings) == {"outlet.power_w.implausible", "outlet.is_on.implausible"}


def test_probes_count_only_where_they_answer(rpdu2: Profile, synthetic: dict[Oid, Value]) -> None:
    (probe,) = (r for r in decode(rpdu2, synthetic).rows if r.kind is RowKind.PROBE)
    assert (probe.name, probe.temperature_c, probe.humidity_ratio) == ("cold aisle", 24.3, 0.41)


def test_a_total_with_a_missing_part_is_missing_or_the_fallback(rpdu2: Profile, synthetic: dict[Oid, Value]) -> None:
    synthetic[parse_oid("1.3.6.1.4.1.318.1.1.26.4.3.1.5.2")] = -1
    assert decode(rpdu2, synthetic).power_w is None  # the older tree speaks for one unit of the two
    synthetic = without_second_unit(synthetic)
    synthetic[parse_oid("1.3.6.1.4.1.318.1.1.26.4.3.1.5.1")] = -1
    reading = decode(rpdu2, synthetic)
    assert (reading.power_w, reading.power_quality, reading.power_resolution_w) == (11_340.0, Quality.ESTIMATED, 24.0)
    del synthetic[parse_oid("1.3.6.1.4.1.318.1.1.12.1.16.0")]
    reading = decode(rpdu2, synthetic)
    assert (reading.power_w, reading.power_quality) == (None, Quality.MISSING)
    assert "total.power_w.missing" in reading.warnings


@pytest.mark.parametrize("text", [b"notsupported", b"notsupported ", b"", b"3241", (1, 3, 6)])
def test_text_where_a_number_is_due_is_missing(rpdu2: Profile, synthetic: dict[Oid, Value], text: Value) -> None:
    synthetic[parse_oid(f"{OUTLET_W}.1")] = text
    assert row(decode(rpdu2, synthetic), RowKind.OUTLET, "1").power_w is None


def test_the_control_column_is_never_read_as_state(rpdu2: Profile, synthetic: dict[Oid, Value]) -> None:
    # 9.2.4.1.5 has on and off the other way round; the fixture holds it beside the state
    control = parse_oid("1.3.6.1.4.1.318.1.1.26.9.2.4.1.5")
    assert any(oid[: len(control)] == control for oid in synthetic)
    assert not any(oid[: len(control)] == control for oid in survey(rpdu2, synthetic).wanted())


def test_two_rows_with_one_number_are_one_row(rpdu2: Profile, synthetic: dict[Oid, Value]) -> None:
    for tree in ("9.4.3.1.4", "9.2.3.1.4"):
        synthetic[parse_oid(f"1.3.6.1.4.1.318.1.1.26.{tree}.2")] = 1
    reading = decode(rpdu2, synthetic)
    assert ids(reading, RowKind.OUTLET).count("1") == 1
    assert "outlet.duplicate_row" in reading.warnings


def test_nothing_at_all_is_a_reading_without_numbers(rpdu2: Profile) -> None:
    reading = decode(rpdu2, {})
    assert (reading.power_w, reading.energy_j, reading.uptime_s, reading.rows) == (None, None, None, ())


@settings(max_examples=60)
@given(data=st.data())
def test_no_value_makes_decoding_fail_or_invent(data: st.DataObject) -> None:
    (profile,) = (p for p in packaged_profiles() if p.id == "apc_rpdu2")
    varbinds = parse_snmprec(SYNTHETIC.read_text("utf-8"))
    values = st.integers() | st.binary(max_size=20) | st.lists(st.integers(0, 9), max_size=5).map(tuple)
    for oid in data.draw(st.lists(st.sampled_from(sorted(varbinds)), max_size=30)):
        varbinds[oid] = data.draw(values)
    reading = decode(profile, varbinds)
    for r in reading.rows:
        assert r.power_w is None or 0 <= r.power_w <= 500_000
        assert r.name is None or (r.name.isprintable() and len(r.name) <= 64)
    keys = [(r.kind, r.id) for r in reading.rows]
    assert len(keys) == len(set(keys))


def test_fast_cells_are_what_moves_and_is_there(rpdu2: Profile, synthetic: dict[Oid, Value]) -> None:
    layout = survey(rpdu2, synthetic)
    layout.settle(synthetic)
    cells = set(layout.fast)
    base = "1.3.6.1.4.1.318.1.1.26"
    assert parse_oid(f"{base}.4.3.1.5.1") in cells  # unit watts
    assert parse_oid(f"{base}.9.2.3.1.5.1") in cells  # outlet state
    assert parse_oid("1.3.6.1.2.1.1.3.0") in cells  # the sign of a restart
    assert parse_oid("1.3.6.1.4.1.318.1.1.4.4.2.1.3.1") not in cells  # the older tree would say the same again
    assert parse_oid(f"{base}.9.4.3.1.3.1") not in cells  # a name
    assert parse_oid(f"{base}.10.2.2.1.8.2") not in cells  # a probe that is not plugged in ...
    assert parse_oid(f"{base}.10.2.2.1.6.2") in cells  # ... but may be later
    assert cells <= set(synthetic)


# --- finding the family ---

MINIMAL = """
id = "{id}"
[match]
{match}
[[tables]]
kind = "unit"
rows = ["99.1.1"]
columns = [{{ quantity = "power_w", oid = "99.1.2" }}]
"""


def minimal(id: str, match: str) -> Profile:
    (profile,) = parse_profile(MINIMAL.format(id=id, match=match))
    return profile


def answering(identity: str | None, descr: str | None = None, *probes: str) -> dict[Oid, Value]:
    found: dict[Oid, Value] = {parse_oid(oid): -1 for oid in probes}
    if identity is not None:
        found[SYS_OBJECT_ID] = parse_oid(identity)
    if descr is not None:
        found[SYS_DESCR] = descr.encode()
    return found


def test_prefixes_are_compared_by_part_and_the_longest_wins() -> None:
    broad = minimal("broad", 'sys_object_id = ["318.1.3.4"]')
    exact = minimal("exact", 'sys_object_id = ["318.1.3.4.6"]')
    assert shortlist([broad, exact], answering("1.3.6.1.4.1.318.1.3.4.6")) == (exact, broad)
    assert shortlist([broad, exact], answering("1.3.6.1.4.1.318.1.3.4.60")) == (broad,)


PROBE = "1.3.6.1.4.1.99.1.2.1"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (answering("1.3.6.1.4.1.318", "APC Web/SNMP", PROBE), "described"),  # the description goes before a probe
        (answering("1.3.6.1.4.1.318", "Linux", PROBE), "rich"),  # of those that only a probe can prove the richer one
        (answering(None, None, PROBE), "rich"),
        (answering("1.3.6.1.4.1.77"), "own"),  # its identity proves it, though its probe is silent
        (answering("1.3.6.1.4.1.88", None, PROBE), "shared"),
        (answering("1.3.6.1.4.1.88"), None),  # others have this identity too, and nothing else speaks for it
        (answering("1.3.6.1.4.1.78", "a UPS"), None),
        (answering(None), None),
    ],
)
def test_identity_then_description_then_probe(found: dict[Oid, Value], expected: str | None) -> None:
    profiles = [
        minimal("poor", 'probe = ["99.1.2.1"]'),
        minimal("rich", 'probe = ["99.1.2.1"]\npriority = 5'),
        minimal("described", "sys_descr = '^APC Web'"),
        minimal("own", 'sys_object_id = ["77"]\nprobe = ["77.1.1.0"]'),
        minimal("shared", 'sys_object_id = ["88"]\nneeds_probe = true\nprobe = ["99.1.2.1"]'),
        minimal("notups", "sys_object_id = ['78']\nexcludes = 'UPS'"),
    ]
    if expected is None:
        with pytest.raises(PollError, match="unknown PDU"):
            recognise(profiles, found)
    else:
        assert recognise(profiles, found).profile.id == expected


def test_a_row_below_a_column_or_a_text_can_be_the_probe() -> None:
    under = minimal("under", 'probe_under = ["55.1"]')
    text = minimal("text", 'probe_text = [{ oid = "1.3.6.1.6.3.10.2.1.1.0", contains = "APC" }]')
    assert recognise([under, text], answering(None, None, "1.3.6.1.4.1.55.1.9")).profile is under
    assert recognise([under, text], {parse_oid("1.3.6.1.6.3.10.2.1.1.0"): b"\x80APC\x01"}).profile is text


def test_misencoded_identities_can_be_written_down() -> None:
    profile = minimal("odd", 'sys_object_id = ["0.10.43.6.1.4.1"]')
    assert recognise([profile], answering("0.10.43.6.1.4.1")).profile is profile


# --- the schema ---


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "x"', 'id = "x"\ncolour = "red"', "unknown field `colour`"),
        ("power_w", "powerw", "$.tables[0].columns[0].quantity"),
        ('"99.1.2" }', '"99.1.2", scael = 10 }', "unknown field `scael` - at `$.tables[0].columns[0]`"),
        ('"99.1.2" }', '"99.1.2", scale = "ten" }', "$.tables[0].columns[0].scale"),
        ('oid = "99.1.2"', 'oid = "99.x"', "'99.x' is not an OID with holes - at `$.tables[0].columns[0].oid`"),
        ('oid = "99.1.2"', "oid = 99", "$.tables[0].columns[0].oid"),
        ('kind = "unit"', 'kind = "rack"', "$.tables[0].kind"),
        ('rows = ["99.1.1"]', "rows = []", "a table needs either rows or names"),
        ('"99.1.2" }', '"99.1.2", where = [{ oid = "99.1.3" }] }', "either equals or differs"),
        ('"99.1.2" }', '"99.1.2", named = "x" }', "named belongs to"),
        ("[match]", "[[rules]]\nname = 'nobody'\n[match]", "no rule 'nobody'"),
        ('"power_w", oid', '"is_on", oid', "numbers for on and for off"),
        ('"99.1.2" }', '"99.1.2", on = [1], off = [2] }', "belong to is_on"),
        ('"99.1.2" }', '"99.1.2", quality = "missing" }', "measured or estimated"),
        ("[match]", "[match]\nsys_descr = '('", "not a regular expression"),
        ("[match]", "[[total.power_w]]\n[match]", "either the sum of a kind of rows or one object"),
        ("[match]", "[match", "x.toml:"),
    ],
)
def test_a_bad_profile_is_one_line_that_names_the_place(old: str, new: str, said: str) -> None:
    good = MINIMAL.format(id="x", match="")
    assert parse_profile(good, "x.toml")[0].id == "x"
    assert old in good
    with pytest.raises(ProfileError) as caught:
        parse_profile(good.replace(old, new), "x.toml")
    message = str(caught.value)
    assert message.startswith("x.toml: ")
    assert said in message
    assert "\n" not in message


def test_an_operator_adds_a_family_with_one_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINIMAL.format(id="mine", match='sys_object_id = ["99"]'))
    (tmp_path / "notes.txt").write_text("not a profile")
    (profile,) = load_profiles(tmp_path)
    enterprise = "1.3.6.1.4.1.99.1"
    reading = decode(profile, {parse_oid(f"{enterprise}.1.7"): 1, parse_oid(f"{enterprise}.2.7"): 812})
    assert [(r.kind, r.id, r.power_w) for r in reading.rows] == [(RowKind.UNIT, "7", 812.0)]
    assert reading.power_w is None  # it declares no total, and none is invented


# --- what an operator's first profile needs ---


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ('[[tables]]\nkind = "outlets"\nrows = ["9.1"]\ncolumns = []', "unit, inlet, phase, line, bank, group, outlet"),
        (
            '[[tables]]\nkind = "outlet"\nrows = ["9.1"]\ncolumns = [{ quantity = "watts", oid = "9.1" }]',
            "power_w, apparent_power_va",
        ),
        ('[[tables]]\nkind = "outlet"\nunless = ["socket"]\nrows = ["9.1"]\ncolumns = []', "unit, inlet"),
        ('[[total.power_w]]\nrows = "outlets"', "unit, inlet"),
        (
            '[[total.energy_j]]\nobject = { oid = "9.1.0", counting = "ever" }',
            "lifetime, resettable",
        ),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(text: str, known: str) -> None:
    with pytest.raises(ProfileError, match=rf"Invalid enum value .* - at `\$\..*`; known: {known}"):
        parse_profile(f'id = "x"\n[match]\n{text}', "x.toml")


def test_a_hole_that_adds_takes_no_object_in_front_of_its_rows() -> None:
    (profile,) = parse_profile(
        """
        id = "scalars"
        match = { sys_object_id = ["9"] }
        [[tables]]
        kind = "outlet"
        rows = ["9.{number+10}.0"]
        columns = [{ quantity = "power_w", oid = "9.{number+10}.0" }]
        """
    )
    found: dict[Oid, Value] = {parse_oid(f"1.3.6.1.4.1.9.{n}.0"): n for n in (1, 9, 11, 12)}
    assert ids(decode(profile, found), RowKind.OUTLET) == ["1", "2"]


@pytest.mark.parametrize(
    ("rule", "said", "watts"), [("digits", 1, 123.4), ("signed", 10, 12340.0), ("digits", 77, None)]
)
def test_the_scale_that_a_device_tells_counts_for_a_total_too(rule: str, said: int, watts: float | None) -> None:
    (profile,) = parse_profile(
        f"""
        id = "told"
        match = {{ sys_object_id = ["9"] }}
        [[total.power_w]]
        object = {{ oid = "9.1.0", scale_by = {{ oid = "9.2.0", rule = "{rule}" }} }}
        """
    )
    scale = parse_oid("1.3.6.1.4.1.9.2.0")
    assert scale in survey(profile, {}).wanted()
    found: dict[Oid, Value] = {parse_oid("1.3.6.1.4.1.9.1.0"): 1234, scale: said}
    assert decode(profile, found).power_w == watts
