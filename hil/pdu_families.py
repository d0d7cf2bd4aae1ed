"""Writes `docs/pdus.md`: which families of PDUs are known, what is read of each, how well, and what stands behind it.

Nothing on the page is typed by hand: it comes from the profiles, from the invented walks beside the tests, and from a
list of the recordings that our readings were compared with. `python -m hil.pdu_families > docs/pdus.md` writes it anew.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from collectors.pdus.device import replay
from collectors.pdus.profile import ENTERPRISES, Column, Profile, Source, Table, Total, packaged_profiles
from collectors.pdus.snmp import Oid, format_oid
from collectors.pdus.snmprec import load_walk
from fleet.readings import Counting, Quality, RowKind

ROOT = Path(__file__).resolve().parent.parent
WALKS = ROOT / "tests" / "captures" / "pdus"

WORDS = {
    "power_w": "power", "apparent_power_va": "apparent power", "power_factor": "power factor", "energy_j": "energy",
    "current_a": "current", "current_limit_a": "rating", "voltage_v": "voltage", "frequency_hz": "frequency",
    "is_on": "state", "temperature_c": "temperature", "humidity_ratio": "humidity", "name": "name",
    "phase": "its phase", "bank": "its bank", "energy_since": "time of the last reset",
}  # fmt: skip
UNITS = {"power_w": "W", "current_a": "A", "energy_j": "J"}
KINDS = tuple(kind for kind in RowKind)
JOULES_PER_WH = 3600.0

ESTIMATING = frozenset({"whole_amperes"})
"""Rules that make an estimate of a measurement, on some models."""

_HEAD = """\
# PDUs

Written by `python -m hil.pdu_families` from the profiles in `collectors/pdus/profiles`; do not edit.

A PDU is recognised by its sysObjectID, else by its sysDescr, else by an object that only its family has; the profile in
`[[pdus]]` goes before all of that. What a device does not say stays empty. A number with steps is no better than its
steps; an estimate is marked as one, and so is every margin that it goes into. A PDU that is not on this page says so
when it is probed, and [one file](adding-a-pdu.md) makes it known. `hashwatt pdu list` is this list on a gateway, with
the operator's own profiles.

## What is read

Power of the whole unit: *measured* where the device meters active power, *estimated* where it must be made of volts and
amperes or the like, *both* where that depends on the model or its firmware. A dash: the family, or what we know of it,
does not have it.

| profile | makers and models | unit power | outlets | phases and breakers | sensors | recorded units |
|---|---|---|---|---|---|---|
"""

_FAMILIES = """\

## Family by family

Rows by kind, with what is read of each: the size of the steps where one is known, and `estimated` where the number is
made of others. OIDs are relative to `1.3.6.1.4.1`. Totals are tried in their order, and the first that gives a value
counts.
Behind a family stand recorded units (of the {source} project, by name), whose numbers were read by hand and compared;
an invented unit that has the layout and the oddities of the family; or only documents of its maker and other programs.
"""


def markdown() -> str:
    """The whole page."""
    evidence = _recorded()
    lines = [_HEAD.rstrip("\n")]
    for profile in _families():
        lines.append("| " + " | ".join(cell or "–" for cell in _summary(profile, evidence)) + " |")
    lines.append(_FAMILIES.format(source=evidence["source"]).rstrip("\n"))
    for profile in _families():
        lines += ["", *_family(profile, evidence)]
    return "\n".join(lines) + "\n"


def _families() -> list[Profile]:
    """Each packaged profile once, whatever its roots."""
    return list({profile.id: profile for profile in reversed(packaged_profiles())}.values())[::-1]


@cache
def _recorded() -> Mapping[str, Any]:
    return tomllib.loads((WALKS / "recorded.toml").read_text("utf-8"))


@cache
def _invented() -> Mapping[str, tuple[str, Quality]]:
    """Profile id -> the invented walk that is recognised as it, and how good its total is."""
    found: dict[str, tuple[str, Quality]] = {}
    for path in sorted(WALKS.glob("synthetic_*.snmprec")):
        full = replay(load_walk(path))
        found[full.recognition.profile.id] = path.stem, full.layout.read(full.found).power_quality
    return found


# --- the overview ----------------------------------------------------------------------------------------------------


def _summary(profile: Profile, evidence: Mapping[str, Any]) -> Iterator[str]:
    yield f"`{profile.id}`"
    yield profile.title
    yield _unit_power(profile)
    yield _listed(_of(profile, (RowKind.OUTLET,), ("state", "power", "current", "energy")))
    kinds = (RowKind.INLET, RowKind.PHASE, RowKind.LINE, RowKind.BANK)
    yield _listed(_of(profile, kinds, ("power", "current", "voltage", "rating")))
    yield _listed(_of(profile, (RowKind.PROBE,), ("temperature", "humidity")))
    known = evidence["profiles"].get(profile.id, {})
    units = len(known.get("units", ()))
    yield str(units) if units else "identity only" if known else "none"


def _unit_power(profile: Profile) -> str:
    kinds = {quality for total in profile.total.power_w for quality in _qualities_of_total(profile, total)}
    if profile.id in _invented():  # a rule may have its own say, and what it says can only be seen
        kinds |= {_invented()[profile.id][1]} - {Quality.MISSING}
    if any(rule.name in ESTIMATING for rule in profile.rules):
        kinds |= {Quality.ESTIMATED}
    if kinds == {Quality.MEASURED}:
        return "measured"
    return "estimated" if kinds == {Quality.ESTIMATED} else "both" if kinds else ""


def _qualities_of_total(profile: Profile, total: Total) -> Iterator[Quality]:
    if total.object is not None:
        yield from _qualities(total.object)
        return
    of_rows = [quality for table in profile.tables if table.kind is total.rows for quality in _qualities_of(table)]
    parts = (table for table in profile.tables if table.kind in (RowKind.INLET, RowKind.PHASE))
    # watts that no table of this kind has are made of those of others by a rule
    yield from of_rows or (quality for table in parts for quality in _qualities_of(table))


def _qualities_of(table: Table) -> Iterator[Quality]:
    for column in table.columns:
        if column.quantity == "power_w":
            yield from _qualities(column)
    if table.estimate:
        yield Quality.ESTIMATED


def _qualities(source: Source) -> Iterator[Quality]:
    yield source.quality
    if source.estimated is not None:
        yield Quality.ESTIMATED


def _of(profile: Profile, kinds: Sequence[RowKind], wanted: Sequence[str]) -> list[str]:
    tables = [table for table in profile.tables if table.kind in kinds]
    told = {WORDS[column.quantity] for table in tables for column in table.columns if column.quantity in WORDS}
    told |= {"power"} if any(table.estimate for table in tables) else set()
    return [word for word in wanted if word in told]


# --- one family ------------------------------------------------------------------------------------------------------


def _family(profile: Profile, evidence: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{profile.id}`: {profile.title or 'untitled'}\n"
    yield f"Known by {_known_by(profile)}."
    for kind in KINDS:
        tables = [table for table in profile.tables if table.kind is kind]
        if told := list(_quantities(tables)):
            yield f"- **{kind.value}**: {', '.join(told)}"
    for word, totals in (("power", profile.total.power_w), ("energy", profile.total.energy_j)):
        if totals:
            yield f"- total {word}: {'; else '.join(_total(total) for total in totals)}"
    if not profile.tables:
        yield "- recognised, and nothing is read of it: its tables are not known"
    identity = [name for name in ("model", "serial", "firmware", "name") if getattr(profile.identity, name)]
    if identity or profile.identity.sys_descr:
        yield f"- identity: {_listed(identity) or 'from its sysDescr'}"
    yield from (f"- {note}" for note in profile.notes)
    yield f"- evidence: {'; '.join(_evidence(profile, evidence['profiles']))}"


def _known_by(profile: Profile) -> str:
    match = profile.match
    said = [f"sysObjectID {_listed(f'`{_short(oid)}`' for oid in match.sys_object_id)}"] if match.sys_object_id else []
    if match.sys_descr is not None:
        said.append(f"sysDescr `{match.sys_descr.pattern}`")
    probes = [*match.probe, *(text.oid for text in match.probe_text), *match.probe_under]
    if probes:
        lead = "and only with" if match.needs_probe else "or"
        said.append(f"{lead} an answer at {_listed(f'`{_short(oid)}`' for oid in probes)}")
    return ", ".join(said) or "nothing; it must be named in the configuration"


def _quantities(tables: Iterable[Table]) -> Iterator[str]:
    """What rows of one kind tell, each quantity once, by its first column."""
    columns = [column for table in tables for column in table.columns]
    ways = [way for table in tables for way in table.estimate]
    for quantity, word in WORDS.items():
        of_it = [column for column in columns if column.quantity == quantity]
        if quantity == "power_w" and ways and not of_it:
            yield f"{word} (estimated)"
        elif of_it:
            said = list(_about(of_it))
            said += ["else estimated"] if quantity == "power_w" and ways else []
            yield word + (f" ({', '.join(said)})" if said else "")


def _about(columns: Sequence[Column]) -> Iterator[str]:
    first = columns[0]
    if first.resolution is not None and first.quantity in UNITS:
        yield f"steps of {first.resolution:g} {UNITS[first.quantity]}"
    if first.quantity == "energy_j":
        yield _step_of_energy(first)
    qualities = {quality for column in columns for quality in _qualities(column)}
    if qualities == {Quality.ESTIMATED}:
        yield "estimated"
    elif Quality.ESTIMATED in qualities:
        yield "on some models estimated"


def _step_of_energy(source: Source) -> str:
    step_wh = source.scale / JOULES_PER_WH
    counting = "lifetime" if source.counting is Counting.LIFETIME else "resettable"
    if source.scale_by is not None:
        return counting
    return f"{step_wh:g} Wh, {counting}" if step_wh < 1000 else f"{step_wh / 1000:g} kWh, {counting}"


def _total(total: Total) -> str:
    if total.object is not None:
        source = total.object
        note = " (estimated)" if set(_qualities(source)) == {Quality.ESTIMATED} else ""
        return f"`{_short(source.oid.stem)}`{note}"
    assert total.rows is not None
    return f"sum of its {total.rows.value} rows"


def _evidence(profile: Profile, recorded: Mapping[str, Any]) -> Iterator[str]:
    known = recorded.get(profile.id, {})
    if units := known.get("units"):
        yield f"recorded {_listed(f'`{unit}`' for unit in units)}"
    if identity := known.get("identity"):
        yield f"recognised {_listed(f'`{unit}`' for unit in identity)}, of which no more is recorded"
    invented = _invented().get(profile.id)
    if invented is not None:
        yield f"invented `{invented[0]}`"
    if not known and not invented:
        yield "documents only"


def _short(oid: Oid) -> str:
    own = oid[: len(ENTERPRISES)] == ENTERPRISES and len(oid) > len(ENTERPRISES)
    return format_oid(oid[len(ENTERPRISES) :] if own else oid)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


if __name__ == "__main__":
    sys.stdout.write(markdown())
