"""What another program reads from the same recorded PDUs: all agrees, or the difference has a name and a reason.

The recordings come with the sensors that another network monitor made of them: an opinion, not the truth. Each of its
power, current, voltage, frequency, energy, temperature, humidity, power factor and state sensors is compared with what
our profiles say of the same OID. One that differs, or that we do not read, must be explained in one of the tables
`tests/captures/pdus/disagreements.*.toml`:

    [[disagreement]]
    capture = "raritan-pdu"                # the recording; `*` is any
    what = "power/13742.4.1.2.2.1.8.*"     # class/OID below 1.3.6.1.4.1, class/sensor index, OID alone, or class alone
    theirs = "apparent power as watts"     # words, or the number of every sensor that this names
    ours = "read as apparent_power_va"     # `not read`, `missing`, `read as <quantity>`, other words, or the number
    why = "column 8 is VA"

`*` stands for anything. An entry that explains nothing is an error, and so is one whose numbers are not true.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from collectors.pdus.layout import survey
from collectors.pdus.matching import recognise
from collectors.pdus.profile import packaged_profiles
from collectors.pdus.snmp import Oid, Value
from collectors.pdus.snmprec import parse_snmprec
from fleet.units import JOULES_PER_KWH

ROOT = Path(__file__).parent.parent.parent
TABLES = ROOT / "tests" / "captures" / "pdus"
FOLDER = Path(os.environ.get("HASHWATT_CAPTURES") or ROOT.parent / "shared" / "captures") / "pdus"
NAMES = sorted(path.name.removesuffix(".expected.json") for path in FOLDER.glob("*.expected.json"))

QUANTITIES = {
    "power": ("power_w", 1.0),
    "current": ("current_a", 1.0),
    "voltage": ("voltage_v", 1.0),
    "frequency": ("frequency_hz", 1.0),
    "power_consumed": ("energy_j", 1 / JOULES_PER_KWH),
    "temperature": ("temperature_c", 1.0),
    "humidity": ("humidity_ratio", 100.0),
    "power_factor": ("power_factor", 1.0),
}
"""Their class of sensor: our quantity, and what ours is multiplied by to be in their unit."""

ENTERPRISES = "1.3.6.1.4.1."
NOT_READ = "not read"
MISSING = "missing"
READ_AS = "read as"


@dataclass(frozen=True)
class Sensor:
    """One number of the other program."""

    kind: str
    oid: str  # below 1.3.6.1.4.1
    index: str
    value: float

    def is_named(self, what: str) -> bool:
        names = (self.kind, self.oid, f"{self.kind}/{self.oid}", f"{self.kind}/{self.index}")
        return any(fnmatchcase(name, what) for name in names)


@dataclass(frozen=True)
class Disagreement:
    """One explained difference."""

    table: str
    capture: str
    what: str
    theirs: str | float
    ours: str | float
    why: str

    def explains(self, capture: str, sensor: Sensor) -> bool:
        return fnmatchcase(capture, self.capture) and sensor.is_named(self.what)


@pytest.fixture(scope="module", autouse=True)
def _recordings() -> None:
    """Recorded PDUs; their licence keeps them outside the repository."""
    if not NAMES:
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(f"REQUIRE_PEERS=1 and no recorded PDUs at {FOLDER}", pytrace=False)
        pytest.skip(f"no recorded PDUs at {FOLDER}: name the folder above it in HASHWATT_CAPTURES")


def disagreements() -> tuple[Disagreement, ...]:
    found: list[Disagreement] = []
    for path in sorted(TABLES.glob("disagreements.*.toml")):
        entries = tomllib.loads(path.read_text("utf-8")).get("disagreement", [])
        found += (Disagreement(table=path.name, **entry) for entry in entries)
    return tuple(found)


def sensors(capture: str) -> Iterator[Sensor]:
    told = json.loads((FOLDER / f"{capture}.expected.json").read_text("utf-8"))
    for said in told["sensors"]:
        if said["sensor_class"] in (*QUANTITIES, "state") and said["sensor_current"] is not None:
            oid = said["sensor_oid"].removeprefix(".").removeprefix(ENTERPRISES)
            yield Sensor(said["sensor_class"], oid, said["sensor_index"], float(said["sensor_current"]))


@cache
def ours_by_oid(capture: str) -> dict[str, dict[str, float | str]]:
    """OID, quantity: our number in our unit, or `missing`. States are raw numbers where we know them for on or off."""
    found = parse_snmprec((FOLDER / f"{capture}.snmprec").read_text("utf-8"), capture)
    profile = recognise(packaged_profiles(), found).profile
    known: dict[str, dict[str, float | str]] = {}

    def note(oid: Oid, quantity: str, value: float | str) -> None:
        said = known.setdefault(".".join(map(str, oid)).removeprefix(ENTERPRISES), {})
        if value != MISSING or quantity not in said:
            said[quantity] = value

    for _, counts, cells in survey(profile, found).trace(found):
        for cell in cells:
            value = cell.value if counts else None
            if cell.cell.column.quantity == "is_on":
                note(cell.cell.oid, "state", MISSING if value is None else number(cell.raw))
            elif isinstance(value, int | float):
                note(cell.cell.oid, cell.cell.column.quantity, float(value))
            else:
                note(cell.cell.oid, cell.cell.column.quantity, MISSING)
    for total in (*profile.total.power_w, *profile.total.energy_j):
        if total.object is not None and isinstance(raw := found.get(total.object.oid.stem), int):
            quantity = "power_w" if total in profile.total.power_w else "energy_j"
            note(total.object.oid.stem, quantity, raw * total.object.scale if raw >= 0 else MISSING)
    return known


def number(raw: Value | None) -> float | str:
    return float(raw) if isinstance(raw, int) else MISSING


def ours(capture: str, sensor: Sensor) -> float | str:
    """Our number in their unit, `missing` where we say the device has none, `not read` where we do not look."""
    said = ours_by_oid(capture).get(sensor.oid, {})
    quantity, factor = QUANTITIES.get(sensor.kind, (sensor.kind, 1.0))
    value = said.get(quantity, " and ".join(f"{READ_AS} {other}" for other in said) or NOT_READ)
    return value if isinstance(value, str) else value * factor


def is_same(theirs: float, said: float | str) -> bool:
    """Equal within their rounding: two decimals, seldom more."""
    return not isinstance(said, str) and math.isclose(theirs, said, rel_tol=1e-4, abs_tol=0.006)


def is_true(words: str | float, value: float | str) -> bool:
    """What a table says of a number is that number; words are free, but for those that we use ourselves."""
    if isinstance(words, str):
        return words == value or not words.startswith((NOT_READ, MISSING, READ_AS))
    return is_same(words, value)


@pytest.mark.parametrize("capture", NAMES or ["none"])
def test_every_number_agrees_or_the_difference_is_explained(capture: str) -> None:
    tables = disagreements()
    unexplained: list[str] = []
    for sensor in sensors(capture):
        said = ours(capture, sensor)
        if is_same(sensor.value, said):
            continue
        reasons = [table for table in tables if table.explains(capture, sensor)]
        if not any(is_true(reason.theirs, sensor.value) and is_true(reason.ours, said) for reason in reasons):
            unexplained.append(f"{sensor.kind}/{sensor.oid} ({sensor.index}): theirs {sensor.value:g}, ours {said}")
    assert not unexplained, f"{len(unexplained)} of {capture}:\n" + "\n".join(unexplained)


@pytest.mark.parametrize("table", sorted(path.name for path in TABLES.glob("disagreements.*.toml")) or ["none"])
def test_no_explanation_without_a_difference(table: str) -> None:
    for entry in (entry for entry in disagreements() if entry.table == table):
        assert entry.why.strip(), entry
        explained = [
            (capture, sensor)
            for capture in NAMES
            for sensor in sensors(capture)
            if entry.explains(capture, sensor) and not is_same(sensor.value, ours(capture, sensor))
        ]
        assert explained, f"{entry} explains nothing"


def test_an_opinion_is_compared_in_its_own_unit_and_a_wrong_number_is_no_explanation() -> None:
    sensor = Sensor("power_consumed", "534.6.6.7.3.5.1.5.0.1", "inputTotalWh.0.1", 8185.493)
    assert sensor.is_named("power_consumed/534.6.6.7.3.5.*")
    assert sensor.is_named("power_consumed/inputTotalWh.*")
    assert not sensor.is_named("power/534.6.6.7.3.5.*")
    assert is_same(23.61, 23.611111)
    assert not is_same(1.0, 1.01)
    assert not is_same(0.0, MISSING)
    assert is_true("apparent power", 507.0)
    assert is_true(NOT_READ, NOT_READ)
    assert not is_true(NOT_READ, 507.0)
    assert not is_true("read as apparent_power_va", NOT_READ)
    assert not is_true(508, 507.0)


def test_the_tables_are_read_whole() -> None:
    for entry in disagreements():
        assert entry.capture
        assert entry.what
