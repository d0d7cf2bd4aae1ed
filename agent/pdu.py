"""The commands `hashwatt pdu test` and `hashwatt pdu list`: what a profile makes of a saved walk, and which there are.

For whoever writes a profile: without a device, without Python, one file against one walk. Whether the walk would be
taken for this family is judged among all known families, as the agent does it; the values are shown in any case.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agent.config import ConfigError
from agent.pdu_view import NO_VALUE, document_of, lines_of, unread, unread_lines, values_in
from agent.spoken import plain
from collectors.pdus.device import FullRead, replay
from collectors.pdus.layout import survey
from collectors.pdus.matching import Recognition, UnknownPdu, identity_of, recognise
from collectors.pdus.profile import ENTERPRISES, Profile, ProfileError, load_profiles, parse_profile, profiles_with
from collectors.pdus.snmp import SYS_DESCR, Oid, Value, format_oid, printable
from collectors.pdus.snmprec import load_walk
from collectors.redaction import Redactor

READ, NOT_READ = 0, 1

CUT_WALK = ("  the walk holds nothing below 1.3.6.1.4.1, where makers put what their devices measure: walk .1.3.6.1",)


def test(profile: str, walk: str, own: Path | None, *, as_json: bool) -> int:
    """Try a profile (a file, or the id of a known one) on a walk and print what came out. `own`: the operator's folder.

    Returns 0 where the walk is taken for this family and at least one value is read, else 1. Errors: ConfigError.
    """
    try:
        tested = _profile(profile, own)
        found = load_walk(Path(walk))
    except ValueError as error:  # a ProfileError is one
        raise ConfigError("pdu test", str(error)) from None
    told = judged(tested, _known(own), found)
    is_cut = not any(oid[: len(ENTERPRISES)] == ENTERPRISES for oid in found)
    if as_json:
        import orjson

        text = orjson.dumps({"walk": walk} | told).decode()
    else:
        text = "\n".join([*_lines(walk, told), *(CUT_WALK if is_cut else ())])
    sys.stdout.write(Redactor().text(text) + "\n")
    return READ if told["recognised"] and told["values"] else NOT_READ


def show(own: Path | None, *, as_json: bool) -> int:
    """Every known profile: id, makers and models, whose it is. Errors: ConfigError for a bad file of the operator's."""
    known = {profile.id: profile for profile in _known(own)}
    his = set() if own is None else {profile.id for profile in load_profiles(own)}
    listed = [
        {"id": profile.id, "title": profile.title, "own": profile.id in his, "reads": bool(profile.tables)}
        for profile in known.values()
    ]
    if as_json:
        import orjson

        sys.stdout.write(orjson.dumps(listed).decode() + "\n")
        return READ
    width = max(len(str(entry["id"])) for entry in listed) + 2
    for entry in sorted(listed, key=lambda entry: str(entry["id"])):
        marks = " (your own)" * bool(entry["own"]) + " (recognised, not read)" * (not entry["reads"])
        sys.stdout.write(f"{entry['id']:<{width}}{entry['title']}{marks}\n")
    return READ


def judged(tested: Sequence[Profile], known: Sequence[Profile], found: dict[Oid, Value]) -> dict[str, Any]:
    """Everything that the command says, as one document. `tested` holds one profile, once for each of its roots."""
    rivals = [profile for profile in known if profile.id != tested[0].id]
    winner = _recognised((*tested, *rivals), found)
    alone = _recognised(tested, found)
    is_taken = winner is not None and winner.profile.id == tested[0].id
    if alone is None:
        full = FullRead(Recognition(tested[0], "not recognised, read all the same"), survey(tested[0], found), found)
    else:
        full = replay(found, tested)
    reading = document_of(full)
    return {
        "profile": tested[0].id,
        "recognised": is_taken,
        "verdict": _verdict(tested[0], winner, alone, found),
        "winner": winner and {"id": winner.profile.id, "why": winner.why},
        "values": values_in(reading),
        "reading": reading,
        "unread": unread(full),
    }


def _recognised(profiles: Sequence[Profile], found: dict[Oid, Value]) -> Recognition | None:
    try:
        return recognise(profiles, found)
    except UnknownPdu:
        return None


def _verdict(profile: Profile, winner: Recognition | None, alone: Recognition | None, found: dict[Oid, Value]) -> str:
    if winner is not None and winner.profile.id == profile.id:
        return f"recognised as {profile.id}: {winner.why}"
    if alone is not None and winner is not None:
        return f"taken for {winner.profile.id} ({winner.why}), though {profile.id} fits as well ({alone.why})"
    why_not = "; ".join(_why_not(profile, found))
    other = "no other profile knows it" if winner is None else f"{winner.profile.id} knows it: {winner.why}"
    return f"not recognised as {profile.id}: {why_not}; {other}"


def _why_not(profile: Profile, found: dict[Oid, Value]) -> Iterator[str]:
    """Every part of the match against what the walk holds."""
    match = profile.match
    identity, descr = identity_of(found), printable(found.get(SYS_DESCR), 100)
    said = format_oid(identity) or "none"
    if match.excludes is not None and match.excludes.search(descr or ""):
        yield f"sysDescr {descr!r} is excluded by {match.excludes.pattern!r}"
    if match.sys_object_id:
        prefixes = ", ".join(format_oid(prefix) for prefix in match.sys_object_id)
        fits = any(identity[: len(p)] == p for p in match.sys_object_id)
        yield f"sysObjectID {said} {'begins' if fits else 'does not begin'} with {prefixes}"
    if match.sys_descr is not None:
        fits = match.sys_descr.search(descr or "") is not None
        yield f"sysDescr {descr!r} {'fits' if fits else 'does not fit'} {match.sys_descr.pattern!r}"
    probed = [*match.probe, *(text.oid for text in match.probe_text), *match.probe_under]
    if probed:
        yield f"none of its probes answers: {', '.join(map(format_oid, probed))}"
    if not (match.sys_object_id or match.sys_descr or probed):
        yield "it has nothing under [match]"


def _lines(walk: str, told: dict[str, Any]) -> Iterator[str]:
    yield f"{walk}: {plain(told['verdict'])}"
    yield from (f"  {line}" for line in lines_of(told["reading"]))
    if told["unread"]:
        yield "  not read by this profile:"
        yield from (f"  {line}" for line in unread_lines(told["unread"]))
    if not told["values"]:
        yield f"  {NO_VALUE}"


# --- which profiles there are ----------------------------------------------------------------------------------------


def _profile(named: str, own: Path | None) -> tuple[Profile, ...]:
    """The profile in a file, or the known one with this id. Errors: ProfileError."""
    path = Path(named)
    if path.suffix == ".toml" or path.is_file():
        try:
            return parse_profile(path.read_text("utf-8"), named)
        except OSError as error:
            raise ProfileError(f"cannot read {named}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ProfileError(f"{named} is not UTF-8 text (byte {error.start})") from None
    known = _known(own)
    if chosen := tuple(profile for profile in known if profile.id == named):
        return chosen
    near = get_close_matches(named, {profile.id for profile in known}, n=3)
    meant = f"; did you mean {' or '.join(near)}?" if near else ";"
    raise ProfileError(f"{named!r} is neither a file nor a known profile{meant} `hashwatt pdu list` names them all")


def _known(own: Path | None) -> tuple[Profile, ...]:
    try:
        return profiles_with(own)
    except ProfileError as error:
        raise ConfigError("site.pdus_dir", str(error)) from None
