"""Which family a PDU belongs to: identity prefix, then description, then what only one family answers.

Sans-IO: `shortlist` says whose probes are worth asking for, `recognise` decides on what was found, live or in a walk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.pdus.profile import Profile
from collectors.pdus.snmp import SYS_DESCR, SYS_OBJECT_ID, Oid, Value, format_oid, printable
from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_DESCR = 512


@dataclass(frozen=True, slots=True)
class Recognition:
    """A profile and the words why."""

    profile: Profile
    why: str


class UnknownPdu(PollError):
    """A device that answers and that no profile knows, with what it says of itself: () and "" where it is silent."""

    def __init__(self, identity: Oid, descr: str) -> None:
        super().__init__(
            FaultKind.UNSUPPORTED,
            f"unknown PDU: sysObjectID {format_oid(identity)[:100] if identity else 'none'}, sysDescr "
            f"{descr[:100] or 'none'}; one profile file makes it known (docs/adding-a-pdu.md)",
        )
        self.identity = identity
        self.descr = descr


def shortlist(profiles: Iterable[Profile], found: Mapping[Oid, Value]) -> tuple[Profile, ...]:
    """Profiles that the device's own words point at: longest prefix first, then those by description."""
    ranked: list[tuple[tuple[int, int, int], Profile]] = []
    identity, descr = _identity(found), _descr(found)
    for profile in profiles:
        match = profile.match
        if match.excludes is not None and match.excludes.search(descr):
            continue
        if length := _prefix(profile, identity):
            ranked.append(((0, -length, -match.priority), profile))
        elif match.sys_descr is not None and match.sys_descr.search(descr):
            ranked.append(((1, 0, -match.priority), profile))
    return tuple(profile for _, profile in sorted(ranked, key=lambda entry: entry[0]))


def recognise(profiles: Sequence[Profile], found: Mapping[Oid, Value]) -> Recognition:
    """The family by what was found. Errors: PollError UNSUPPORTED, in words for an operator."""
    near = shortlist(profiles, found)
    for profile in near:
        if (said := _evidence(profile, found)) is not None:
            return Recognition(profile, " and ".join(filter(None, (_words(profile, found), said))))
    for profile in near:
        if not profile.match.needs_probe:
            return Recognition(profile, f"{_words(profile, found)}; none of its probes answers")
    for profile in sorted(profiles, key=lambda p: -p.match.priority):
        if said := _evidence(profile, found):
            return Recognition(profile, said)
    raise UnknownPdu(_identity(found), _descr(found))


def probes(profiles: Iterable[Profile]) -> tuple[Oid, ...]:
    """Objects whose mere answer speaks for one of these."""
    oids = (oid for p in profiles for oid in (*p.match.probe, *(text.oid for text in p.match.probe_text)))
    return tuple(dict.fromkeys(oids))


def _prefix(profile: Profile, identity: Oid) -> int:
    """Parts of the longest identity prefix that fits; compared part by part, so `4.6` is no prefix of `4.60`."""
    return max((len(p) for p in profile.match.sys_object_id if identity[: len(p)] == p), default=0)


def _evidence(profile: Profile, found: Mapping[Oid, Value]) -> str | None:
    """What speaks for the profile in words, empty where it asks for no evidence; None = nothing does."""
    match = profile.match
    for oid in match.probe:
        if oid in found:
            return f"{format_oid(oid)} answers"
    for text in match.probe_text:
        value = found.get(text.oid)
        if isinstance(value, bytes) and text.contains.encode() in value:
            return f"{format_oid(text.oid)} contains {text.contains!r}"
    for root in match.probe_under:
        if any(oid[: len(root)] == root for oid in found):
            return f"{format_oid(root)} has rows"
    is_silent = match.probe or match.probe_text or match.probe_under
    return None if is_silent else ""


def _words(profile: Profile, found: Mapping[Oid, Value]) -> str:
    identity = _identity(found)
    if _prefix(profile, identity):
        return f"sysObjectID {format_oid(identity)}"
    return f"sysDescr {_descr(found)[:100]!r}"


def _identity(found: Mapping[Oid, Value]) -> Oid:
    identity = found.get(SYS_OBJECT_ID)
    return identity if isinstance(identity, tuple) else ()


def _descr(found: Mapping[Oid, Value]) -> str:
    return printable(found.get(SYS_DESCR), limit=MAX_DESCR) or ""
