"""A recorded walk tells what the PDU measures, and nothing of whose it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collectors.pdus.anonymous import anonymous
from collectors.pdus.device import replay
from collectors.pdus.matching import shortlist
from collectors.pdus.profile import Profile, packaged_profiles
from collectors.pdus.snmp import Oid, Value, parse_oid
from collectors.pdus.snmprec import Tagged, format_snmprec, load_walk
from collectors.redaction import Redactor
from fleet.ports import PollError
from fleet.readings import PduReading

WALKS = Path(__file__).parent.parent / "captures" / "pdus"
KEY = b"the key of one run"
OWN = "1.3.6.1.4.1.99911.7"


def told(rows: dict[str, tuple[int, Value]], profiles: tuple[Profile, ...] = (), *secrets: str) -> dict[str, Value]:
    tagged = {parse_oid(oid): Tagged(*value) for oid, value in rows.items()}
    redactor = Redactor(KEY, known=secrets)
    return {
        ".".join(map(str, oid)): value.value for oid, value in anonymous(tagged, profiles, redactor, secrets).items()
    }


def text_of(rows: dict[str, tuple[int, Value]], *secrets: str) -> str:
    """Everything that a recording of these objects holds, as it is written."""
    tagged = {parse_oid(oid): Tagged(*value) for oid, value in rows.items()}
    return format_snmprec(anonymous(tagged, packaged_profiles(), Redactor(KEY, known=secrets), secrets))


PRIVATE = {
    "1.3.6.1.2.1.1.1.0": (4, b"Linux canary-host 4.9 SN: CANARY0012345"),
    "1.3.6.1.2.1.1.4.0": (4, b"canary@farm.example"),
    "1.3.6.1.2.1.1.5.0": (4, b"canary-name"),
    "1.3.6.1.2.1.1.6.0": (4, b"Canary Hall"),
    "1.3.6.1.2.1.47.1.1.1.1.11.1": (4, b"CANARY0012345"),
    f"{OWN}.1.0": (4, b"canary-trap-community"),
    f"{OWN}.2.0": (4, b"canaryPassw0rd"),
    f"{OWN}.3.0": (4, b"NMS canary-three"),
    f"{OWN}.4.1": (4, b"02:00:5E:CA:7A:77"),
    f"{OWN}.5.0": (64, b"\x0a\x4d\x42\x37"),
    f"{OWN}.6.0": (4, b"10.77.66.55"),
    f"{OWN}.7.0": (4, b"\x00\x5e\xca\x7a\x77\x01"),
    f"{OWN}.8.1.2.10.77.66.55": (2, 1),
    f"{OWN}.8.1.3.0.94.202.122.119.1": (2, 1),
    f"{OWN}.9.1.2.12.48.48.53.101.99.97.55.97.55.55.48.50": (2, 1),
    f"{OWN}.10.0": (6, parse_oid(f"{OWN}.9.1.2.12.48.48.53.101.99.97.55.97.55.55.48.50")),
    f"{OWN}.11.0": (4, bytes(range(128, 160))),
    f"{OWN}.12.0": (4, "canär".encode()),
    f"{OWN}.13.0": (4, b"http://user:canaryLogin@10.77.66.1/"),
}  # fmt: skip


def test_whatever_tells_whose_it_is_has_gone() -> None:
    written = text_of(PRIVATE, "canary-own-community")
    assert "anary" not in written.lower()
    assert b"canary".hex() not in written
    for trace in (
        "farm.example", "0012345", "CA:7A", "0a4d4237", "10.77.66", "005eca7a77", "0.94.202.122", "48.48.53.101.99",
        bytes(range(128, 160)).hex(), "canär".encode().hex(),
    ):  # fmt: skip
        assert trace not in written, trace


def test_a_thing_has_one_pseudonym_wherever_it_stands() -> None:
    shown = told(PRIVATE)
    serial = shown["1.3.6.1.2.1.47.1.1.1.1.11.1"]
    assert isinstance(serial, bytes)
    assert serial.decode() in str(shown["1.3.6.1.2.1.1.1.0"])
    address = shown[f"{OWN}.5.0"]
    assert isinstance(address, bytes)
    assert shown[f"{OWN}.6.0"] == ".".join(map(str, address)).encode()
    assert f"{OWN}.8.1.2.{'.'.join(map(str, address))}" in shown
    pointer = shown[f"{OWN}.10.0"]
    assert isinstance(pointer, tuple)
    assert ".".join(map(str, pointer)) in shown


HARMLESS = [
    b"", b"Outlet 1", b"OUTLET12", b"AA7", b"Phase L1-L2", b"Breaker 1 (Bank A)", b"v7.0.1", b"3.11", b"V5.1.4b",
    b"Total.Power.Active.Value", b"Sockets.Socket 01.General.DescName", b"2025-03-14 09:12:00", b"11/12/2021",
    b"notsupported", b"N/A", b"--", b"........", b"kWh", b"230.5", b"1,1,0,0", b"380-400V, 63A, 43.6kVA, 50/60Hz",
    b"Temperature", "23.5 °C".encode(), b"000000000000", b"TemperatureProbe1",
]  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS, ids=repr)
def test_what_pdus_say_of_themselves_stays(text: bytes) -> None:
    assert told({f"{OWN}.1.0": (4, text)}) == {f"{OWN}.1.0": text}


@pytest.mark.parametrize(
    "text",
    [b"public", b"s3cret", b"a1b2c3", b"deadbeef", b"12345678", b"ZA9901000001", b"r2d2-admin", b"hall seven", b"Rig"],
    ids=repr,
)
def test_every_other_text_becomes_one_of_the_same_shape(text: bytes) -> None:
    shown = told({f"{OWN}.1.0": (4, text + b"\0\0")})[f"{OWN}.1.0"]
    assert isinstance(shown, bytes)
    assert shown.rstrip(b"\0") != text
    assert len(shown) == len(text) + 2
    assert shown.endswith(b"\0\0")
    assert [(c.isalpha(), c.isdigit(), c.isupper()) for c in shown.decode()] == [
        (c.isalpha(), c.isdigit(), c.isupper()) for c in (text + b"\0\0").decode()
    ]


def test_numbers_stay_and_so_do_their_tags() -> None:
    rows = {f"{OWN}.{tag}.0": Tagged(tag, 4_294_967_295) for tag in (2, 65, 66, 67, 70)}
    tagged = {parse_oid(oid): value for oid, value in rows.items()}
    assert anonymous(tagged, (), Redactor(KEY)) == tagged


def test_a_secret_of_ours_goes_even_where_the_text_would_stay() -> None:
    """Somebody may have made "Power" his community; whatever our configuration calls secret is taken out."""
    assert told({f"{OWN}.1.0": (4, b"Outlet Power 1")}, (), "Power") == {f"{OWN}.1.0": b"Outlet ***** 1"}


def test_the_engine_id_keeps_what_makers_are_known_by() -> None:
    """Five octets of maker and form, and words; what else is in it is a MAC, an address or a serial number."""
    oid = "1.3.6.1.6.3.10.2.1.1.0"
    shown = told({oid: (4, b"\x80\x00\x01\x3e\x05APC\x00\xc0\xb7\xca\x7a\x77")})
    assert shown == {oid: b"\x80\x00\x01\x3e\x05APC\x00\x00\x00\x00\x00\x00"}


def test_a_serial_number_that_is_a_number_becomes_another() -> None:
    profile = next(p for p in packaged_profiles() if p.id == "apc_rpdu2")
    oid = ".".join(map(str, profile.identity.serial[0]))
    shown = told({oid: (2, 870_012_345)}, (profile,))[oid]
    assert isinstance(shown, int)
    assert shown != 870_012_345


# --- a recording is read like the device ---


def numbers(reading: PduReading) -> list[object]:
    """All that is measured, and what the family and the model are."""
    texts = ("id", "name", "unit")  # a linked unit may be called by its MAC
    rows = [
        tuple(repr(getattr(row, name)) for name in type(row).__dataclass_fields__ if name not in texts)
        for row in reading.rows
    ]
    whole = (reading.profile, reading.firmware, reading.uptime_s, reading.power_w, reading.energy_j, reading.warnings)
    return [whole, sorted(rows)]


def is_read_the_same(walk: dict[Oid, Value]) -> None:
    profiles = packaged_profiles()
    try:
        full = replay(walk, profiles)
    except PollError:
        pytest.skip("no profile knows it")
    rows = {oid: Tagged(4, value) for oid, value in walk.items()}
    near = (full.recognition.profile, *shortlist(profiles, walk))
    shown = {oid: tagged.value for oid, tagged in anonymous(rows, near, Redactor(KEY)).items()}
    assert len(shown) == len(walk)
    again = replay(shown, profiles)
    assert numbers(again.layout.read(shown)) == numbers(full.layout.read(walk))


@pytest.mark.parametrize("walk", sorted(WALKS.glob("synthetic_*.snmprec")), ids=lambda path: path.stem)
def test_an_invented_unit_is_read_the_same(walk: Path) -> None:
    is_read_the_same(load_walk(walk))


def recorded() -> list[str]:
    folder = Path(os.environ.get("HASHWATT_CAPTURES") or WALKS.parents[2].parent / "shared" / "captures") / "pdus"
    return [str(path) for path in sorted(folder.glob("*.snmprec"))]


@pytest.mark.usefixtures("captures_dir")
@pytest.mark.parametrize("walk", recorded() or [""], ids=lambda path: Path(path).stem)
def test_a_recorded_unit_is_read_the_same(walk: str) -> None:
    if not walk:
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail("REQUIRE_PEERS=1 and no recorded PDUs", pytrace=False)
        pytest.skip("no recorded PDUs: name the folder above them in HASHWATT_CAPTURES")
    is_read_the_same(load_walk(Path(walk)))
