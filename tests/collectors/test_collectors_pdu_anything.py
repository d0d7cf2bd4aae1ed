"""No value, no missing object and no flood of rows makes decoding fail or break its promises, whatever the profile.

Walks to start from are the invented ones of every family, and the recorded ones where they are at hand.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from honesty_pdus import NASTY, assert_sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.pdus import layout
from collectors.pdus.matching import recognise
from collectors.pdus.profile import Address, Hole, Profile, Table, packaged_profiles
from collectors.pdus.snmp import Oid, Value, parse_oid
from collectors.pdus.snmprec import parse_snmprec

ROOT = Path(__file__).parent.parent.parent
INVENTED = ROOT / "tests" / "captures" / "pdus"
RECORDED = Path(os.environ.get("HASHWATT_CAPTURES") or ROOT.parent / "shared" / "captures") / "pdus"
SMALL_WALK = 3_000
"""Objects of a recorded walk that is edited many times; of the few longer ones once is enough."""

Edits = Sequence[tuple[int, Value | None]]
PROFILES = {profile.id: profile for profile in reversed(packaged_profiles())}  # of several roots the first


def walks(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(str(path) for path in folder.glob(f"{pattern}.snmprec")) or ["none"]


def name_of(path: str) -> str:
    return Path(path).stem


@cache
def start(path: str) -> tuple[Profile, dict[Oid, Value], tuple[Oid, ...]]:
    """A walk, its profile, and every object that a full read of it asks for or that it has."""
    found = parse_snmprec(Path(path).read_text("utf-8"), path)
    profile = recognise(packaged_profiles(), found).profile
    wanted = layout.survey(profile, found).wanted()
    return profile, found, tuple(dict.fromkeys(wanted)) or tuple(found)


def edited(found: dict[Oid, Value], oids: Sequence[Oid], edits: Edits) -> dict[Oid, Value]:
    changed = dict(found)
    for place, value in edits:
        oid = oids[place % len(oids)]
        if value is None:
            changed.pop(oid, None)
        else:
            changed[oid] = value
    return changed


VALUES = st.one_of(
    st.sampled_from(NASTY), st.integers(-(2**65), 2**65), st.binary(max_size=80), st.text(max_size=40).map(str.encode)
)
EDITS = st.lists(st.tuples(st.integers(0, 10**6), VALUES), max_size=30)


@pytest.mark.parametrize("path", walks(INVENTED, "synthetic_*"), ids=name_of)
@given(edits=EDITS)
@settings(max_examples=12, deadline=None)
def test_an_invented_device_may_say_anything(path: str, edits: Edits) -> None:
    profile, found, oids = start(path)
    assert_sound(profile, edited(found, oids, edits))


@pytest.mark.parametrize("path", walks(RECORDED), ids=name_of)
@given(data=st.data())
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_recorded_device_may_say_anything(path: str, data: st.DataObject) -> None:
    if path == "none":
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(f"REQUIRE_PEERS=1 and no recorded PDUs at {RECORDED}", pytrace=False)
        pytest.skip(f"no recorded PDUs at {RECORDED}: name the folder above it in HASHWATT_CAPTURES")
    profile, found, oids = start(path)
    if len(found) <= SMALL_WALK:
        assert_sound(profile, edited(found, oids, data.draw(EDITS)))


@pytest.mark.parametrize(
    "path", [path for path in (*walks(INVENTED, "synthetic_*"), *walks(RECORDED)) if path != "none"], ids=name_of
)
def test_a_device_as_it_is(path: str) -> None:
    profile, found, _ = start(path)
    assert_sound(profile, found)


@pytest.mark.parametrize("path", walks(INVENTED, "synthetic_*"), ids=name_of)
def test_a_device_that_says_the_same_everywhere(path: str) -> None:
    profile, found, oids = start(path)
    for value in NASTY:
        assert_sound(profile, edited(found, oids, [(place, value) for place in range(len(oids))]))


@pytest.mark.parametrize("path", walks(INVENTED, "synthetic_*"), ids=name_of)
@given(extra=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2**32 - 1), VALUES), max_size=20))
@settings(max_examples=6, deadline=None)
def test_rows_that_nobody_foresaw(path: str, extra: Sequence[tuple[int, int, Value | None]]) -> None:
    profile, found, oids = start(path)
    grown = dict(found)
    for place, index, value in extra:
        oid = oids[place % len(oids)]
        grown |= {(*oid[:-1], index): value, (*oid, index): value} if value is not None else {}
    assert_sound(profile, grown)


@pytest.mark.parametrize("unit", [(100, *[2**32 - 1] * 100), (126, *[65] * 126)], ids=["numbers", "letters"])
def test_an_index_as_long_as_an_oid_can_be_makes_no_long_names(unit: Oid) -> None:
    profile, found, _ = start(str(INVENTED / "synthetic_chatsworth.snmprec"))
    outlet = parse_oid("1.3.6.1.4.1.30932.1.10.1.4.10.1.11.1")
    reading = assert_sound(profile, {**found, (*outlet, *unit): 1})
    assert max(len(row.id) for row in reading.rows) > 60  # it is there, and its name is cut


def test_a_variable_with_a_number_as_long_as_its_name_makes_no_long_names() -> None:
    profile, found, _ = start(str(INVENTED / "synthetic_rittal_cmc3.snmprec"))
    name = parse_oid("1.3.6.1.4.1.2606.7.4.2.2.1.3.2.999")
    assert_sound(profile, {**found, name: b"Sockets.Socket " + b"7" * 200 + b".General.Relay"})


# --- floods ---

CAP = 64


def flood(table: Table, rows: int) -> dict[Oid, Value]:
    """More rows than the cap, of one table: numbers that fill the first hole, texts of one character for the others."""
    column = Address(tuple(table.names)) if table.names is not None else table.rows[0]
    address = table.index.behind(column)
    holes = [part for part in address if isinstance(part, Hole)]
    found: dict[Oid, Value] = {}
    for number in range(1, rows + 1):
        names: dict[str, Oid] = {hole.name: (1, 65) if hole.is_text else (1,) for hole in holes}
        if holes:
            last = holes[-1]
            names[last.name] = (2, 65 + number // 26, 65 + number % 26) if last.is_text else (number,)
        if (oid := address.filled(names)) is not None:
            found[oid] = f"Sockets.Socket {number:03}.General.Relay".encode() if table.names is not None else number
    return found


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.id)
def test_rows_are_capped(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_ROWS", CAP)
    for table in profile.tables:
        found = flood(table, 3 * CAP)
        assert len(layout.survey(profile, found).lines) <= CAP
        reading = assert_sound(profile, found)
        assert len(reading.rows) <= CAP


def test_a_flood_is_one() -> None:
    """The test above would hold for a flood that no table sees."""
    seen = [
        len(layout.survey(profile, flood(profile.tables[0], 200)).lines)
        for profile in PROFILES.values()
        if profile.tables
    ]
    assert sum(lines >= 200 for lines in seen) > len(seen) / 2
